/** Columns of numbers: their range, their places in it, and their histogram. */

type Numbers = ArrayLike<number> & Iterable<number>;

/** The q-th quantile of finite numbers, between neighbours in proportion; NaN of none. */
export function quantile(numbers: Numbers, q: number): number {
  const sorted = Float64Array.from(numbers).sort();
  if (sorted.length === 0) return NaN;
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

/** The least and the largest finite number; of those above zero where it is logarithmic. */
export function extent(column: Numbers, logarithmic = false): [number, number] {
  let least = Infinity;
  let most = -Infinity;
  for (const value of column) {
    if (!Number.isFinite(value) || (logarithmic && value <= 0)) continue;
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return least <= most ? [least, most] : [NaN, NaN];
}

/**
 * Each number's place between the ends, 0 … 1; NaN stays NaN, and numbers beyond an end, like those
 * that have no logarithm, go to it. Where both ends are the same, everything is in the middle.
 */
export function toUnit(
  column: Numbers,
  logarithmic = false,
  ends: readonly [number, number] = extent(column, logarithmic),
): Float32Array {
  const measure = logarithmic ? (x: number) => Math.log(Math.max(x, 0)) : (x: number) => x;
  const [low, high] = ends.map(measure);
  const width = high - low;
  return Float32Array.from(column, (value) => {
    if (Number.isNaN(value)) return NaN;
    if (!(width > 0)) return 0.5;
    return Math.min(1, Math.max(0, (measure(value) - low) / width));
  });
}

/** The number at a place 0 … 1 between the ends: what `toUnit` undoes, for legends. */
export function fromUnit(unit: number, logarithmic: boolean, ends: readonly [number, number]) {
  const [low, high] = ends;
  return logarithmic ? low * (high / low) ** unit : low + unit * (high - low);
}

export interface Histogram {
  edges: Float32Array;
  counts: Uint32Array;
}

/** Counts between equally spaced edges, on a logarithmic scale too; what is not finite is left out. */
export function histogram(
  column: Numbers,
  bins: number,
  logarithmic = false,
  ends: readonly [number, number] = extent(column, logarithmic),
): Histogram {
  const counts = new Uint32Array(bins);
  const units = toUnit(column, logarithmic, ends);
  units.forEach((unit, i) => {
    const value = Array.isArray(column) ? column[i] : (column as ArrayLike<number>)[i];
    if (!Number.isFinite(value) || value < ends[0] || value > ends[1]) return;
    counts[Math.min(bins - 1, Math.floor(unit * bins))]++;
  });
  const edges = Float32Array.from({ length: bins + 1 }, (_, i) =>
    fromUnit(i / bins, logarithmic, ends),
  );
  return { edges, counts };
}
