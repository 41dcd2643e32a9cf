/**
 * A camera that turns about the middle of a cloud, in coordinates in which the drawn box has
 * half-size one. Three numbers describe it, so a link can hold it.
 */
import type { Camera } from "./types";

export const START: Camera = [35, 20, 4.4];
const NEAREST = 1.2;
const FARTHEST = 20;
/** Of the shorter side of the view, so that a narrow screen shows the same. */
const FIELD_OF_VIEW = (35 * Math.PI) / 180;
const DEPTH_BEFORE = 4;

export type Vector = [number, number, number];

/** Where the camera is and which way its picture lies. */
export interface Viewpoint {
  eye: Vector;
  right: Vector;
  up: Vector;
  /** From the scene's middle to the eye. */
  back: Vector;
  /** Column by column, as WebGL wants it: unit coordinates → clip space. */
  matrix: Float32Array;
  /** How large one unit of length appears at distance one, in CSS pixels. */
  focal: number;
}

export function rounded([azimuth, elevation, distance]: Camera): Camera {
  const turn = ((((azimuth + 180) % 360) + 360) % 360) - 180;
  return [
    Math.round(turn),
    Math.round(Math.min(90, Math.max(-90, elevation))),
    Math.round(100 * Math.min(FARTHEST, Math.max(NEAREST, distance))) / 100,
  ];
}

export function bounded([azimuth, elevation, distance]: Camera): Camera {
  return [
    azimuth,
    Math.min(90, Math.max(-90, elevation)),
    Math.min(FARTHEST, Math.max(NEAREST, distance)),
  ];
}

/** Looking along an axis, with the other two right and up. */
export function facing(axis: 0 | 1 | 2 | null, distance: number): Camera {
  if (axis === null) return START;
  return axis === 0 ? [0, 0, distance] : axis === 1 ? [-90, 0, distance] : [-90, 90, distance];
}

/** The way between two cameras the short way round; `t` from 0 to 1. */
export function between(from: Camera, to: Camera, t: number): Camera {
  const s = t * t * (3 - 2 * t);
  const turn = ((((to[0] - from[0] + 180) % 360) + 360) % 360) - 180;
  return [
    from[0] + turn * s,
    from[1] + (to[1] - from[1]) * s,
    from[2] * (to[2] / from[2]) ** s,
  ];
}

export function viewpoint(
  camera: Camera,
  width: number,
  height: number,
  orthographic = false,
): Viewpoint {
  const azimuth = (camera[0] * Math.PI) / 180;
  const elevation = (camera[1] * Math.PI) / 180;
  const distance = camera[2];
  const [ca, sa] = [Math.cos(azimuth), Math.sin(azimuth)];
  const [ce, se] = [Math.cos(elevation), Math.sin(elevation)];
  const back: Vector = [ce * ca, ce * sa, se];
  const right: Vector = [-sa, ca, 0];
  const up: Vector = [-se * ca, -se * sa, ce];
  const eye = back.map((v) => v * distance) as Vector;
  const focal = Math.min(width, height) / 2 / Math.tan(FIELD_OF_VIEW / 2);
  const sx = (2 * focal) / width;
  const sy = (2 * focal) / height;
  const near = Math.max(0.02, distance - DEPTH_BEFORE);
  const far = distance + DEPTH_BEFORE;
  const m = new Float32Array(16);
  for (let j = 0; j < 3; j++) {
    const depth = -back[j]; // of a step along axis j, away from the eye
    m[4 * j] = sx * right[j];
    m[4 * j + 1] = sy * up[j];
    if (orthographic) {
      m[4 * j] /= distance;
      m[4 * j + 1] /= distance;
      m[4 * j + 2] = (2 * depth) / (far - near);
    } else {
      m[4 * j + 2] = ((far + near) / (far - near)) * depth;
      m[4 * j + 3] = depth;
    }
  }
  // The middle of the scene lies `distance` before the eye.
  if (orthographic) {
    m[14] = (2 * distance - far - near) / (far - near);
    m[15] = 1;
  } else {
    m[14] = ((far + near) * distance - 2 * far * near) / (far - near);
    m[15] = distance;
  }
  return { eye, right, up, back, matrix: m, focal };
}

/** Places (n·2) of points (n·3) in CSS pixels, and their distances (n); NaN behind the eye. */
export function projected(
  view: Viewpoint,
  width: number,
  height: number,
  points: ArrayLike<number>,
): { places: Float32Array; depth: Float32Array } {
  const n = Math.floor(points.length / 3);
  const places = new Float32Array(2 * n);
  const depth = new Float32Array(n);
  const m = view.matrix;
  for (let i = 0; i < n; i++) {
    const [x, y, z] = [points[3 * i], points[3 * i + 1], points[3 * i + 2]];
    const w = m[3] * x + m[7] * y + m[11] * z + m[15];
    const before = w > 0;
    places[2 * i] = before
      ? ((m[0] * x + m[4] * y + m[8] * z + m[12]) / w + 1) * (width / 2)
      : Number.NaN;
    places[2 * i + 1] = before
      ? (1 - (m[1] * x + m[5] * y + m[9] * z + m[13]) / w) * (height / 2)
      : Number.NaN;
    depth[i] = -(view.back[0] * x + view.back[1] * y + view.back[2] * z);
  }
  return { places, depth };
}
