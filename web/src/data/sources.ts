/** Where the files of an atlas come from. */
import { MANIFEST } from "./manifest";
import { PACKED } from "./schemas";
import { readTable, type Table } from "./tables";
import { AtlasError, type Source } from "./types";

/** A server with live features says so in its answer to atlas.json. */
const LIVE = "X-Quadric-Live";

/** A folder on a server, beside the page. */
export class FolderSource implements Source {
  live = false;
  readonly #base: string;

  constructor(base: string = document.baseURI) {
    this.#base = base;
  }

  async read(path: string): Promise<ArrayBuffer> {
    const response = await request(new URL(checkPath(path), this.#base), path);
    if (path === MANIFEST) this.live = response.headers.has(LIVE);
    if (response.status === 404) throw new AtlasError(`${path} is missing from this atlas`);
    if (!response.ok) {
      throw new AtlasError(`${path} cannot be read: the server answered ${response.status}`);
    }
    try {
      return await response.arrayBuffer();
    } catch {
      throw new AtlasError(`${path} cannot be read: the connection ended before it was complete`);
    }
  }

  /** `api/${path}`: a GET without a body, a POST of its JSON with one. */
  async ask<T>(path: string, body?: unknown): Promise<T> {
    const name = `api/${checkPath(path)}`;
    const response = await request(new URL(name, this.#base), name, {
      ...(body !== undefined && {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      }),
    });
    const answer: unknown = await response.json().catch(() => null);
    if (!response.ok) {
      const said = (answer as { error?: unknown } | null)?.error;
      throw new AtlasError(
        typeof said === "string" ? said : `${name}: the server answered ${response.status}`,
      );
    }
    if (answer === null) throw new AtlasError(`${name}: the server's answer cannot be read`);
    return answer as T;
  }
}

async function request(url: URL, name: string, init?: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch {
    throw new AtlasError(
      url.protocol === "file:"
        ? "a browser does not let this page read files beside it: run quadric atlas serve"
        : `${name} cannot be read: the server does not answer`,
    );
  }
}

/** All files in one table of paths and contents: a page in one HTML file, or a notebook. */
export class PackedSource implements Source {
  readonly whole = true;
  readonly #table: Table;
  readonly #rows: Map<string, number>;

  constructor(bytes: ArrayBuffer | Uint8Array) {
    this.#table = readTable("the packed atlas", bytes, PACKED);
    this.#rows = new Map(
      Array.from({ length: this.#table.rows }, (_, row) => [this.#table.at("path", row), row]),
    );
  }

  async read(path: string): Promise<ArrayBuffer> {
    const row = this.#rows.get(checkPath(path));
    if (row === undefined) throw new AtlasError(`${path} is missing from this atlas`);
    // A copy, because the columns inside need the alignment that a file of its own has.
    return this.#table.at<Uint8Array>("content", row).slice().buffer;
  }
}

/** A path inside the atlas: relative, without steps up, without a scheme. */
export function checkPath(path: string): string {
  const parts = path.split("/");
  if (!/^[\w./-]+$/.test(path) || parts.some((part) => /^\.*$/.test(part))) {
    throw new AtlasError(`${JSON.stringify(path)} is no file of an atlas`);
  }
  return path;
}
