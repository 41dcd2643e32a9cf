/**
 * The map of all forms: what it shows and what the hand does. How it is drawn is the painter's
 * business: WebGL in map.ts, a plain canvas in flat.ts.
 */
import { sequentialBytes } from "./colours";
import { listen } from "./gestures";
import { createGrid, type Grid } from "./grid";
import { encircle, styleMarkers } from "./markers";
import { createPlane, type Plane } from "./plane";
import { createStage, type Label, type Stage, toPng } from "./stage";
import type { MapEvents, MapView, Theme } from "./types";

export interface MapOptions {
  theme: Theme;
  reducedMotion: boolean;
  /** What a screen reader calls the view. */
  label?: string;
}

export interface Marks {
  /** (n) −1 … 1. */
  x: Float32Array;
  y: Float32Array;
  /** (n·3) bytes. */
  paint: Uint8Array;
  /** (n) CSS pixels when all is in view. */
  size: Float32Array;
  shown: Uint8Array;
  /** (n) in the order to draw: those not shown first, then small ones upon large ones. */
  order: Uint32Array;
}

export interface MapPainter {
  setMarks(marks: Marks): void;
  setTheme(theme: Theme): void;
  draw(plane: Plane): void;
  dispose(): void;
}

const FULL = 32767;
const PICK_RADIUS = 12;
const USUAL_SIZE = 3;

export function mountMap(
  host: HTMLElement,
  events: Partial<MapEvents>,
  options: MapOptions,
  paint: (stage: Stage) => MapPainter,
): MapView {
  const stage = createStage(host, options.label ?? "Map of all forms", draw);
  const markers = { hover: stage.label(), current: stage.label(), frame: stage.label() };
  const plane = createPlane();
  let painter: MapPainter;
  try {
    painter = paint(stage);
  } catch (error) {
    stage.dispose();
    throw error;
  }

  let theme = options.theme;
  let x = new Float32Array();
  let y = new Float32Array();
  let colour: Float32Array = new Float32Array();
  let size: Float32Array = new Float32Array();
  let shown: Uint8Array = new Uint8Array();
  let grid: Grid = createGrid(x, y);
  let largest = USUAL_SIZE;
  let stale = true;
  let current = -1;
  let hovered = -1;

  function draw(): boolean {
    plane.resize(stage.width, stage.height);
    if (stale) {
      const order = drawOrder(size, shown);
      painter.setMarks({ x, y, paint: sequentialBytes(colour, theme), size, shown, order });
      largest = size.reduce((a, b) => Math.max(a, b), 0);
      stale = false;
    }
    painter.draw(plane);
    ring(markers.current, current, 5);
    ring(markers.hover, hovered, 3);
    return false;
  }

  function changed() {
    stale = true;
    stage.dirty();
  }

  function ring(label: Label, place: number, room: number) {
    if (place < 0 || place >= x.length) return label.hide();
    const [px, py] = plane.toPixels(x[place], y[place]);
    encircle(label, px, py, size[place] * plane.growth + room);
  }

  function hover(place: number, px = 0, py = 0) {
    if (place === hovered && place < 0) return;
    hovered = place;
    ring(markers.hover, place, 3);
    stage.canvas.style.cursor = place < 0 ? "grab" : "pointer";
    events.hover?.(place, px, py);
  }

  function pick(px: number, py: number): number {
    stage.flush();
    const radius = Math.max(PICK_RADIUS, largest * plane.growth);
    const [left, top] = plane.toPlace(px - radius, py - radius);
    const [right, bottom] = plane.toPlace(px + radius, py + radius);
    let best = -1;
    let least = Number.POSITIVE_INFINITY;
    grid.within(left, bottom, right, top, (i) => {
      if (shown[i] === 0) return;
      const [mx, my] = plane.toPixels(x[i], y[i]);
      const apart = Math.hypot(mx - px, my - py);
      const reach = size[i] * plane.growth;
      if (apart > Math.max(PICK_RADIUS, reach)) return;
      // Under the pointer the smallest mark counts: it is drawn on top.
      const rank = apart <= reach ? reach - 1e6 : apart;
      if (rank < least) [best, least] = [i, rank];
    });
    return best;
  }

  function moved() {
    hover(-1);
    stage.dirty();
  }

  const stopGestures = listen(stage.canvas, markers.frame.element, {
    drag(dx, dy) {
      plane.pan(dx, dy);
      moved();
    },
    zoom(factor, px, py) {
      plane.zoom(factor, px, py);
      moved();
    },
    click(px, py) {
      const place = pick(px, py);
      if (place >= 0) events.choose?.(place);
    },
    doubleClick(px, py) {
      if (pick(px, py) >= 0) return;
      plane.fit();
      moved();
    },
    hover: (px, py) => hover(pick(px, py), px, py),
    leave: () => hover(-1),
    rectangle(left, top, right, bottom) {
      const [x0, y1] = plane.toPlace(left, top);
      const [x1, y0] = plane.toPlace(right, bottom);
      const inside: number[] = [];
      grid.within(x0, y0, x1, y1, (i) => {
        if (shown[i] && x[i] >= x0 && x[i] <= x1 && y[i] >= y0 && y[i] <= y1) inside.push(i);
      });
      events.brush?.(inside.sort((a, b) => a - b));
    },
    held(down) {
      stage.canvas.style.cursor = down ? "grabbing" : "grab";
    },
  });

  function setTheme(next: Theme) {
    theme = next;
    painter.setTheme(theme);
    stage.canvas.style.background = theme.background;
    styleMarkers(markers, theme);
    changed();
  }
  stage.canvas.style.cursor = "grab";
  setTheme(theme);

  return {
    setPlaces(nextX, nextY) {
      x = Float32Array.from(nextX, (v) => v / FULL);
      y = Float32Array.from(nextY, (v) => v / FULL);
      const n = x.length;
      if (colour.length !== n) colour = new Float32Array(n).fill(Number.NaN);
      if (size.length !== n) size = new Float32Array(n).fill(USUAL_SIZE);
      if (shown.length !== n) shown = new Uint8Array(n).fill(1);
      grid = createGrid(x, y);
      plane.setExtent(extentOf(x, y));
      hover(-1);
      changed();
    },
    setColour(next) {
      colour = next;
      changed();
    },
    setSize(next) {
      size = next;
      changed();
    },
    setShown(next) {
      shown = next;
      changed();
    },
    setCurrent(place) {
      current = place;
      plane.resize(stage.width, stage.height);
      ring(markers.current, place, 5);
    },
    setTheme,
    project(place) {
      plane.resize(stage.width, stage.height);
      return plane.toPixels(x[place], y[place]);
    },
    pick,
    fit() {
      plane.fit();
      moved();
    },
    zoom(factor) {
      plane.zoom(factor, stage.width / 2, stage.height / 2);
      moved();
    },
    resize: stage.resize,
    image() {
      stage.dirty();
      stage.flush();
      return toPng(stage, (context) => {
        if (current < 0 || current >= x.length) return;
        const [px, py] = plane.toPixels(x[current], y[current]);
        context.lineWidth = 2;
        context.strokeStyle = theme.foreground;
        context.beginPath();
        context.arc(px, py, size[current] * plane.growth + 4, 0, 2 * Math.PI);
        context.stroke();
      });
    },
    dispose() {
      stopGestures();
      painter.dispose();
      stage.dispose();
    },
  };
}

function drawOrder(size: Float32Array, shown: Uint8Array): Uint32Array {
  const rank = Float32Array.from(size, (v, i) => (shown[i] ? -v : -1e6 - v));
  return Uint32Array.from(rank, (_, i) => i).sort((a, b) => rank[a] - rank[b]);
}

function extentOf(x: Float32Array, y: Float32Array) {
  if (x.length === 0) return { left: -1, right: 1, bottom: -1, top: 1 };
  const extent = { left: x[0], right: x[0], bottom: y[0], top: y[0] };
  for (let i = 1; i < x.length; i++) {
    extent.left = Math.min(extent.left, x[i]);
    extent.right = Math.max(extent.right, x[i]);
    extent.bottom = Math.min(extent.bottom, y[i]);
    extent.top = Math.max(extent.top, y[i]);
  }
  return extent;
}
