/**
 * SentencePiece's BPE (Kudo and Richardson, 2018) in the terms of a `tokenizer.json`: the file has scores where byte-level BPE has merges,
 * U+2581 for spaces, and a token `<0xAB>` for each byte that nothing else covers.
 */

/** U+2581, which stands for a space. */
const SPACE = "\u2581";

/** Characters of a token that merges are looked for in: real ones are shorter, and the search is quadratic in it. */
const MERGED_CHARACTERS_MAX = 256;

const BYTE = /^<0x([0-9A-F]{2})>$/;

/** Every way to make a token out of two others, in the order in which they are to be merged: best score first. */
export function mergesOf(
  tokens: readonly string[],
  scores: readonly number[],
  ids: ReadonlyMap<string, number>,
): [string, string][] {
  const merges: {
    readonly pair: [string, string];
    readonly score: number;
    readonly id: number;
    readonly left: number;
  }[] = [];
  tokens.forEach((token, id) => {
    if (token.length > MERGED_CHARACTERS_MAX) return;
    for (let cut = 1; cut < token.length; cut++) {
      const left = ids.get(token.slice(0, cut));
      if (left !== undefined && ids.has(token.slice(cut)))
        merges.push({ pair: [token.slice(0, cut), token.slice(cut)], score: scores[id]!, id, left });
    }
  });
  merges.sort((a, b) => b.score - a.score || a.id - b.id || a.left - b.left);
  return merges.map(({ pair }) => pair);
}

/** Text to the vocabulary's spelling. `addsPrefix`: a space is put in front of what follows a border. */
export function spaceNormalizer(addsPrefix: boolean): object {
  const replace = { type: "Replace", pattern: { String: " " }, content: SPACE };
  return addsPrefix ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: SPACE }, replace] } : replace;
}

/** The bytes of one token that isn't a control token. */
export function bytesOfPiece(piece: string): Uint8Array {
  const byte = BYTE.exec(piece)?.[1];
  return byte === undefined
    ? new TextEncoder().encode(piece.replaceAll(SPACE, " "))
    : Uint8Array.of(Number.parseInt(byte, 16));
}
