/** Eigenvalues of symmetric 3×3 matrices. */

export interface Eigen {
  /** The largest first. */
  values: [number, number, number];
  /** Unit vectors, in the order of the values. */
  vectors: [number[], number[], number[]];
}

/**
 * Jacobi's method: each turn in the plane of two axes makes one entry off the diagonal zero. For
 * three axes five sweeps are enough to reach the rounding of the numbers; more do no harm.
 */
export function eigen3(matrix: ArrayLike<number>): Eigen {
  const a = Float64Array.from({ length: 9 }, (_, i) => matrix[i]);
  const v = Float64Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1);
  for (let sweep = 0; sweep < 12; sweep++) {
    if (a[1] === 0 && a[2] === 0 && a[5] === 0) break;
    for (const [p, q] of [[0, 1], [0, 2], [1, 2]]) turn(a, v, p, q);
  }
  const order = [0, 1, 2].sort((i, j) => a[4 * j] - a[4 * i]);
  return {
    values: order.map((i) => a[4 * i]) as Eigen["values"],
    vectors: order.map((i) => [v[i], v[3 + i], v[6 + i]]) as Eigen["vectors"],
  };
}

function turn(a: Float64Array, v: Float64Array, p: number, q: number) {
  const off = a[3 * p + q];
  if (off === 0) return;
  const theta = (a[4 * q] - a[4 * p]) / (2 * off);
  // The smaller of the two angles that make the entry zero; for a vast theta its tangent is 0.
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
  const c = 1 / Math.hypot(t, 1);
  const s = t * c;
  for (let k = 0; k < 3; k++) rotate(a, 3 * k + p, 3 * k + q, c, s);
  for (let k = 0; k < 3; k++) rotate(a, 3 * p + k, 3 * q + k, c, s);
  for (let k = 0; k < 3; k++) rotate(v, 3 * k + p, 3 * k + q, c, s);
  a[3 * p + q] = a[3 * q + p] = 0;
}

function rotate(m: Float64Array, i: number, j: number, c: number, s: number) {
  const [x, y] = [m[i], m[j]];
  m[i] = c * x - s * y;
  m[j] = s * x + c * y;
}
