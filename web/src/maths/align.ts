/**
 * Looking at one form as another is looked at: three directions among a form's stored axes on which
 * its points lie as nearly as they can where the same points lie in a reference.
 */
import type { FormPoints } from "../data/types";
import type { Slice } from "../scene/types";
import { eigen3 } from "./eigen";
import { FULL } from "./points";

/** Three directions at right angles, by rows: (3·width), one entry for each axis. */
export interface Frame {
  directions: Float64Array;
  /** The stored axes, or three where fewer are stored: the others are zero. */
  width: number;
}

const STEPS = 1000;
const SETTLED = 1e-7;

/**
 * R with orthonormal rows and the largest cosine of Rp with the reference q, over all points: the
 * least Σ|q − s·Rp|² with the scale s free, as two autoencoders may measure in different units. With
 * M = Σ qpᵀ and C = Σ ppᵀ each step solves Procrustes' problem for M/s + R(λ − C), which cannot be
 * worse than the step before if λ is no less than C's eigenvalues. Mirror images are allowed, because
 * the sign of an axis has no meaning; the origin stays where it is.
 */
export function matchingFrame(points: FormPoints, reference: Float32Array): Frame {
  const n = points.value.length;
  if (reference.length !== 3 * n) {
    throw new RangeError(`${n} points cannot be laid onto ${reference.length / 3}`);
  }
  const width = Math.max(3, points.axes);
  const columns = Array.from({ length: width }, (_, axis) => coordinates(points, axis));
  const targets = [0, 1, 2].map((a) => Float64Array.from({ length: n }, (_, i) => reference[3 * i + a]));
  const cross = targets.map((q) => Float64Array.from(columns, (p) => dot(q, p)));
  const own = columns.map((p) => Float64Array.from(columns, (other) => dot(p, other)));
  const bound = Math.max(...own.map((row) => row.reduce((sum, x) => sum + Math.abs(x), 0)));

  let rows = orthonormal(cross, width);
  for (let step = 0; step < STEPS; step++) {
    const image = rows.map((row) => Float64Array.from(own, (line) => dot(row, line)));
    const scale = inner(rows, cross) / inner(rows, image);
    if (!(scale > 0 && scale < Infinity)) break;
    const wanted = rows.map((row, a) =>
      row.map((x, j) => cross[a][j] / scale + bound * x - image[a][j]),
    );
    const next = orthonormal(wanted, width);
    const moved = Math.max(...next.flatMap((row, a) => [...row].map((x, j) => Math.abs(x - rows[a][j]))));
    rows = next;
    if (moved < SETTLED) break;
  }
  return { directions: Float64Array.from(rows.flatMap((row) => [...row])), width };
}

/** UVᵀ of three rows M = UΣVᵀ: the orthonormal rows R with the largest Σ MᵢⱼRᵢⱼ. */
function orthonormal(m: Float64Array[], width: number): Float64Array[] {
  const { values, vectors } = eigen3(m.flatMap((row) => m.map((other) => dot(row, other))));
  const strongest = Math.sqrt(Math.max(0, values[0]));
  const found: Float64Array[] = [];
  // Mᵀ·u is σ·v; where σ vanishes any direction at a right angle to the others will do.
  for (const u of vectors) {
    const image = m[0].map((_, j) => u[0] * m[0][j] + u[1] * m[1][j] + u[2] * m[2][j]);
    const left = without(image, found);
    found.push(norm(left) > 1e-7 * strongest ? unit(left) : perpendicular(width, found));
  }
  return [0, 1, 2].map((a) =>
    Float64Array.from({ length: width }, (_, j) =>
      vectors.reduce((sum, u, k) => sum + u[a] * found[k][j], 0),
    ),
  );
}

/** (3·n) R·p, point by point. */
export function framePositions(points: FormPoints, { directions, width }: Frame): Float32Array {
  const result = new Float32Array(3 * points.value.length);
  for (let axis = 0; axis < points.axes; axis++) {
    coordinates(points, axis).forEach((p, point) => {
      for (let a = 0; a < 3; a++) result[3 * point + a] += directions[a * width + axis] * p;
    });
  }
  return result;
}

/** The form on the three directions: RARᵀ, Rb and c. */
export function frameSlice(points: FormPoints, { directions, width }: Frame): Slice {
  const r = points.axes;
  const rows = [0, 1, 2].map((a) => directions.subarray(a * width, a * width + r));
  const bent = rows.map((row) =>
    Float64Array.from({ length: r }, (_, j) => dot(row, points.form.subarray(j * r, j * r + r))),
  );
  return {
    quadratic: Float32Array.from(rows.flatMap((row) => bent.map((column) => dot(row, column)))),
    linear: rows.map((row) => dot(row, points.linear)) as [number, number, number],
    constant: points.constant,
  };
}

/** (n) along one axis; zero where it is not stored. */
function coordinates(points: FormPoints, axis: number): Float64Array {
  const n = points.value.length;
  if (axis >= points.axes) return new Float64Array(n);
  const scale = points.scale[axis] / FULL;
  return Float64Array.from(points.coordinates.subarray(axis * n, axis * n + n), (p) => p * scale);
}

type Vector = ArrayLike<number>;

function dot(a: Vector, b: Vector): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

function inner(a: Float64Array[], b: Float64Array[]): number {
  return a.reduce((sum, row, i) => sum + dot(row, b[i]), 0);
}

function norm(a: Vector): number {
  return Math.sqrt(dot(a, a));
}

function unit(a: Float64Array): Float64Array {
  const length = norm(a);
  return a.map((x) => x / length);
}

function without(vector: Float64Array, directions: Float64Array[]): Float64Array {
  return directions.reduce((left, d) => {
    const along = dot(left, d);
    return left.map((x, i) => x - along * d[i]);
  }, vector);
}

/** A unit vector at a right angle to up to two others. */
function perpendicular(width: number, directions: Float64Array[]): Float64Array {
  const candidates = Array.from({ length: width }, (_, axis) =>
    without(new Float64Array(width).fill(1, axis, axis + 1), directions),
  );
  return unit(candidates.reduce((a, b) => (norm(b) > norm(a) ? b : a)));
}
