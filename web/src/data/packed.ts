/** An atlas in one piece, as it is written into an HTML file or sent to a notebook. */
import { AtlasError } from "./types";

const WHAT = "the packed atlas is damaged";

/** The bytes behind base 64. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  let letters: string;
  try {
    letters = atob(text.trim());
  } catch {
    throw new AtlasError(`${WHAT}: it is not base 64`);
  }
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

/** The bytes themselves, or what they are of where they were compressed with gzip. */
export async function inflate(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new AtlasError(`${WHAT}: it cannot be decompressed`);
  }
}
