/** pages/, pairs/ and controls.arrow: what the page of a form shows. */
import { checkLengths, readPoints } from "./points";
import { Recent } from "./recent";
import { CONTROLS, PAGES, PAIRS, PICTURES } from "./schemas";
import { damaged, readTable, type Schema, type Table } from "./tables";
import {
  AtlasError,
  CONTEXT_KINDS,
  type Context,
  type Control,
  type Index,
  type Manifest,
  type Neighbour,
  type Page,
  type Pair,
  type Score,
} from "./types";

/** Decoded shards and pages that are kept; a shard of 64 forms with 2,048 points is about 3 MB. */
const SHARDS = 8;
const DECODED = 64;

export type Read = (path: string) => Promise<ArrayBuffer>;

export function shardPath(folder: string, number: number): string {
  return `${folder}/${String(number).padStart(5, "0")}.arrow`;
}

/** A reader of the rows of pages/ or pairs/ by their place. */
function byPlace<T extends { id: number }>(
  folder: string,
  schema: Schema,
  read: Read,
  manifest: Manifest,
  index: Index,
  decode: (table: Table, row: number) => T,
): (place: number) => Promise<T> {
  const { shardSize } = manifest;
  const shards = new Recent(SHARDS, async (number) => {
    const path = shardPath(folder, number);
    const table = readTable(path, await read(path), schema);
    const expected = Math.min(shardSize, index.count - number * shardSize);
    if (table.rows !== expected) throw damaged(path, `it has ${table.rows} of ${expected} forms`);
    return table;
  });
  const rows = new Recent(DECODED, async (place) => {
    const table = await shards.get(Math.floor(place / shardSize));
    const row = place % shardSize;
    const decoded = decode(table, row);
    if (decoded.id !== index.id[place]) {
      throw damaged(
        table.path,
        `row ${row} is form ${decoded.id} where forms.arrow has ${index.id[place]}`,
      );
    }
    return decoded;
  });
  return async (place) => {
    if (!Number.isInteger(place) || place < 0 || place >= index.count) {
      throw new AtlasError(`there is no form at place ${place}: the atlas has ${index.count}`);
    }
    return rows.get(place);
  };
}

export function pageReader(read: Read, manifest: Manifest, index: Index) {
  const images = manifest.imageShape !== null;
  const schema = images ? { ...PAGES, ...PICTURES } : PAGES;
  return byPlace("pages", schema, read, manifest, index, (table, row) =>
    readPage(table, row, manifest),
  );
}

export function pairReader(read: Read, manifest: Manifest, index: Index) {
  return byPlace("pairs", PAIRS, read, manifest, index, readPair);
}

interface StoredContext {
  kind: number;
  row: number;
  start: number;
  value: number;
  values: Float32Array;
}

interface StoredScore extends Omit<Score, "pValue"> {
  p_value: number;
}

function readPage(table: Table, row: number, manifest: Manifest): Page {
  const points = readPoints(table, row);
  const n = points.value.length;
  const ring = table.at<Uint8Array>("ring_plane", row);
  // A form of an image atlas may come without pictures of its axes.
  const stored = manifest.imageShape ? table.at<Int8Array>("images", row) : null;
  const images = stored?.length ? stored : null;
  const page: Page = {
    ...points,
    id: table.at("id", row),
    row: table.at("row", row),
    drawn: table.at("drawn", row),
    ringPlane: ring.length === 2 ? [ring[0], ring[1]] : null,
    histogramEdges: table.at("histogram_edges", row),
    histogramCounts: table.at("histogram_counts", row),
    contexts: table
      .at<StoredContext[]>("contexts", row)
      .map(({ kind, ...rest }): Context => ({ ...rest, kind: CONTEXT_KINDS[kind] })),
    neighbours: table.at<Neighbour[]>("neighbours", row),
    scores: table
      .at<StoredScore[]>("scores", row)
      .map(({ p_value, ...rest }): Score => ({ ...rest, pValue: p_value })),
    images,
    imageScale: images && table.at<Float32Array>("image_scale", row),
  };
  checkLengths(table.path, row, {
    row: [page.row, n],
    drawn: [page.drawn, n],
    histogram_counts: [page.histogramCounts, Math.max(0, page.histogramEdges.length - 1)],
  });
  if (images) {
    const [height, width, channels] = manifest.imageShape!;
    checkLengths(table.path, row, {
      images: [images, page.axes * height * width * channels],
      image_scale: [page.imageScale!, page.axes],
    });
  }
  return page;
}

function readPair(table: Table, row: number): Pair {
  return {
    ...readPoints(table, row),
    id: table.at("id", row),
    partner: table.at("partner", row),
    overlap: table.at("overlap", row),
    label: table.at("label", row),
  };
}

export function readControls(bytes: ArrayBuffer | Uint8Array, manifest: Manifest): Control[] {
  const table = readTable("controls.arrow", bytes, CONTROLS);
  if (table.rows !== manifest.controls) {
    throw damaged(table.path, `it has ${table.rows} of ${manifest.controls} random forms`);
  }
  return Array.from({ length: table.rows }, (_, row) => ({
    ...readPoints(table, row),
    effectiveRank: table.at("effective_rank", row),
  }));
}
