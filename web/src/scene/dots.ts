/** How the points of a cloud and of a path look: places, sizes, colours. */
import { type Bounds, toUnit } from "./bounds";
import { divergingBytes, rgb } from "./colours";
import type { Cloud, Path, Theme } from "./types";

export interface Dots {
  /** In the coordinates of the scene (n·3). */
  places: Float32Array;
  /** (n) lengths of the scene; negative for a ring. */
  radii: Float32Array;
  /** (n·3) bytes. */
  paint: Uint8Array;
  /** (n) 1 for a thin rim that sets a point apart from those behind it. */
  rimmed: Uint8Array;
}

export const NO_DOTS: Dots = {
  places: new Float32Array(),
  radii: new Float32Array(),
  paint: new Uint8Array(),
  rimmed: new Uint8Array(),
};

const RADIUS = 0.017;
/** The number of points for which that is right. */
const USUAL = 1500;

export function radiusFor(n: number): number {
  return RADIUS * Math.min(1.5, Math.max(0.4, (USUAL / Math.max(1, n)) ** 0.25));
}

/** `beneath` is for a cloud that something else is shown upon: it steps back. */
export function cloudDots(cloud: Cloud, bounds: Bounds, theme: Theme, beneath = false): Dots {
  const n = cloud.colour.length;
  const background = rgb(theme.background).map((v) => Math.round(255 * v));
  const paint = divergingBytes(cloud.colour, theme);
  const radii = new Float32Array(n);
  const rimmed = new Uint8Array(n);
  const radius = radiusFor(n);
  const brushed = cloud.chosen?.some((v) => v === 1) ?? false;
  for (let i = 0; i < n; i++) {
    const faint = cloud.faint?.[i] === 1;
    const chosen = brushed && cloud.chosen![i] === 1;
    let muted = faint ? 0.55 : 0;
    if (beneath || brushed) muted += (1 - muted) * (brushed ? 0.72 : 0.5);
    if (chosen) muted = 0;
    for (let k = 3 * i; muted > 0 && k < 3 * i + 3; k++) {
      paint[k] += Math.round((background[k % 3] - paint[k]) * muted);
    }
    const size = radius * (faint ? 0.62 : 1) * (chosen ? 1.35 : 1);
    radii[i] = cloud.colour[i] < 0 ? -size : size;
    rimmed[i] = faint || muted > 0.6 ? 0 : 1;
  }
  return { places: toUnit(cloud.positions, bounds), radii, paint, rimmed };
}

export function pathDots(path: Path, bounds: Bounds, theme: Theme): Dots {
  const radii = path.colour.map((v, i) => {
    const size = RADIUS * (i === path.current ? 2.8 : 1.8);
    return v < 0 ? -size : size;
  });
  return {
    places: toUnit(path.positions, bounds),
    radii,
    paint: divergingBytes(path.colour, theme),
    rimmed: new Uint8Array(radii.length).fill(1),
  };
}
