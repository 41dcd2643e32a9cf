import { expect, test } from "vitest";
import { createGrid } from "../../src/scene/grid";
import { farthestFirst } from "../../src/scene/order";
import { createPlane } from "../../src/scene/plane";

/** Numbers that are the same on every run. */
function numbers(n: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: n }, () => {
    state = (1664525 * state + 1013904223) % 2 ** 32;
    return (2 * state) / 2 ** 32 - 1;
  });
}

test("the grid finds every mark of a rectangle, once", () => {
  const x = numbers(5000, 1);
  const y = numbers(5000, 2);
  const grid = createGrid(x, y);
  for (const [left, bottom, right, top] of [
    [-0.2, -0.5, 0.1, 0.3],
    [-2, -2, 2, 2],
    [0.99, 0.99, 1.5, 1.5],
    [0.30001, 0.2, 0.30002, 0.20001],
  ]) {
    const seen: number[] = [];
    grid.within(left, bottom, right, top, (i) => seen.push(i));
    expect(new Set(seen).size).toBe(seen.length);
    const within = Array.from(x.keys()).filter(
      (i) => x[i] >= left && x[i] <= right && y[i] >= bottom && y[i] <= top,
    );
    for (const i of within) expect(seen).toContain(i);
  }
  const near: number[] = [];
  grid.within(0.5, 0.5, 0.51, 0.51, (i) => near.push(i));
  expect(near.length).toBeLessThan(50);
});

test("a grid of nothing holds nothing", () => {
  createGrid(new Float32Array(), new Float32Array()).within(-1, -1, 1, 1, () => {
    throw new Error("there is no mark");
  });
});

test("farthestFirst orders every index by falling depth", () => {
  const depth = numbers(3000, 3);
  const order = new Uint32Array(3000);
  farthestFirst(depth, order);
  expect(new Set(order).size).toBe(3000);
  for (let k = 1; k < order.length; k++) {
    expect(depth[order[k - 1]]).toBeGreaterThan(depth[order[k]] - 2 / 4000);
  }
  const equal = new Uint32Array(3);
  farthestFirst(new Float32Array([1, 1, 1]), equal);
  expect([...equal].sort()).toEqual([0, 1, 2]);
});

test("the plane zooms about the pointer, and its two directions are inverse", () => {
  const plane = createPlane();
  plane.resize(800, 600);
  plane.setExtent({ left: -0.5, right: 0.9, bottom: -0.8, top: 0.4 });
  const before = plane.toPlace(200, 130);
  plane.zoom(3, 200, 130);
  const after = plane.toPlace(200, 130);
  expect(after[0]).toBeCloseTo(before[0]);
  expect(after[1]).toBeCloseTo(before[1]);
  const [px, py] = plane.toPixels(0.3, -0.2);
  const [x, y] = plane.toPlace(px, py);
  expect(x).toBeCloseTo(0.3);
  expect(y).toBeCloseTo(-0.2);
});

test("everything fits, upwards is up, and a resize keeps what is in view", () => {
  const plane = createPlane();
  plane.setExtent({ left: -1, right: 1, bottom: -0.5, top: 0.5 });
  for (const [width, height] of [
    [800, 600],
    [320, 500],
  ]) {
    plane.resize(width, height);
    const [left, bottom] = plane.toPixels(-1, -0.5);
    const [right, top] = plane.toPixels(1, 0.5);
    expect(left).toBeGreaterThanOrEqual(20);
    expect(right).toBeLessThanOrEqual(width - 20);
    expect(top).toBeGreaterThanOrEqual(20);
    expect(bottom).toBeLessThanOrEqual(height - 20);
    expect(top).toBeLessThan(bottom);
  }
  plane.pan(40, -30);
  const place = plane.toPlace(160, 250);
  plane.resize(640, 500);
  expect(plane.toPlace(320, 250)[0]).toBeCloseTo(place[0]);
});
