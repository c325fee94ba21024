/** A request's body as text, up to a bound. */

/** Undefined where it has more bytes than `most`: what was read of it is let go. */
export async function readText(request: Request, most: number): Promise<string | undefined> {
  // Whoever says how much it is sends no more than that; streams of pieces cost more than they carry here.
  const length = request.headers.get("content-length");
  if (length !== null) return Number(length) <= most ? request.text() : undefined;
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const piece of (request.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += piece.byteLength;
    if (bytes > most) return undefined;
    text += decoder.decode(piece, { stream: true });
  }
  return text + decoder.decode();
}
