/** Lists of forms in the order of a statistic. */

/** Places in the order of a column; NaN last either way, and equals as they were. */
export function rank(
  places: readonly number[],
  column: ArrayLike<number>,
  order: "ascending" | "descending" = "descending",
): number[] {
  const sign = order === "ascending" ? 1 : -1;
  return [...places].sort((a, b) => {
    const [x, y] = [column[a], column[b]];
    const unknown = Number(Number.isNaN(x)) - Number(Number.isNaN(y));
    if (unknown !== 0 || Number.isNaN(x)) return unknown;
    return x === y ? 0 : sign * (x < y ? -1 : 1);
  });
}
