/** The curve on which a level set meets a plane, by marching squares on a conic's values. */

/** Segments x0 y0 x1 y1 … of value = 0 for a conic [ss, st, tt, s, t, 1] on −extent … extent. */
export function conicSegments(conic: number[], extent: number, cells: number): number[] {
  const [ss, st, tt, s1, t1, one] = conic;
  const value = (s: number, t: number) => (ss * s + st * t + s1) * s + (tt * t + t1) * t + one;
  const at = (i: number) => (2 * i * extent) / cells - extent;
  const segments: number[] = [];
  let below = Float64Array.from({ length: cells + 1 }, (_, i) => value(at(i), at(0)));
  for (let j = 0; j < cells; j++) {
    const above = Float64Array.from({ length: cells + 1 }, (_, i) => value(at(i), at(j + 1)));
    for (let i = 0; i < cells; i++) {
      const corners = [below[i], below[i + 1], above[i + 1], above[i]];
      const [x0, x1, y0, y1] = [at(i), at(i + 1), at(j), at(j + 1)];
      const places = [
        [x0, y0, x1, y0],
        [x1, y0, x1, y1],
        [x1, y1, x0, y1],
        [x0, y1, x0, y0],
      ];
      const crossings: number[] = [];
      places.forEach(([ax, ay, bx, by], k) => {
        const [from, to] = [corners[k], corners[(k + 1) % 4]];
        if (from < 0 === to < 0) return;
        const share = from / (from - to);
        crossings.push(ax + share * (bx - ax), ay + share * (by - ay));
      });
      // A cell with four crossings holds two curves; which ends belong together makes no
      // difference that could be seen in a cell this small.
      segments.push(...crossings);
    }
    below = above;
  }
  return segments;
}
