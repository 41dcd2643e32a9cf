/** The box that a cloud is drawn in, and coordinates in which its largest half-size is one. */
import type { Vector } from "./orbit";

export interface Bounds {
  /** In real units. */
  centre: Vector;
  /** Half-sizes in real units. */
  half: Vector;
  /** The largest of them: the length that one unit of the scene stands for. */
  scale: number;
  /** Whether the origin lies inside. */
  holdsOrigin: boolean;
}

/** A far outlier must not shrink all others to a dot. */
const LEFT_OUT = 0.005;
const MARGIN = 1.12;
/** A flat cloud still gets a box in which its surface can be read. */
const THINNEST = 0.45;
/** The origin belongs to the picture unless it is this many half-sizes away. */
const ORIGIN_REACH = 2;

export const UNIT: Bounds = { centre: [0, 0, 0], half: [1, 1, 1], scale: 1, holdsOrigin: true };

export function boundsOf(positions: Float32Array): Bounds {
  const n = Math.floor(positions.length / 3);
  const low: Vector = [0, 0, 0];
  const high: Vector = [0, 0, 0];
  const column = new Float32Array(n);
  for (let axis = 0; axis < 3; axis++) {
    let known = 0;
    for (let i = 0; i < n; i++) {
      const v = positions[3 * i + axis];
      if (Number.isFinite(v)) column[known++] = v;
    }
    if (known === 0) return UNIT;
    const sorted = column.subarray(0, known).sort();
    const cut = Math.floor(LEFT_OUT * known);
    [low[axis], high[axis]] = [sorted[cut], sorted[known - 1 - cut]];
  }
  const reach = (ORIGIN_REACH * Math.max(...low.map((v, i) => high[i] - v))) / 2;
  const holdsOrigin = low.every((v, i) => v <= reach && high[i] >= -reach);
  if (holdsOrigin) {
    for (let i = 0; i < 3; i++) [low[i], high[i]] = [Math.min(0, low[i]), Math.max(0, high[i])];
  }
  const centre = low.map((v, i) => (v + high[i]) / 2) as Vector;
  const half = low.map((v, i) => ((high[i] - v) / 2) * MARGIN) as Vector;
  const scale = Math.max(...half) || Math.max(...centre.map(Math.abs)) || 1;
  return { centre, half: half.map((v) => Math.max(v, THINNEST * scale)) as Vector, scale, holdsOrigin };
}

/** Real units → coordinates of the scene. */
export function toUnit(positions: Float32Array, { centre, scale }: Bounds): Float32Array {
  return positions.map((v, i) => (v - centre[i % 3]) / scale);
}
