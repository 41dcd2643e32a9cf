/** Sorting many numbers roughly but in linear time, on every frame. */

const BINS = 4096;
const counts = new Uint32Array(BINS + 1);

/** Writes the indices of `depth` into `order`, the largest first, to 1/4096 of their range. */
export function farthestFirst(depth: Float32Array, order: Uint32Array) {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const d of depth) {
    if (d < low) low = d;
    if (d > high) high = d;
  }
  const rate = high > low ? (BINS - 1) / (high - low) : 0;
  counts.fill(0);
  for (let i = 0; i < depth.length; i++) counts[1 + bin(depth[i])]++;
  for (let b = 1; b <= BINS; b++) counts[b] += counts[b - 1];
  for (let i = 0; i < depth.length; i++) order[counts[bin(depth[i])]++] = i;

  function bin(d: number): number {
    return d >= low ? Math.min(BINS - 1, Math.floor((high - d) * rate)) : 0;
  }
}
