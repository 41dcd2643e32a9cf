/**
 * The map of all forms, drawn with WebGL as points: a software renderer draws them several times
 * faster than squares of four corners.
 */
import { type Column, createBatch } from "./batch";
import { rgb } from "./colours";
import { LOST, lease } from "./device";
import { type MapOptions, type MapPainter, type Marks, mountMap } from "./mapview";
import type { Uniforms } from "./program";
import type { Stage } from "./stage";
import type { MapEvents, MapView } from "./types";

const VERTEX = /* glsl */ `
  precision highp float;
  uniform vec2 middle;
  uniform vec2 rate;
  uniform float growth;
  uniform float density;
  uniform float largestPoint;
  in vec2 place;
  in float size;
  in vec4 paint;
  out vec4 shade;
  out float radius;
  out float rim;
  void main() {
    // What the filters leave out stays, small and faint, so that the map keeps its form.
    bool shown = paint.a > 0.5;
    radius = max(0.75, size * growth * (shown ? 1.0 : 0.6)) * density;
    // A thin rim in the colour of the ground keeps neighbours apart.
    rim = shown && radius > 1.5 * density ? 0.8 * density : 0.0;
    radius = min(radius, 0.5 * largestPoint - rim - 1.0);
    shade = vec4(paint.rgb, shown ? 1.0 : 0.0);
    gl_Position = vec4((place - middle) * rate, 0.0, 1.0);
    gl_PointSize = 2.0 * (radius + rim + 1.0);
  }
`;

const FRAGMENT = /* glsl */ `
  precision highp float;
  uniform vec3 ground;
  uniform vec3 faint;
  in vec4 shade;
  in float radius;
  in float rim;
  out vec4 colour;
  void main() {
    float d = length(2.0 * gl_PointCoord - 1.0) * (radius + rim + 1.0);
    float disc = clamp(radius - d + 0.5, 0.0, 1.0);
    float cover = clamp(radius + rim - d + 0.5, 0.0, 1.0);
    if (cover < 0.02) discard;
    bool shown = shade.a > 0.5;
    vec3 body = shown ? mix(ground, shade.rgb, disc / cover) : faint;
    colour = vec4(body, cover * (shown ? mix(0.7, 0.95, disc) : 0.3));
  }
`;

/** Draws into `host`, which has a size and a position of its own. Throws NoWebGL. */
export function createMap(
  host: HTMLElement,
  events: Partial<MapEvents>,
  options: MapOptions,
): MapView {
  return mountMap(host, events, options, glPainter);
}

function glPainter(stage: Stage): MapPainter {
  const loan = lease((lost) => {
    stage.say(lost ? LOST : null);
    stage.dirty();
  });
  const batch = createBatch({
    shape: "point",
    vertex: VERTEX,
    fragment: FRAGMENT,
    depthTest: false,
    depthWrite: false,
  });
  let colours: Uniforms = {};
  let ground = rgb("#ffffff");
  return {
    setMarks(marks) {
      batch.set(arranged(marks), marks.x.length);
    },
    setTheme(theme) {
      ground = rgb(theme.background);
      colours = { ground, faint: rgb(theme.neutral) };
    },
    draw(plane) {
      const { canvas, context, width, height, pixelRatio } = stage;
      const uniforms = {
        ...colours,
        middle: [plane.x, plane.y],
        rate: [(2 * plane.scale) / width, (2 * plane.scale) / height],
        largestPoint: loan.device.largestPoint,
        growth: plane.growth,
        density: pixelRatio,
      };
      loan.draw(context, canvas.width, canvas.height, ground, (device) => {
        batch.draw(device, uniforms);
      });
    },
    dispose() {
      batch.dispose(loan.device);
      loan.release();
    },
  };
}

/** The columns in the order in which marks are drawn. */
function arranged({ x, y, size, paint, shown, order }: Marks): Record<string, Column> {
  const n = order.length;
  const place = new Float32Array(2 * n);
  const radius = new Float32Array(n);
  const stain = new Uint8Array(4 * n);
  for (let k = 0; k < n; k++) {
    const i = order[k];
    place[2 * k] = x[i];
    place[2 * k + 1] = y[i];
    radius[k] = size[i];
    stain[4 * k] = paint[3 * i];
    stain[4 * k + 1] = paint[3 * i + 1];
    stain[4 * k + 2] = paint[3 * i + 2];
    stain[4 * k + 3] = shown[i] ? 255 : 0;
  }
  return {
    place: { data: place, size: 2 },
    size: { data: radius, size: 1 },
    paint: { data: stain, size: 4 },
  };
}
