import { expect, test } from "vitest";
import { composedPoints } from "../../src/app/live/composed";
import { sentencePath } from "../../src/app/live/path";
import type { Composed } from "../../src/app/live/requests";

const COMPOSED: Composed = {
  spectrum: [2, -1],
  axes: 2,
  axisKind: ["eigenvector", "principal"],
  form: [2, 0.5, 0.5, -1],
  linear: [3, 0],
  constant: -4,
  coordinates: [
    [1, -8, 3],
    [0, 1, 0.1],
  ],
  // pᵀAp + b·p + c is 1, 91, 23.29…; the remainders are 1, −2, 0.
  value: [2, 91, 23.29],
  row: [5, 6, 7],
  tokens: ["a", "b", "c"],
  quadric: "cylinder",
};

test("points of a composed form are within half a step of the server's numbers", () => {
  const points = composedPoints(COMPOSED);
  COMPOSED.coordinates.forEach((axis, k) =>
    axis.forEach((p, i) => {
      const back = (points.coordinates[3 * k + i] * points.scale[k]) / 32767;
      expect(Math.abs(back - p)).toBeLessThanOrEqual((0.51 * points.scale[k]) / 32767);
    }),
  );
  COMPOSED.value.forEach((value, i) => {
    const back = (points.value[i] * points.valueScale) / 32767;
    expect(Math.abs(back - value)).toBeLessThanOrEqual((0.51 * points.valueScale) / 32767);
  });
  expect(points.coordinates[1]).toBe(-32767);
});

test("the remainder is what the stored axes leave out", () => {
  const held = COMPOSED.value.map((_, i) => {
    const [x, y] = [COMPOSED.coordinates[0][i], COMPOSED.coordinates[1][i]];
    return 2 * x * x + 2 * 0.5 * x * y - y * y + 3 * x - 4;
  });
  const rest = COMPOSED.value.map((value, i) => value - held[i]);
  const expected = Math.sqrt(rest.reduce((sum, each) => sum + each * each, 0) / 3);
  expect(expected).toBeGreaterThan(0.5);
  expect(composedPoints(COMPOSED).remainder).toBeCloseTo(expected, 9);
});

test("an axis that is all zero stays so, and a kind that is unknown is refused", () => {
  const flat = { ...COMPOSED, coordinates: [COMPOSED.coordinates[0], [0, 0, 0]] };
  expect([...composedPoints(flat).coordinates.slice(3)]).toEqual([0, 0, 0]);
  expect([...composedPoints(flat).axisKind]).toEqual([0, 2]);
  expect(() => composedPoints({ ...COMPOSED, axisKind: ["eigenvector", "odd"] })).toThrow('"odd"');
});

test("a path takes the shown axes, and colours as the cloud does", () => {
  const path = { coordinates: [[1, 2, 3, 4], [5, 6, 7, 8]], values: [1, -9] };
  const drawn = sentencePath(path, [3, 0, 1], 2);
  expect([...drawn.positions]).toEqual([4, 1, 2, 8, 5, 6]);
  expect([...drawn.colour]).toEqual([0.5, -1]);
});
