/** Round numbers along an axis. */

/** 1, 2 or 5 times a power of ten, so that `length` holds about `count` steps. */
export function niceStep(length: number, count: number): number {
  const rough = length / count;
  if (!(rough > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const digit = rough / power;
  return (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10) * power;
}

/** Multiples of `step` from `low` to `high`. */
export function ticks(low: number, high: number, step: number): number[] {
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
}

/** With as many decimals as steps of this size need, and a true minus sign. */
export function tickText(value: number, step: number): string {
  const size = Math.max(Math.abs(value), step);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replaceAll("-", "−");
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return value.toFixed(decimals).replace(/^-(?=.*[1-9])/, "−").replace(/^-/, "");
}
