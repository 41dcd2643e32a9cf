/** The scale of a statistic: from its numbers to places on an axis and back. */

export interface Scale {
  logarithmic: boolean;
  /** The smallest and largest number; on a logarithmic scale, of those above zero. */
  low: number;
  high: number;
  /** 0 … 1 along the axis, beyond it outside; NaN for NaN. A number that has no logarithm is at 0. */
  position(value: number): number;
  value(position: number): number;
}

/** The scale over all numbers of a column. */
export function scaleOf(column: Float32Array, logarithmic: boolean): Scale {
  let low = Infinity;
  let high = -Infinity;
  for (const value of column) {
    if (!Number.isFinite(value) || (logarithmic && value <= 0)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return makeScale(low, high, logarithmic);
}

/**
 * The scale over a column without the two thousandths at each end, so that a few far numbers do not
 * leave all others with one colour.
 */
export function middleScale(column: Float32Array, logarithmic: boolean): Scale {
  const finite = column.filter((value) => Number.isFinite(value) && (!logarithmic || value > 0));
  finite.sort();
  const at = (part: number) => finite[Math.round(part * (finite.length - 1))];
  return makeScale(at(0.002) ?? Infinity, at(0.998) ?? -Infinity, logarithmic);
}

function makeScale(low: number, high: number, logarithmic: boolean): Scale {
  if (low > high) return { logarithmic, low: 0, high: 0, position: flat, value: () => 0 };
  const to = logarithmic ? Math.log : (value: number) => value;
  const from = logarithmic ? Math.exp : (value: number) => value;
  const start = to(low);
  const length = to(high) - start;
  return {
    logarithmic,
    low,
    high,
    position(value) {
      if (Number.isNaN(value)) return NaN;
      if (logarithmic && value <= 0) return 0;
      return length > 0 ? (to(value) - start) / length : flat(value);
    },
    // The ends exactly: rounding must not put the largest number outside its own scale.
    value: (position) =>
      position <= 0 ? low : position >= 1 ? high : from(start + position * length),
  };
}

/** Whether numbers of the column lie below the scale's start and above its end. */
export function beyond(column: Float32Array, { low, high }: Scale): [boolean, boolean] {
  return [column.some((value) => value < low), column.some((value) => value > high)];
}

/** Where there is only one number, it is in the middle. */
function flat(value: number): number {
  return Number.isNaN(value) ? NaN : 0.5;
}

/** How many numbers fall into each of `bins` equal parts of a scale, among all or those marked 1. */
export function histogram(
  column: Float32Array,
  scale: Scale,
  bins: number,
  marked?: Uint8Array,
): Uint32Array {
  const counts = new Uint32Array(bins);
  for (let i = 0; i < column.length; i++) {
    if (marked && marked[i] === 0) continue;
    const position = scale.position(column[i]);
    if (Number.isNaN(position)) continue;
    counts[Math.min(bins - 1, Math.max(0, Math.floor(position * bins)))]++;
  }
  return counts;
}
