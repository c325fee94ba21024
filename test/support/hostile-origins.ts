/** What a browser may say of the page that sent a request, as far as no listener of ours may believe it. */

/** Pages elsewhere, as origins, for a listener at `host` (name and port) that speaks plain HTTP. */
export function hostileOrigins(host: string): string[] {
  const [name = "", port = ""] = host.split(":");
  const other = Number(port) - 1;
  return [
    "null",
    "",
    "*",
    "https://evil.example",
    "HTTPS://EVIL.EXAMPLE",
    `http://evil.example:${port}`,
    `http://${host}.evil.example`,
    `http://${name}.evil.example:${port}`,
    `http://evil.example/${host}`,
    `http://evil.example?http://${host}`,
    `http://evil.example#http://${host}`,
    `http://${host}@evil.example`,
    `http://evil.example@${host}`,
    `http://evil${host}`,
    `http://${name}`,
    `http://${name}:${other}`,
    `http://${name}:${port}0`,
    `http://${host}, https://evil.example`,
    `https://evil.example, http://${host}`,
    `http://${host}/`,
    `ws://${host}`,
    `file://${host}`,
    `chrome-extension://${host}`,
    `data:text/html,http://${host}`,
    `//${host}`,
    host,
    `http://[::1]:${other}`,
    `http://0x7f000001:${port}`,
    `http://${name}.:${port}`,
    `http://localhost.evil.example:${port}`,
  ];
}

/** Names under which a page of its own could reach a loopback listener (DNS rebinding), as `Host` lines. */
export function hostileHosts(port: string): string[] {
  return [
    `evil.example:${port}`,
    "evil.example",
    `127.0.0.1.evil.example:${port}`,
    `localhost.evil.example:${port}`,
    `evil-localhost:${port}`,
    `evillocalhost:${port}`,
    `127.0.0.1.nip.io:${port}`,
    `127.0.0.1:${port}.evil.example`,
    `[::1].evil.example:${port}`,
    `192.168.1.10:${port}`,
    `0.0.0.0:${port}`,
    `2130706433:${port}`,
    `0x7f.1:${port}`,
    `127.1:${port}`,
    `user@127.0.0.1:${port}`,
    `LOCALHOST.EVIL.EXAMPLE:${port}`,
  ];
}
