/** Random orthogonal matrices for tests. */
import { normal, type Random } from "../../src/maths/random";

/** By rows; of determinant 1, or −1 for a mirror image. */
export function rotationOf(draw: Random, mirrored = false): number[][] {
  // A random unit quaternion.
  const q = [normal(draw), normal(draw), normal(draw), normal(draw)];
  const [w, x, y, z] = q.map((c) => c / Math.hypot(...q));
  const rows = [
    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
  ];
  return mirrored ? rows.map((row) => row.map((v) => -v)) : rows;
}
