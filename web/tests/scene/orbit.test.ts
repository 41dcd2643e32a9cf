import { describe, expect, test } from "vitest";
import { between, bounded, facing, projected, rounded, viewpoint } from "../../src/scene/orbit";
import type { Camera } from "../../src/scene/types";

const dot = (a: number[], b: number[]) => a.reduce((sum, v, i) => sum + v * b[i], 0);

describe("viewpoint", () => {
  test.each([
    [0, 0],
    [35, 20],
    [-120, -70],
    [-90, 90],
    [10, -90],
  ])("at %i, %i its directions are orthonormal and right-handed", (azimuth, elevation) => {
    const { right, up, back } = viewpoint([azimuth, elevation, 3], 400, 300);
    for (const [a, b, expected] of [
      [right, right, 1],
      [up, up, 1],
      [back, back, 1],
      [right, up, 0],
      [up, back, 0],
    ] as const) {
      expect(dot(a, b)).toBeCloseTo(expected, 12);
    }
    const cross = [
      right[1] * up[2] - right[2] * up[1],
      right[2] * up[0] - right[0] * up[2],
      right[0] * up[1] - right[1] * up[0],
    ];
    expect(dot(cross, back)).toBeCloseTo(1, 12);
  });

  test("the middle of the scene is the middle of the picture, at depth 0", () => {
    const { places, depth } = projected(viewpoint([35, 20, 4], 400, 300), 400, 300, [0, 0, 0]);
    expect([...places]).toEqual([200, 150]);
    expect(depth[0]).toBeCloseTo(0);
  });

  test("35 degrees fall on the shorter side", () => {
    for (const [width, height] of [
      [600, 300],
      [300, 600],
    ]) {
      const edge = 4 * Math.tan((17.5 * Math.PI) / 180);
      const { places } = projected(viewpoint([0, 0, 4], width, height), width, height, [
        0,
        width < height ? edge : 0,
        width < height ? 0 : edge,
      ]);
      expect(width < height ? places[0] : places[1]).toBeCloseTo(width < height ? 300 : 0, 3);
    }
  });

  test("facing an axis, the other two lie right and up", () => {
    const points = [1, 0, 0, 0, 1, 0, 0, 0, 1];
    const expected = { 0: [1, 2], 1: [0, 2], 2: [0, 1] };
    for (const axis of [0, 1, 2] as const) {
      const view = viewpoint(facing(axis, 4), 400, 400);
      const { places } = projected(view, 400, 400, points);
      const [right, up] = expected[axis];
      expect(places[2 * right]).toBeGreaterThan(230);
      expect(places[2 * right + 1]).toBeCloseTo(200, 3);
      expect(places[2 * up]).toBeCloseTo(200, 3);
      expect(places[2 * up + 1]).toBeLessThan(170);
      expect(places[2 * axis]).toBeCloseTo(200, 3);
    }
  });

  test("a point behind the eye has no place", () => {
    const { places } = projected(viewpoint([0, 0, 2], 400, 300), 400, 300, [3, 0, 0]);
    expect([...places]).toEqual([Number.NaN, Number.NaN]);
  });

  test("from far away, size does not depend on depth", () => {
    const view = viewpoint([0, 0, 4], 400, 400, true);
    const { places } = projected(view, 400, 400, [1, 0.5, 0, -1, 0.5, 0]);
    expect(places[0]).toBeCloseTo(places[2], 4);
    // At the middle both ways of seeing agree.
    const near = projected(viewpoint([0, 0, 4], 400, 400), 400, 400, [0, 0.5, 0]).places;
    expect(places[0]).toBeCloseTo(near[0], 4);
  });
});

describe("cameras", () => {
  test("are rounded for links, and turn once", () => {
    expect(rounded([395.4, 20.6, 4.5678])).toEqual([35, 21, 4.57]);
    expect(rounded([-190, -95, 0])).toEqual([170, -90, 1.2]);
  });

  test("stay above the poles and out of the middle", () => {
    expect(bounded([720, 100, 100])).toEqual([720, 90, 20]);
  });

  test("are joined the short way round", () => {
    const from: Camera = [170, 0, 4];
    const to: Camera = [-170, 40, 4];
    expect(between(from, to, 0)).toEqual(from);
    expect(rounded(between(from, to, 1))).toEqual(to);
    expect(between(from, to, 0.5)[0]).toBeCloseTo(180);
  });
});
