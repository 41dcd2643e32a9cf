/**
 * The same views on a plain canvas, for browsers without WebGL: the cloud seen from far away, so
 * that lengths are true, and in place of the surface the curve in which it meets the plane through
 * the axes' crossing that faces the reader.
 */
import type { Bounds } from "./bounds";
import { type CloudOptions, type CloudPainter, mountCloud } from "./cloudview";
import { conicSegments } from "./conic";
import { css, mix, type Rgb, rgb } from "./colours";
import { type Dots, NO_DOTS } from "./dots";
import { type MapOptions, type MapPainter, type Marks, mountMap } from "./mapview";
import { facing, projected, START, type Vector, type Viewpoint } from "./orbit";
import { farthestFirst } from "./order";
import { cut, equation } from "./quadric";
import type { Stage } from "./stage";
import type { Stroke } from "./strokes";
import type { CloudEvents, CloudView, MapEvents, MapView, Surface, Theme } from "./types";

const CELLS = 96;
const EXTENT = 1.6;

/** As createCloud, without WebGL; it starts face on. */
export function createFlatCloud(
  host: HTMLElement,
  events: Partial<CloudEvents>,
  options: CloudOptions,
): CloudView {
  return mountCloud(host, events, options, flatCloudPainter, facing(2, START[2]));
}

/** As createMap, without WebGL. */
export function createFlatMap(
  host: HTMLElement,
  events: Partial<MapEvents>,
  options: MapOptions,
): MapView {
  return mountMap(host, events, options, flatMapPainter);
}

function flatCloudPainter(stage: Stage): CloudPainter {
  const { context } = stage;
  let points = NO_DOTS;
  let path = NO_DOTS;
  let pathStrokes: Stroke[] = [];
  let axes: Stroke[] = [];
  let surface: Surface | null = null;
  let bounds: Bounds | null = null;
  let theme: Theme | null = null;

  function drawStrokes(strokes: Stroke[], view: Viewpoint) {
    const { width, height } = stage;
    context.lineCap = "round";
    for (const { from, to, colour, alpha, width: thick } of strokes) {
      const { places } = projected(view, width, height, [...from, ...to]);
      context.strokeStyle = css(colour, alpha);
      context.lineWidth = thick;
      context.beginPath();
      context.moveTo(places[0], places[1]);
      context.lineTo(places[2], places[3]);
      context.stroke();
    }
  }

  function drawDots(dots: Dots, view: Viewpoint, halo: Rgb) {
    const { places, depth } = projected(view, stage.width, stage.height, dots.places);
    const order = new Uint32Array(depth.length);
    farthestFirst(depth, order);
    const rate = lengthRate(view);
    for (const i of order) {
      const radius = Math.max(1.5, Math.abs(dots.radii[i]) * rate);
      const colour = `rgb(${dots.paint.subarray(3 * i, 3 * i + 3).join(" ")})`;
      mark(context, places[2 * i], places[2 * i + 1], radius, colour, dots.radii[i] < 0, halo);
    }
  }

  /** Pixels of a unit of length, which the distance of a far eye does not change. */
  function lengthRate(view: Viewpoint): number {
    return view.focal / Math.hypot(...view.eye);
  }

  function drawCurve(view: Viewpoint, level: number, alpha: number, thick: number) {
    if (surface === null || bounds === null || theme === null) return;
    const terms = equation(surface.slice, level, bounds);
    if (terms === null) return;
    const { centre, half, scale } = bounds;
    const origin = half.map((h, i) => Math.min(h, Math.max(-h, -centre[i])) / scale) as Vector;
    const segments = conicSegments(cut(terms, origin, view.right, view.up), EXTENT, CELLS);
    const rate = lengthRate(view);
    const { places } = projected(view, stage.width, stage.height, origin);
    context.strokeStyle = css(rgb(theme.foreground), alpha);
    context.lineWidth = thick;
    context.beginPath();
    for (let k = 0; k + 3 < segments.length; k += 4) {
      context.moveTo(places[0] + rate * segments[k], places[1] - rate * segments[k + 1]);
      context.lineTo(places[0] + rate * segments[k + 2], places[1] - rate * segments[k + 3]);
    }
    context.stroke();
  }

  return {
    orthographic: true,
    setPoints(dots) {
      points = dots;
    },
    setPath(dots, strokes) {
      [path, pathStrokes] = [dots, strokes];
    },
    setAxes(strokes) {
      axes = strokes;
    },
    setSurface(next, nextBounds) {
      [surface, bounds] = [next, nextBounds];
    },
    setTheme(next) {
      theme = next;
    },
    draw(view) {
      if (theme === null) return;
      context.setTransform(stage.pixelRatio, 0, 0, stage.pixelRatio, 0, 0);
      context.fillStyle = theme.background;
      context.fillRect(0, 0, stage.width, stage.height);
      drawStrokes(axes, view);
      drawDots(points, view, rgb(theme.background));
      if (surface !== null) {
        drawCurve(view, surface.level, 0.85, 1.75);
        for (const side of surface.band > 0 ? [-1, 1] : []) {
          drawCurve(view, surface.level + side * surface.band, 0.35, 1);
        }
      }
      drawStrokes(pathStrokes, view);
      drawDots(path, view, rgb(theme.foreground));
    },
    dispose() {},
  };
}

function flatMapPainter(stage: Stage): MapPainter {
  const { context } = stage;
  let marks: Marks | null = null;
  let theme: Theme | null = null;
  return {
    setMarks(next) {
      marks = next;
    },
    setTheme(next) {
      theme = next;
    },
    draw(plane) {
      if (theme === null) return;
      const { width, height, pixelRatio } = stage;
      context.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
      context.fillStyle = theme.background;
      context.fillRect(0, 0, width, height);
      if (marks === null) return;
      const ground = rgb(theme.background);
      const faint = css(mix(ground, rgb(theme.neutral), 0.35));
      for (const i of marks.order) {
        const [x, y] = plane.toPixels(marks.x[i], marks.y[i]);
        const radius = Math.max(0.75, marks.size[i] * plane.growth * (marks.shown[i] ? 1 : 0.6));
        if (x < -radius || y < -radius || x > width + radius || y > height + radius) continue;
        const colour = marks.shown[i]
          ? `rgb(${marks.paint.subarray(3 * i, 3 * i + 3).join(" ")})`
          : faint;
        mark(context, x, y, radius, colour, false, ground);
      }
    },
    dispose() {},
  };
}

/** A disc or a ring, with a thin halo once it is large enough. */
function mark(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  radius: number,
  colour: string,
  hollow: boolean,
  halo: Rgb,
) {
  context.beginPath();
  if (hollow && radius > 2) {
    context.arc(x, y, 0.78 * radius, 0, 2 * Math.PI);
    context.lineWidth = 0.44 * radius;
    context.strokeStyle = colour;
    context.stroke();
    return;
  }
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
  if (radius < 2.5) return;
  context.lineWidth = 0.8;
  context.strokeStyle = css(halo, 0.75);
  context.stroke();
}
