/**
 * The surface on which a slice is constant: its name, as src/quadric/forms/quadric.py gives it, and
 * the levels at which it is worth drawing.
 */
import type { Slice } from "../scene/types";
import { eigen3 } from "./eigen";
import { quantile } from "./statistics";

/** An eigenvalue below this share of the largest |λ| counts as zero, as in Python. */
const FLAT = 0.05;
/** Turning into the eigenvectors' axes rounds: below this share of the terms, a sum is zero. */
const ROUNDING = 1e-6;

const CENTRAL: Record<string, string> = {
  "3,0": "ellipsoid",
  "2,1": "one-sheet hyperboloid",
  "1,2": "two-sheet hyperboloid",
  "2,0": "elliptic cylinder",
  "1,1": "hyperbolic cylinder",
  "1,0": "parallel planes",
};
/** At level 0: by the number of λ that are not zero, then by how many have the rarer sign. */
const THROUGH_CENTRE = [
  ["everything"],
  ["plane"],
  ["line", "intersecting planes"],
  ["point", "cone"],
];

/** The name of {p : pᵀAp + b·p + c = level}. */
export function nameQuadric(slice: Slice, level: number): string {
  const { values, vectors } = eigen3(slice.quadratic);
  const linear = vectors.map((v) => v.reduce((sum, x, i) => sum + x * slice.linear[i], 0));
  const threshold = FLAT * Math.max(...values.map(Math.abs));
  const steepest = Math.hypot(...slice.linear);

  // Completing the square: a linear term along a curved axis moves the level.
  let height = level - slice.constant;
  let terms = Math.abs(level) + Math.abs(slice.constant);
  let positive = 0;
  let negative = 0;
  let slope = 0;
  values.forEach((value, i) => {
    if (Math.abs(value) > threshold) {
      const moved = linear[i] ** 2 / (4 * value);
      height += moved;
      terms += Math.abs(moved);
      if (value > 0) positive++;
      else negative++;
    } else if (Math.abs(linear[i]) > ROUNDING * steepest) {
      slope += linear[i] ** 2;
    }
  });
  const curved = positive + negative;
  if (slope > 0) {
    if (curved === 2) return positive === 1 ? "hyperbolic paraboloid" : "elliptic paraboloid";
    return curved ? "parabolic cylinder" : "plane";
  }
  if (Math.abs(height) <= ROUNDING * terms) {
    return THROUGH_CENTRE[curved][Math.min(positive, negative)];
  }
  const counts = height > 0 ? [positive, negative] : [negative, positive];
  return CENTRAL[counts.join()] ?? "empty";
}

export interface Levels {
  /** The ends of a slider. */
  least: number;
  most: number;
  /** Where it starts. */
  start: number;
}

/**
 * Levels to draw, from the slice's values at the points. The slider runs from the 1st to the 99th
 * percentile and always holds 0. It starts at the median of the stronger half of the present points
 * whose sign is the dominant one: the sign of the larger sum of |values|.
 */
export function levels(sliceValues: Float32Array, drawn?: Uint8Array): Levels {
  const finite = sliceValues.filter(Number.isFinite);
  if (finite.length === 0) return { least: -1, most: 1, start: 0 };
  let least = Math.min(0, quantile(finite, 0.01));
  let most = Math.max(0, quantile(finite, 0.99));
  let present = sliceValues.filter((v, i) => Number.isFinite(v) && !drawn?.[i]);
  if (present.length === 0) present = finite;
  const sign = present.reduce((sum, value) => sum + value, 0) < 0 ? -1 : 1;
  const strengths = present.map((value) => value * sign).filter((value) => value > 0);
  // The median of the upper half is the third quartile.
  const start = strengths.length ? sign * quantile(strengths, 0.75) : 0;
  if (least === most) [least, most] = [Math.min(-1, least), Math.max(1, most)];
  return { least: Math.min(least, start), most: Math.max(most, start), start };
}
