/** pixels/: the image of a row, where rows are images. */
import { ROWS } from "./manifest";
import { type Read, shardPath } from "./pages";
import { Recent } from "./recent";
import { pixels as schema } from "./schemas";
import { readTable } from "./tables";
import { AtlasError, type Manifest } from "./types";

const ROWS_PER_FILE = 1_024;
const FILES = 32;

/** A reader of images (H·W·C bytes) by row; only those that pages mention are in the atlas. */
export function pixelReader(read: Read, manifest: Manifest): (row: number) => Promise<Uint8Array> {
  const size = (manifest.imageShape ?? []).reduce((a, b) => a * b, 1);
  const files = new Recent(FILES, async (number) => {
    const path = shardPath("pixels", number);
    const table = readTable(path, await read(path), schema(size));
    const places = new Map(Array.from(table.column<Uint32Array>("row"), (row, at) => [row, at]));
    return { table, places };
  });
  return async (row) => {
    if (!manifest.imageShape) {
      throw new AtlasError(`the rows of this atlas are ${ROWS[manifest.modality]} and have no image`);
    }
    if (!Number.isInteger(row) || row < 0 || row >= manifest.rows) {
      throw new AtlasError(`there is no row ${row}: the atlas has ${manifest.rows}`);
    }
    const { table, places } = await files.get(Math.floor(row / ROWS_PER_FILE));
    const at = places.get(row);
    if (at === undefined) throw new AtlasError(`the image of row ${row} is not in this atlas`);
    return table.at<Uint8Array>("pixels", at);
  };
}
