/** tokens/ and vocabulary.arrow: the text around a row. */
import { ROWS } from "./manifest";
import { type Read, shardPath } from "./pages";
import { Recent } from "./recent";
import { TOKENS, VOCABULARY } from "./schemas";
import { damaged, readTable } from "./tables";
import { AtlasError, type Manifest, type Passage } from "./types";

const ROWS_PER_FILE = 65_536;
const BEFORE = 8;
const AFTER = 3;

export interface Text {
  passage(start: number, count: number): Promise<Passage>;
  around(row: number): Promise<Passage>;
}

export function textReader(read: Read, manifest: Manifest): Text {
  const { rows, contextSize } = manifest;
  const files = new Recent(16, async (number) => {
    const path = shardPath("tokens", number);
    const table = readTable(path, await read(path), TOKENS);
    const expected = Math.min(ROWS_PER_FILE, rows - number * ROWS_PER_FILE);
    if (table.rows !== expected) throw damaged(path, `it has ${table.rows} of ${expected} tokens`);
    return table.column<Uint16Array | Uint32Array>("token");
  });
  let vocabulary: Promise<Map<number, string>> | null = null;
  const words = () =>
    (vocabulary ??= readVocabulary(read).catch((error) => {
      vocabulary = null;
      throw error;
    }));

  async function passage(start: number, count: number): Promise<Passage> {
    if (manifest.modality !== "text") {
      throw new AtlasError(`the rows of this atlas are ${ROWS[manifest.modality]} and have no text`);
    }
    if (!Number.isInteger(start) || start < 0 || start >= rows) {
      throw new AtlasError(`there is no row ${start}: the atlas has ${rows}`);
    }
    const end = Math.min(start + count, contextEnd(start), rows);
    const text = await words();
    const tokens: string[] = [];
    for (let row = start; row < end; row++) {
      const ids = await files.get(Math.floor(row / ROWS_PER_FILE));
      const id = ids[row % ROWS_PER_FILE];
      tokens.push(text.get(id) ?? `[${id}]`);
    }
    return { start, tokens };
  }

  const contextEnd = (row: number) => row - (row % contextSize) + contextSize;

  return {
    passage,
    around(row) {
      const first = Math.max(row - BEFORE, row - (row % contextSize));
      return passage(first, row + AFTER + 1 - first);
    },
  };
}

async function readVocabulary(read: Read): Promise<Map<number, string>> {
  const path = "vocabulary.arrow";
  const table = readTable(path, await read(path), VOCABULARY);
  const ids = table.column<Uint32Array>("id");
  return new Map(Array.from(ids, (id, row) => [id, table.at<string>("text", row)]));
}
