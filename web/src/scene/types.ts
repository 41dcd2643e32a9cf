/** What the drawing code offers to the panels. Nothing here knows of Svelte or of files. */

/** f(p) = pᵀAp + b·p + c on three axes. */
export interface Slice {
  /** A (3·3) by rows, symmetric; f uses pᵀAp, so an off-diagonal entry counts twice. */
  quadratic: Float32Array;
  linear: [number, number, number];
  constant: number;
}

/** Points to draw, in real units. */
export interface Cloud {
  /** (n·3) point by point: x, y, z of the first, then of the second, … */
  positions: Float32Array;
  /** (n) in −1 … 1 for the diverging map; its sign also decides disc (+) or ring (−). */
  colour: Float32Array;
  /** (n) 1 for points drawn small and faint, because they were picked at random. */
  faint?: Uint8Array;
  /** (n) 1 for points of a brush. */
  chosen?: Uint8Array;
}

/** Sentence typed by the reader: points in order, joined by a line. */
export interface Path {
  /** (n·3) point by point. */
  positions: Float32Array;
  /** (n) in −1 … 1. */
  colour: Float32Array;
  /** The point that the reader points at; absent or −1 for none. */
  current?: number;
}

export interface Surface {
  slice: Slice;
  level: number;
  /** Half the width of the shaded band: the level ± this; 0 for none. */
  band: number;
}

export interface Theme {
  dark: boolean;
  background: string;
  foreground: string;
  /** Ends of the diverging map and its middle. */
  positive: string;
  negative: string;
  neutral: string;
  accent: string;
}

/** A camera as it is kept in links: azimuth, elevation, distance, rounded. */
export type Camera = [number, number, number];

/** The 3-D view of one cloud with its surface. Draws only when something changed. */
export interface CloudView {
  setCloud(cloud: Cloud | null): void;
  setSurface(surface: Surface | null): void;
  setPath(path: Path | null): void;
  /** Names drawn at the ends of the three axes. */
  setAxisLabels(labels: [string, string, string]): void;
  setTheme(theme: Theme): void;
  /** Marks a point as the table's or the keyboard's current one; −1 for none. */
  setCurrent(point: number): void;
  /** Looks along an axis (0, 1, 2), or from the starting corner. */
  face(axis: 0 | 1 | 2 | null): void;
  camera(): Camera;
  setCamera(camera: Camera): void;
  /** Where points (n·3) fall on the canvas (n·2), in CSS pixels. */
  project(positions: Float32Array): Float32Array;
  /** The nearest point to a place on the canvas within 14 px, or −1. */
  pick(x: number, y: number): number;
  resize(): void;
  /** A PNG of what is drawn. */
  image(): Promise<Blob>;
  dispose(): void;
}

export interface CloudEvents {
  hover(point: number, x: number, y: number): void;
  choose(point: number): void;
  /** Points inside a rectangle dragged with shift held. */
  brush(points: number[]): void;
  moved(camera: Camera): void;
}

/** The map of all forms. */
export interface MapView {
  setPlaces(x: Int16Array, y: Int16Array): void;
  /** (n) in 0 … 1 for the sequential map, NaN for unknown. */
  setColour(colour: Float32Array): void;
  /** (n) radius in CSS pixels. */
  setSize(size: Float32Array): void;
  /** (n) 1 for forms that pass the filters; others are drawn faint and cannot be picked. */
  setShown(shown: Uint8Array): void;
  setCurrent(place: number): void;
  setTheme(theme: Theme): void;
  project(place: number): [number, number];
  pick(x: number, y: number): number;
  fit(): void;
  zoom(factor: number): void;
  resize(): void;
  image(): Promise<Blob>;
  dispose(): void;
}

export interface MapEvents {
  hover(place: number, x: number, y: number): void;
  choose(place: number): void;
  /** Places inside a rectangle dragged with shift held. */
  brush(places: number[]): void;
}

/**
 * Both views are made by functions in scene/cloud.ts and scene/map.ts that throw NoWebGL where the
 * browser has none; scene/flat.ts offers the same interfaces on a 2-D canvas, and scene/either.ts
 * whichever the browser can draw.
 */
export class NoWebGL extends Error {
  override name = "NoWebGL";
}
