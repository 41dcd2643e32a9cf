/** The three axes: lines with a dot at every tick, and at their ends a name and a coordinate. */
import type { Bounds } from "./bounds";
import { css, mix, rgb } from "./colours";
import { projected, type Vector, type Viewpoint } from "./orbit";
import type { Label, Stage } from "./stage";
import { niceStep, ticks, tickText } from "./ticks";
import type { Stroke } from "./strokes";
import type { Theme } from "./types";

const TICKS = 10;
/** Names stand this far beyond the ends of the lines. */
const BEYOND = 1.07;
/** An axis that points at the reader has no room for its names. */
const SHORTEST_PIXELS = 36;
/** Names just outside the view are pulled in by this much. */
const EDGE = 10;

/** Between neighbouring ticks, in real units; the surface's grid has the same. */
export function tickStep(bounds: Bounds): number {
  return niceStep(2 * bounds.scale, TICKS);
}

/** Where the axes meet: the origin, or the place of the box that is nearest to it. */
function crossing({ centre, half, scale }: Bounds): Vector {
  return half.map((h, i) => Math.min(h, Math.max(-h, -centre[i])) / scale) as Vector;
}

export function axisStrokes(bounds: Bounds, theme: Theme): Stroke[] {
  const { centre, half, scale } = bounds;
  const origin = crossing(bounds);
  const step = tickStep(bounds);
  const background = rgb(theme.background);
  const foreground = rgb(theme.foreground);
  const line = mix(background, foreground, 0.6);
  const faint = mix(background, foreground, 0.3);
  const strokes: Stroke[] = [];
  for (let axis = 0; axis < 3; axis++) {
    const on = (v: number) => origin.map((o, i) => (i === axis ? v : o)) as Vector;
    const h = half[axis] / scale;
    strokes.push(
      { from: on(origin[axis]), to: on(-h), colour: faint, alpha: 1, width: 1 },
      { from: on(origin[axis]), to: on(h), colour: line, alpha: 1, width: 1.25 },
    );
    for (const tick of ticks(centre[axis] - half[axis], centre[axis] + half[axis], step)) {
      if (Math.abs(tick) < step / 2) continue;
      const at = on((tick - centre[axis]) / scale);
      const colour = tick > 0 ? line : faint;
      strokes.push({ from: at, to: at, colour, alpha: 1, width: 3.5, rank: 1 });
    }
  }
  if (bounds.holdsOrigin) {
    const at = { from: origin, to: origin, alpha: 1 };
    strokes.push({ ...at, colour: foreground, width: 7, rank: 2 });
    strokes.push({ ...at, colour: background, width: 3, rank: 3 });
  }
  return strokes;
}

export interface AxisLabels {
  set(bounds: Bounds, names: [string, string, string], theme: Theme): void;
  place(view: Viewpoint, width: number, height: number): void;
  /** The same, on a picture. */
  paint(context: CanvasRenderingContext2D): void;
}

interface End {
  label: Label;
  axis: number;
  positive: boolean;
  at: Vector;
  text: string;
  colour: string;
  /** The middle of its left side and its width, in CSS pixels. */
  x: number;
  y: number;
  width: number;
  shown: boolean;
}

const font = (end: End) => `${end.positive ? "600 12px" : "400 11px"} system-ui, sans-serif`;

export function createAxisLabels(stage: Stage): AxisLabels {
  let origin: Vector = [0, 0, 0];
  let ground = "";
  const ends: End[] = [0, 1, 2].flatMap((axis) =>
    [true, false].map((positive) => {
      const end: End = {
        label: stage.label(),
        axis,
        positive,
        at: [0, 0, 0],
        text: "",
        colour: "",
        x: 0,
        y: 0,
        width: 0,
        shown: false,
      };
      end.label.element.style.font = font(end);
      end.label.element.style.fontVariantNumeric = "tabular-nums";
      return end;
    }),
  );
  return {
    set(bounds, names, theme) {
      const { centre, half, scale } = bounds;
      const [background, foreground] = [rgb(theme.background), rgb(theme.foreground)];
      origin = crossing(bounds);
      ground = theme.background;
      for (const end of ends) {
        const h = (end.positive ? 1 : -1) * half[end.axis];
        const value = tickText(centre[end.axis] + h, tickStep(bounds) / 10);
        const name = end.positive ? names[end.axis] : "";
        end.at = origin.map((o, i) => (i === end.axis ? (h / scale) * BEYOND : o)) as Vector;
        end.text = name ? `${name}  ${value}` : value;
        end.colour = css(mix(background, foreground, end.positive ? 1 : 0.65));
        end.label.element.textContent = end.text;
        stage.context.font = font(end);
        end.width = stage.context.measureText(end.text).width;
        end.label.element.style.whiteSpace = "pre";
        end.label.element.style.color = end.colour;
        // Readable over points as well.
        const halo = `0 0 2px ${theme.background}`;
        end.label.element.style.textShadow = `${halo}, ${halo}, ${halo}, ${halo}`;
      }
    },
    place(view, width, height) {
      const points = [...origin, ...ends.flatMap((end) => end.at)];
      const { places } = projected(view, width, height, points);
      const [ox, oy] = places;
      ends.forEach((end, k) => {
        end.x = places[2 * k + 2];
        end.y = places[2 * k + 3];
        const [dx, dy] = [end.x - ox, end.y - oy];
        const length = Math.hypot(dx, dy);
        end.y = Math.max(EDGE, Math.min(height - EDGE, end.y));
        // Text grows away from the axis: to the right of an end on the right.
        const anchor = 0.5 - 0.5 * Math.max(-1, Math.min(1, (1.4 * dx) / length));
        const lost = end.x < 0 || end.x > width || Math.abs(places[2 * k + 3] - end.y) > 3 * EDGE;
        end.shown = length > SHORTEST_PIXELS && !lost;
        const left = Math.min(width - EDGE - end.width, end.x - anchor * end.width);
        end.x = Math.max(EDGE, left);
        if (end.shown) end.label.place(end.x, end.y, 0);
        else end.label.hide();
      });
    },
    paint(context) {
      context.textBaseline = "middle";
      for (const end of ends) {
        if (!end.shown) continue;
        context.font = font(end);
        context.strokeStyle = ground;
        context.lineWidth = 3;
        context.lineJoin = "round";
        context.strokeText(end.text, end.x, end.y);
        context.fillStyle = end.colour;
        context.fillText(end.text, end.x, end.y);
      }
    },
  };
}
