/**
 * How a form is looked at, as its link says:
 * #/l/12?ax=0,1,2&c=0.35&by=rest&null=gaussian&cam=30,20,3&words=1&w=May,June&alone=1
 */
import { PALETTES, type Palette } from "../../maths/colour";
import type { Camera } from "../../scene/types";
import { soughtIn } from "./words";

/** What the colour of a point says. */
export const COLOURINGS = ["value", "rest", "drawn"] as const;
export type Colouring = (typeof COLOURINGS)[number];

/** Whose points are drawn: the form's own, or a control without its structure. */
export const CLOUDS = ["real", "gaussian", "shuffled", "random"] as const;
export type CloudName = (typeof CLOUDS)[number];

export type Axes = [number, number, number];

export interface Look {
  /** The stored axes shown as x, y and z. */
  axes: Axes;
  /** c of the level set f(x) = c; null for the form's own. */
  level: number | null;
  by: Colouring;
  cloud: CloudName;
  camera: Camera | null;
  palette: Palette;
  /** Frequent words stand in the cloud. */
  words: boolean;
  /** Words whose points are picked out; none where all points count. */
  sought: string[];
  /** Only the points of these words are drawn, as large as they fit. */
  alone: boolean;
}

/** The look in a link; what is missing, malformed or beyond the form's axes is as at the start. */
export function readLook(parameters: URLSearchParams, stored: number, start: Axes): Look {
  const level = numbers(parameters.get("c"), 1);
  return {
    axes: axesOf(parameters.get("ax"), stored) ?? start,
    level: level === null ? null : level[0],
    by: oneOf(COLOURINGS, parameters.get("by")) ?? "value",
    cloud: oneOf(CLOUDS, parameters.get("null")) ?? "real",
    camera: numbers(parameters.get("cam"), 3) as Camera | null,
    palette: oneOf(PALETTES, parameters.get("palette")) ?? PALETTES[0],
    words: parameters.get("words") === "1",
    sought: soughtIn(parameters.get("w") ?? ""),
    alone: parameters.get("alone") === "1",
  };
}

/** The parts of a link that change a look; null where the page starts that way. */
export function writeLook(change: Partial<Look>, start: Axes): Record<string, string | null> {
  const written: Record<string, string | null> = {};
  if (change.axes) written.ax = same(change.axes, start) ? null : change.axes.join(",");
  if (change.level !== undefined) {
    written.c = change.level === null ? null : shortest(change.level);
  }
  if (change.by) written.by = change.by === "value" ? null : change.by;
  if (change.cloud) written.null = change.cloud === "real" ? null : change.cloud;
  if (change.camera !== undefined) written.cam = change.camera?.join(",") ?? null;
  if (change.palette) written.palette = change.palette === PALETTES[0] ? null : change.palette;
  if (change.words !== undefined) written.words = change.words ? "1" : null;
  if (change.sought) written.w = change.sought.join(",") || null;
  if (change.alone !== undefined) written.alone = change.alone ? "1" : null;
  return written;
}

/** How to look, whichever the form: what stays when the reader goes to another one. */
export const MANNER = ["by", "null", "palette", "words"];
/** Where to look on this very form, which its comparison shows too. */
export const SPOT = ["ax", "c", "cam", "w", "alone"];

/** The parts of a link with these names. */
export function carried(parameters: URLSearchParams, names: readonly string[]): URLSearchParams {
  const kept = new URLSearchParams();
  for (const name of names) {
    const value = parameters.get(name);
    if (value !== null) kept.set(name, value);
  }
  return kept;
}

/**
 * The axes a page starts with: the first three, or where a ring was measured in a plane, that plane
 * and the strongest axis beside it.
 */
export function startingAxes(stored: number, ring: readonly [number, number] | null): Axes {
  if (stored < 3) return [0, 1, 2];
  const plane = ring ? [...ring].sort((a, b) => a - b) : [0, 1];
  if (plane[0] === plane[1] || plane[1] >= stored) return [0, 1, 2];
  const beside = [0, 1, 2].find((axis) => !plane.includes(axis))!;
  return [plane[0], plane[1], beside];
}

/** The axes with `axis` in place `place`; the axis that was there moves to where `axis` was. */
export function swapped(axes: Axes, place: number, axis: number): Axes {
  const next: Axes = [...axes];
  const other = axes.indexOf(axis);
  if (other >= 0 && other !== place) next[other] = axes[place];
  next[place] = axis;
  return next;
}

function axesOf(text: string | null, stored: number): Axes | null {
  const axes = numbers(text, 3);
  if (axes === null || new Set(axes).size < 3) return null;
  return axes.every((axis) => Number.isInteger(axis) && axis >= 0 && axis < stored)
    ? (axes as Axes)
    : null;
}

function same(a: Axes, b: Axes): boolean {
  return a.every((axis, i) => axis === b[i]);
}

function numbers(text: string | null, count: number): number[] | null {
  if (text === null) return null;
  const parts = text.split(",");
  const found = parts.map(Number);
  const written = parts.every((part) => part.trim() !== "");
  return written && parts.length === count && found.every(Number.isFinite) ? found : null;
}

function oneOf<T extends string>(names: readonly T[], name: string | null): T | null {
  return names.find((each) => each === name) ?? null;
}

/** Four significant digits are finer than a slider's step and keep the link short. */
function shortest(value: number): string {
  return String(Number(value.toPrecision(4)));
}
