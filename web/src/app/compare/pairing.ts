/** What two clouds of the same rows have in common. */
import type { FormPoints } from "../../data/types";
import { framePositions, frameSlice, matchingFrame } from "../../maths/align";
import type { Slice } from "../../scene/types";

/** Pearson's correlation of two columns; NaN where one of them is constant. */
export function correlation(a: Float32Array, b: Float32Array): number {
  const n = a.length;
  const [meanA, meanB] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < n; i++) {
    ab += (a[i] - meanA) * (b[i] - meanB);
    aa += (a[i] - meanA) ** 2;
    bb += (b[i] - meanB) ** 2;
  }
  return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : NaN;
}

function mean(numbers: Float32Array): number {
  let sum = 0;
  for (const number of numbers) sum += number;
  return sum / numbers.length;
}

/** Root mean square of the points that are present; of all where none is. */
export function typicalSize(values: Float32Array, drawn?: Uint8Array): number {
  const present = drawn ? values.filter((_, i) => drawn[i] === 0) : values;
  const some = present.length > 0 ? present : values;
  let sum = 0;
  for (const value of some) sum += value * value;
  return some.length > 0 ? Math.sqrt(sum / some.length) : 0;
}

export interface Alignment {
  positions: Float32Array;
  slice: Slice;
  /** What no turn and no scale can mend, as a share of the reference's size: 0 … 1. */
  error: number;
}

/** A form and its points, seen from the side on which they come nearest to a reference. */
export function aligned(points: FormPoints, reference: Float32Array): Alignment {
  const frame = matchingFrame(points, reference);
  const positions = framePositions(points, frame);
  let [along, own, other] = [0, 0, 0];
  for (let i = 0; i < positions.length; i++) {
    along += positions[i] * reference[i];
    own += positions[i] ** 2;
    other += reference[i] ** 2;
  }
  const cosine = own > 0 && other > 0 ? along / Math.sqrt(own * other) : 0;
  return { positions, slice: frameSlice(points, frame), error: Math.sqrt(Math.max(0, 1 - cosine ** 2)) };
}
