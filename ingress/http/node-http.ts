/**
 * node:http and node:https without their ES module face: importing that reads every export, among them `WebSocket` and `fetch`'s classes,
 * which loads all of undici: 30 ms and 5 MB at each start for nothing.
 */
export const nodeHttp = process.getBuiltinModule("node:http");
export const nodeHttps = (): typeof import("node:https") => process.getBuiltinModule("node:https");
