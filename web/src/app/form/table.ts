/** The order and the visible stretch of a long table. */

/** Row numbers in the order of a column; rows that are equal keep their order. */
export function ordered(column: ArrayLike<number>, descending: boolean): Uint32Array {
  const order = Uint32Array.from({ length: column.length }, (_, i) => i);
  const sign = descending ? -1 : 1;
  return order.sort((a, b) => sign * (column[a] - column[b]));
}

/** The rows that a scrolled box shows, with a few more on either side so that none is missing. */
export function stretch(
  scroll: number,
  box: number,
  row: number,
  count: number,
): { first: number; last: number } {
  const margin = 6;
  const first = Math.max(0, Math.floor(scroll / row) - margin);
  const last = Math.min(count, Math.ceil((scroll + box) / row) + margin);
  return { first: Math.min(first, last), last };
}

/** The scroll that brings a row into the box, or the present one where it is inside already. */
export function revealed(at: number, scroll: number, box: number, row: number): number {
  if (at * row < scroll) return at * row;
  if ((at + 1) * row > scroll + box) return (at + 1) * row - box;
  return scroll;
}

/** Decimals with which numbers up to `most` in size have three digits: a column then aligns. */
export function decimalsFor(most: number): number {
  if (!(most > 0) || !Number.isFinite(most)) return 0;
  return Math.min(8, Math.max(0, 2 - Math.floor(Math.log10(most))));
}

/** A number with a set count of decimals, a true minus or on demand a plus, and zero without. */
export function aligned(value: number, decimals: number, signed = false): string {
  const text = Math.abs(value).toFixed(decimals);
  if (Number(text) === 0) return text;
  return (value < 0 ? "−" : signed ? "+" : "") + text;
}
