/** files.arrow: whether a file is the one that was written. */
import { FILES } from "./schemas";
import { damaged, readTable } from "./tables";
import { AtlasError } from "./types";

export const LIST = "files.arrow";

export interface Sum {
  bytes: number;
  sha256: string;
}

export function readSums(bytes: ArrayBuffer | Uint8Array): Map<string, Sum> {
  const table = readTable(LIST, bytes, FILES);
  return new Map(
    Array.from({ length: table.rows }, (_, row) => [
      table.at<string>("path", row),
      { bytes: Number(table.at("bytes", row)), sha256: table.at<string>("sha256", row) },
    ]),
  );
}

/** Rejects unless the bytes have the size and the SHA-256 that files.arrow lists. */
export async function verify(path: string, content: ArrayBuffer, sums: Map<string, Sum>) {
  const sum = sums.get(path);
  if (!sum) throw new AtlasError(`${path} is not listed in ${LIST}: build the atlas again`);
  if (content.byteLength !== sum.bytes) {
    throw damaged(path, `it has ${content.byteLength} bytes, and ${LIST} lists ${sum.bytes}`);
  }
  const found = await sha256(content);
  if (found !== null && found !== sum.sha256.toLowerCase()) {
    throw damaged(path, `its SHA-256 is not the one that ${LIST} lists`);
  }
}

/** Null where the browser offers none: only pages from https or this machine have it. */
async function sha256(content: ArrayBuffer): Promise<string | null> {
  const subtle = globalThis.crypto?.subtle;
  if (!subtle) return null;
  const digest = new Uint8Array(await subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
