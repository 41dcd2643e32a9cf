/**
 * A histogram whose edges lie closer near zero (in arsinh). Every bar gets the same width, so a
 * value's place is counted in bars, and heights are logarithms: one row in a million still shows.
 */

export interface Bar {
  low: number;
  high: number;
  count: number;
  /** In 0 … 1 of the tallest. */
  height: number;
}

export function bars(edges: ArrayLike<number>, counts: ArrayLike<number>): Bar[] {
  let most = 0;
  for (let i = 0; i < counts.length; i++) most = Math.max(most, counts[i]);
  const unit = Math.log1p(most);
  return Array.from({ length: counts.length }, (_, i) => ({
    low: edges[i],
    high: edges[i + 1],
    count: counts[i],
    height: unit > 0 ? Math.log1p(counts[i]) / unit : 0,
  }));
}

/** Where a value falls, in 0 … 1 from the first edge to the last; null outside. */
export function placeOf(edges: ArrayLike<number>, value: number): number | null {
  const count = edges.length - 1;
  if (count < 1 || !(value >= edges[0] && value <= edges[count])) return null;
  let bar = 0;
  while (bar < count - 1 && value > edges[bar + 1]) bar++;
  const width = edges[bar + 1] - edges[bar];
  return (bar + (width > 0 ? (value - edges[bar]) / width : 0.5)) / count;
}

/** Powers of ten of both signs and zero, those that fall inside and leave room between them. */
export function ticks(
  edges: ArrayLike<number>,
  apart = 0.12,
): { value: number; place: number }[] {
  if (edges.length < 2) return [];
  const widest = Math.max(Math.abs(edges[0]), Math.abs(edges[edges.length - 1]));
  const chosen: { value: number; place: number }[] = [];
  const offer = (value: number) => {
    const place = placeOf(edges, value);
    if (place === null || chosen.some((each) => Math.abs(each.place - place) < apart)) return;
    chosen.push({ value, place });
  };
  offer(0);
  const top = Math.floor(Math.log10(widest || 1));
  for (let power = top; power > top - 6; power--) {
    offer(10 ** power);
    offer(-(10 ** power));
  }
  return chosen.sort((a, b) => a.place - b.place);
}
