/** Which marks lie near a place: a grid over the map, made once. */

const MARKS_PER_CELL = 4;

export interface Grid {
  /** Calls `visit` with every mark in the rectangle, and some just outside it. */
  within(left: number, bottom: number, right: number, top: number, visit: (i: number) => void): void;
}

/** Of places within −1 … 1. */
export function createGrid(x: Float32Array, y: Float32Array): Grid {
  const n = x.length;
  const side = Math.max(1, Math.min(512, Math.round(Math.sqrt(n / MARKS_PER_CELL))));
  const cell = (v: number) => Math.min(side - 1, Math.max(0, Math.floor(((v + 1) / 2) * side)));
  const starts = new Uint32Array(side * side + 1);
  const members = new Uint32Array(n);
  for (let i = 0; i < n; i++) starts[cell(y[i]) * side + cell(x[i]) + 1]++;
  for (let c = 0; c < side * side; c++) starts[c + 1] += starts[c];
  const next = starts.slice();
  for (let i = 0; i < n; i++) members[next[cell(y[i]) * side + cell(x[i])]++] = i;
  return {
    within(left, bottom, right, top, visit) {
      const [first, last] = [cell(left), cell(right)];
      for (let row = cell(bottom); row <= cell(top); row++) {
        const end = starts[row * side + last + 1];
        for (let k = starts[row * side + first]; k < end; k++) visit(members[k]);
      }
    },
  };
}
