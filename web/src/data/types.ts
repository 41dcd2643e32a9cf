/**
 * What the rest of the page knows of an atlas. The files behind it, and what every column means, are
 * described in src/quadric/atlas/contract.py; names here are its names in camel case.
 */

/** Where the files of an atlas come from: a folder on a server, one HTML file, or a notebook. */
export interface Source {
  /** The bytes of a file of the atlas; rejects with an AtlasError that a reader understands. */
  read(path: string): Promise<ArrayBuffer>;
  /** Asks the server's live features; absent where there is no server. */
  ask?<T>(path: string, body?: unknown): Promise<T>;
  /** There is such a server; known once atlas.json has been read. */
  live?: boolean;
  /** Its files came in one piece, so that there is nothing to check one by one. */
  whole?: boolean;
}

/** Something is wrong with an atlas, in words for its reader. */
export class AtlasError extends Error {
  override name = "AtlasError";
}

export type Modality = "text" | "image" | "vector";
export const KINDS = ["latent", "composite", "group", "composed", "output"] as const;
export const SHAPES = ["unscored", "blob", "clusters", "curved", "ring"] as const;
export const AXIS_KINDS = ["eigenvector", "shared", "principal"] as const;
export const DRAWN = ["present", "random"] as const;
export const CONTEXT_KINDS = ["most_positive", "most_negative", "near_zero", "random"] as const;
export type Kind = (typeof KINDS)[number];
export type Shape = (typeof SHAPES)[number];
export type AxisKind = (typeof AXIS_KINDS)[number];
export type ContextKind = (typeof CONTEXT_KINDS)[number];

export interface Statistic {
  name: string;
  title: string;
  definition: string;
  logarithmic: boolean;
}

export interface Measure {
  name: string;
  title: string;
  definition: string;
}

/** atlas.json. */
export interface Manifest {
  format: string;
  version: number;
  title: string;
  created: string;
  quadricVersion: string;
  modality: Modality;
  facts: Record<string, string>;
  forms: number;
  shardSize: number;
  rows: number;
  contextSize: number;
  statistics: Statistic[];
  colour: string;
  size: string;
  measures: Measure[];
  controls: number;
  comparison: { title: string; facts: Record<string, string> } | null;
  imageShape: [number, number, number] | null;
  pixelRange: [number, number] | null;
}

/** forms.arrow. A form's place is its row here, best first; its id is what links and people use. */
export interface Index {
  count: number;
  id: Uint32Array;
  kind: Uint8Array;
  shape: Uint8Array;
  x: Int16Array;
  y: Int16Array;
  positive: Uint16Array;
  negative: Uint16Array;
  /** A column of numbers by its name; NaN where unknown. */
  statistic(name: string): Float32Array;
  /** The place of an id, or −1. */
  placeOf(id: number): number;
}

/** labels.arrow, by place. */
export interface Labels {
  label(place: number): string;
  writtenLabel(place: number): string;
  tokens(place: number): string[];
  quadric(place: number): string;
  members(place: number): { id: number; weight: number }[];
  /** Places whose label, words, quadric or id holds the text, in their order; all for "". */
  search(text: string): number[];
}

/**
 * A form on n points: f(p) = pᵀAp + b·p + c on its r stored axes. Numbers are as stored; `maths/`
 * turns them into real units.
 */
export interface FormPoints {
  spectrum: Float32Array;
  axes: number;
  axisKind: Uint8Array;
  /** A (r·r), symmetric. */
  form: Float32Array;
  linear: Float32Array;
  constant: number;
  /** The coordinate that 32767 stands for, by axis. */
  scale: Float32Array;
  /** The value that 32767 stands for. */
  valueScale: number;
  /** Root mean square over the points of what the stored axes do not hold. */
  remainder: number;
  /** (r·n), axis by axis. */
  coordinates: Int16Array;
  /** (n) */
  value: Int16Array;
}

export interface Context {
  kind: ContextKind;
  row: number;
  start: number;
  value: number;
  values: Float32Array;
}

export interface Neighbour {
  /** Into the manifest's measures. */
  measure: number;
  id: number;
  overlap: number;
}

export interface Score {
  name: string;
  value: number;
  null: string;
  mean: number;
  sd: number;
  z: number;
  pValue: number;
  draws: number;
}

/** One row of pages/. */
export interface Page extends FormPoints {
  id: number;
  row: Uint32Array;
  drawn: Uint8Array;
  ringPlane: [number, number] | null;
  histogramEdges: Float32Array;
  histogramCounts: Uint32Array;
  contexts: Context[];
  neighbours: Neighbour[];
  scores: Score[];
  /** (r·H·W·C) in units of imageScale/127; only where rows are images. */
  images: Int8Array | null;
  imageScale: Float32Array | null;
}

/** One row of pairs/: the partner in the other autoencoder, on the points of the form itself. */
export interface Pair extends FormPoints {
  id: number;
  partner: number;
  overlap: number;
  label: string;
}

/** One row of controls.arrow. */
export interface Control extends FormPoints {
  effectiveRank: number;
}

/** A stretch of text around a row. */
export interface Passage {
  /** The first row. */
  start: number;
  tokens: string[];
}

/** An atlas that is open. Everything but the manifest and the index is read when it is asked for. */
export interface Atlas {
  manifest: Manifest;
  index: Index;
  source: Source;
  labels(): Promise<Labels>;
  page(place: number): Promise<Page>;
  pair(place: number): Promise<Pair>;
  controls(): Promise<Control[]>;
  /** The tokens from `start` on, `count` of them but not beyond the context; text only. */
  passage(start: number, count: number): Promise<Passage>;
  /** The window shown around a row: eight tokens before and three after, within its context. */
  around(row: number): Promise<Passage>;
  /** The bytes of an image (H·W·C); images only. */
  pixels(row: number): Promise<Uint8Array>;
}
