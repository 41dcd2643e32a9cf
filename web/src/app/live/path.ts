/** From tokens on a form's axes to the path that the cloud draws. */
import type { Path } from "../../scene/types";

export function sentencePath(
  path: { coordinates: number[][]; values: number[] },
  axes: [number, number, number],
  /** The value of the full colour. */
  valueScale: number,
): Path {
  const positions = new Float32Array(3 * path.values.length);
  path.coordinates.forEach((point, token) => {
    // A form with fewer axes than three lies flat along the others.
    axes.forEach((axis, i) => (positions[3 * token + i] = point[axis] ?? 0));
  });
  const colour = Float32Array.from(path.values, (value) =>
    Math.max(-1, Math.min(1, value / (valueScale || 1))),
  );
  return { positions, colour };
}
