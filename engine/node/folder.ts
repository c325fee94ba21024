/** A folder on disk as a repository's files: each is opened once, and stays open until the folder is closed. */
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import type { ByteSource } from "../gguf/source.ts";
import type { RepositoryFiles } from "../safetensors/files.ts";
import { sourceOfFile } from "./file-source.ts";

export class Folder implements RepositoryFiles {
  readonly path: string;
  readonly #handles: FileHandle[] = [];
  readonly #opened = new Map<string, ByteSource>();

  constructor(path: string) {
    this.path = path;
  }

  async open(name: string): Promise<ByteSource | undefined> {
    try {
      return this.#opened.get(name) ?? (await this.#keep(name, join(this.path, name)));
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  openPath(path: string): Promise<ByteSource> {
    return this.#keep("", path);
  }

  async close(): Promise<void> {
    for (const handle of this.#handles.splice(0)) await handle.close();
  }

  async #keep(name: string, path: string): Promise<ByteSource> {
    const handle = await open(path);
    this.#handles.push(handle);
    const source = await sourceOfFile(handle);
    this.#opened.set(name, source);
    return source;
  }
}
