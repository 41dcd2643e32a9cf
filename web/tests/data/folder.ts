/** Atlases in the file system as sources, with files that a test changes or takes away. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checkPath } from "../../src/data/sources";
import { AtlasError, type Source } from "../../src/data/types";

/** What becomes of a file's bytes; null takes the file away. */
export type Changes = Record<string, ((bytes: Uint8Array<ArrayBuffer>) => Uint8Array | null) | null>;

export class DiskSource implements Source {
  /** Paths in the order in which they were read. */
  readonly reads: string[] = [];

  constructor(
    readonly folder: string,
    private readonly changes: Changes = {},
  ) {}

  async read(path: string): Promise<ArrayBuffer> {
    this.reads.push(checkPath(path));
    let bytes: Uint8Array<ArrayBuffer> | null;
    try {
      bytes = Uint8Array.from(readFileSync(join(this.folder, path)));
    } catch {
      bytes = null;
    }
    const change = this.changes[path];
    const changed = change === undefined ? bytes : change && bytes && change(bytes);
    if (!changed) throw new AtlasError(`${path} is missing from this atlas`);
    return Uint8Array.from(changed).buffer;
  }
}
