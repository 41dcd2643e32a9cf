/** How the marks of the map look: places on the sequential map, and radii. */
import type { Scale } from "./scale";

/** Radius in CSS pixels at a position 0 … 1 of the size's scale; smaller where there are many. */
export function radius(position: number, forms: number): number {
  const crowd = forms > 30_000 ? 0.6 : forms > 5_000 ? 0.8 : 1;
  // Areas, not radii, are what is compared by eye.
  return crowd * Math.sqrt(5 + 50 * Math.min(1, Math.max(0, position)));
}

/** Of marks that all have one size. */
const PLAIN = 0.2;

/** Positions 0 … 1 on the scale, beyond it outside; NaN where the number is unknown. */
export function colours(numbers: Float32Array, scale: Scale): Float32Array {
  return numbers.map((value) => scale.position(value));
}

/** Radii; a form whose number is unknown has the smallest. */
export function sizes(numbers: Float32Array | null, scale: Scale | null, forms: number) {
  if (numbers === null || scale === null) return new Float32Array(forms).fill(radius(PLAIN, forms));
  return numbers.map((value) => radius(scale.position(value) || 0, forms));
}
