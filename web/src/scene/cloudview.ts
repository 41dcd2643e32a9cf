/**
 * A view of one cloud: what it shows, where its camera is, what the hand does. How it is drawn is
 * the painter's business: WebGL in cloud.ts, a plain canvas in flat.ts.
 */
import { axisStrokes, createAxisLabels, tickStep } from "./axes";
import { type Bounds, boundsOf, toUnit, UNIT } from "./bounds";
import { mix, rgb } from "./colours";
import { cloudDots, type Dots, NO_DOTS, pathDots } from "./dots";
import { listen } from "./gestures";
import { listenKeys } from "./keys";
import { encircle, styleMarkers } from "./markers";
import {
  between,
  bounded,
  facing,
  projected,
  rounded,
  START,
  type Vector,
  type Viewpoint,
  viewpoint,
} from "./orbit";
import { createStage, type Label, type Stage, toPng } from "./stage";
import type { Stroke } from "./strokes";
import type { Camera, Cloud, CloudEvents, CloudView, Path, Surface, Theme } from "./types";

export interface CloudOptions {
  theme: Theme;
  reducedMotion: boolean;
  /** What a screen reader calls the view. */
  label?: string;
}

export interface CloudPainter {
  readonly orthographic: boolean;
  setPoints(dots: Dots): void;
  setPath(dots: Dots, strokes: Stroke[]): void;
  setAxes(strokes: Stroke[]): void;
  setSurface(surface: Surface | null, bounds: Bounds, gridStep: number): void;
  setTheme(theme: Theme): void;
  /** `depth` (n) is the distance of each point. */
  draw(view: Viewpoint, depth: Float32Array): void;
  dispose(): void;
}

const PICK_RADIUS = 14;
const EASE_MILLISECONDS = 200;
const DEGREES_PER_PIXEL = 0.4;

export function mountCloud(
  host: HTMLElement,
  events: Partial<CloudEvents>,
  options: CloudOptions,
  paint: (stage: Stage) => CloudPainter,
  start: Camera = START,
): CloudView {
  const stage = createStage(host, options.label ?? "Points of a form in three dimensions", draw);
  const axes = createAxisLabels(stage);
  const markers = { hover: stage.label(), current: stage.label(), frame: stage.label() };
  let painter: CloudPainter;
  try {
    painter = paint(stage);
  } catch (error) {
    stage.dispose();
    throw error;
  }

  let theme = options.theme;
  let cloud: Cloud | null = null;
  let surface: Surface | null = null;
  let path: Path | null = null;
  let names: [string, string, string] = ["", "", ""];
  let bounds = UNIT;
  let dots = NO_DOTS;
  let current = -1;
  let hovered = -1;
  let camera = start;
  let ease: { from: Camera; to: Camera; since: number } | null = null;
  let view: Viewpoint = viewpoint(camera, 1, 1);
  let places: Float32Array = new Float32Array();
  let depth: Float32Array = new Float32Array();
  let seen: unknown[] = [];

  function draw(): boolean {
    const now = performance.now();
    const flying = flight.advance(now);
    if (ease !== null) {
      const t = Math.min(1, (now - ease.since) / EASE_MILLISECONDS);
      camera = between(ease.from, ease.to, t);
      if (t === 1) ease = null;
      events.moved?.(rounded(camera));
    }
    const { width, height } = stage;
    // A level that moves leaves the points where they are.
    const inView = [camera, dots, width, height];
    if (inView.some((part, i) => part !== seen[i])) {
      seen = inView;
      view = viewpoint(camera, width, height, painter.orthographic);
      ({ places, depth } = projected(view, width, height, dots.places));
    }
    painter.draw(view, depth);
    axes.place(view, width, height);
    ring(markers.current, current, 6);
    ring(markers.hover, hovered, 3);
    return flying || ease !== null;
  }

  function ring(label: Label, point: number, room: number) {
    const [x, y] = [places[2 * point], places[2 * point + 1]];
    if (point < 0 || !Number.isFinite(x)) return label.hide();
    const away = painter.orthographic ? camera[2] : camera[2] + depth[point];
    const radius = Math.max(1.5, (Math.abs(dots.radii[point]) * view.focal) / away);
    encircle(label, x, y, radius + room);
  }

  function setAll() {
    axes.set(bounds, names, theme);
    painter.setAxes(axisStrokes(bounds, theme));
    dots = cloud === null ? NO_DOTS : cloudDots(cloud, bounds, theme, path !== null);
    painter.setPoints(dots);
    setSurface();
    setPath();
    stage.dirty();
  }

  function setSurface() {
    painter.setSurface(surface, bounds, tickStep(bounds));
  }

  function setPath() {
    if (path === null) return painter.setPath(NO_DOTS, []);
    const shown = pathDots(path, bounds, theme);
    const colour = mix(rgb(theme.background), rgb(theme.foreground), 0.8);
    const at = (i: number) => [...shown.places.subarray(3 * i, 3 * i + 3)] as Vector;
    const strokes = Array.from({ length: Math.max(0, shown.radii.length - 1) }, (_, i) => ({
      from: at(i),
      to: at(i + 1),
      colour,
      alpha: 1,
      width: 2,
    }));
    painter.setPath(shown, strokes);
  }

  function setTheme(next: Theme) {
    theme = next;
    painter.setTheme(theme);
    stage.canvas.style.background = theme.background;
    styleMarkers(markers, theme);
    setAll();
  }

  /** By the reader's hand. */
  function move(next: Camera) {
    ease = null;
    camera = bounded(next);
    hover(-1);
    stage.dirty();
    events.moved?.(rounded(camera));
  }

  function hover(point: number, x = 0, y = 0) {
    if (point === hovered && point < 0) return;
    hovered = point;
    ring(markers.hover, point, 3);
    stage.canvas.style.cursor = point < 0 ? "grab" : "pointer";
    events.hover?.(point, x, y);
  }

  function pick(x: number, y: number): number {
    stage.flush();
    let best = -1;
    let least = PICK_RADIUS * PICK_RADIUS;
    for (let i = 0; i < depth.length; i++) {
      const [dx, dy] = [places[2 * i] - x, places[2 * i + 1] - y];
      const apart = dx * dx + dy * dy;
      // Under the pointer itself the point in front counts, not the better aimed at.
      const away = painter.orthographic ? camera[2] : camera[2] + depth[i];
      const radius = (Math.abs(dots.radii[i]) * view.focal) / away;
      const rank = apart < radius * radius ? 1e-3 * (depth[i] - 10) : apart;
      if (rank < least) [best, least] = [i, rank];
    }
    return best;
  }

  const stopGestures = listen(stage.canvas, markers.frame.element, {
    drag: (dx, dy) =>
      move([camera[0] - DEGREES_PER_PIXEL * dx, camera[1] + DEGREES_PER_PIXEL * dy, camera[2]]),
    zoom: (factor) => move([camera[0], camera[1], camera[2] / factor]),
    click(x, y) {
      const point = pick(x, y);
      if (point >= 0) events.choose?.(point);
    },
    doubleClick() {},
    hover: (x, y) => hover(pick(x, y), x, y),
    leave: () => hover(-1),
    rectangle(left, top, right, bottom) {
      const inside: number[] = [];
      for (let i = 0; i < depth.length; i++) {
        const [x, y] = [places[2 * i], places[2 * i + 1]];
        if (x >= left && x <= right && y >= top && y <= bottom) inside.push(i);
      }
      events.brush?.(inside);
    },
    held(down) {
      stage.canvas.style.cursor = down ? "grabbing" : "grab";
    },
  });
  const flight = listenKeys(
    stage.canvas,
    options.reducedMotion,
    (azimuth, elevation, factor) =>
      move([camera[0] + azimuth, camera[1] + elevation, camera[2] / factor]),
    stage.dirty,
  );
  stage.canvas.style.cursor = "grab";
  setTheme(theme);

  return {
    setCloud(next) {
      cloud = next;
      bounds = next === null ? UNIT : boundsOf(next.positions);
      hover(-1);
      setAll();
    },
    setSurface(next) {
      surface = next;
      setSurface();
      stage.dirty();
    },
    setPath(next) {
      const changes = (path === null) !== (next === null);
      path = next;
      if (changes) setAll();
      else setPath();
      stage.dirty();
    },
    setAxisLabels(next) {
      names = next;
      axes.set(bounds, names, theme);
      stage.dirty();
    },
    setTheme,
    setCurrent(point) {
      current = point;
      ring(markers.current, point, 6);
    },
    face(axis) {
      const to = facing(axis, camera[2]);
      if (options.reducedMotion) move(to);
      else ease = { from: camera, to, since: performance.now() };
      stage.dirty();
    },
    camera: () => rounded(ease?.to ?? camera),
    setCamera(next) {
      ease = null;
      camera = bounded(next);
      stage.dirty();
    },
    project(positions) {
      stage.flush();
      return projected(view, stage.width, stage.height, toUnit(positions, bounds)).places;
    },
    pick,
    resize: stage.resize,
    image() {
      stage.dirty();
      stage.flush();
      return toPng(stage, axes.paint);
    },
    dispose() {
      stopGestures();
      flight.dispose();
      painter.dispose();
      stage.dispose();
    },
  };
}
