/** The columns of every table, as src/quadric/atlas/contract.py has them. */
import type { Schema } from "./tables";

export const FORMS = {
  id: "uint32",
  kind: "uint8",
  shape: "uint8",
  x: "int16",
  y: "int16",
  positive: "uint16",
  negative: "uint16",
} as const;

export const LABELS = {
  label: "string",
  written_label: "string",
  tokens: "list<string>",
  quadric: "string",
  members: "list<uint32>",
  weights: "list<float32>",
} as const;

const POINTS = {
  spectrum: "list<float32>",
  axes: "uint8",
  axis_kind: "list<uint8>",
  form: "list<float32>",
  linear: "list<float32>",
  constant: "float32",
  scale: "list<float32>",
  value_scale: "float32",
  remainder: "float32",
  coordinates: "list<int16>",
  value: "list<int16>",
} as const;

const CONTEXT =
  "struct<kind: uint8, row: uint32, start: uint32, value: float32, values: list<float32>>";
const NEIGHBOUR = "struct<measure: uint8, id: uint32, overlap: float32>";
const SCORE =
  "struct<name: string, value: float32, null: string, mean: float32, sd: float32, z: float32, " +
  "p_value: float32, draws: uint32>";

export const PAGES = {
  id: "uint32",
  ...POINTS,
  row: "list<uint32>",
  drawn: "list<uint8>",
  ring_plane: "list<uint8>",
  histogram_edges: "list<float32>",
  histogram_counts: "list<uint32>",
  contexts: `list<${CONTEXT}>`,
  neighbours: `list<${NEIGHBOUR}>`,
  scores: `list<${SCORE}>`,
} as const;

export const PICTURES = { images: "list<int8>", image_scale: "list<float32>" } as const;

export const PAIRS = {
  id: "uint32",
  partner: "uint32",
  overlap: "float32",
  label: "string",
  ...POINTS,
} as const;

export const CONTROLS = { effective_rank: "float32", ...POINTS } as const;
export const TOKENS: Schema = { token: ["uint16", "uint32"] };
export const VOCABULARY = { id: "uint32", text: "string" } as const;
export const FILES = { path: "string", bytes: "uint64", sha256: "string" } as const;
export const PACKED = { path: "string", content: "binary" } as const;

export function pixels(size: number): Schema {
  return { row: "uint32", pixels: `list<uint8>[${size}]` };
}
