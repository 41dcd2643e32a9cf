/**
 * The points of a cloud: a disc where the value is positive, a ring where it is negative, so that
 * the sign does not hang on the colour alone. Their radius is a length of the scene. They are drawn
 * as GL points, which a software renderer draws several times faster than squares of four corners.
 */
import { createBatch } from "./batch";
import type { Rgb } from "./colours";
import type { Device } from "./device";
import { type Dots, NO_DOTS } from "./dots";
import { FRAME_UNIFORMS } from "./frame";
import { farthestFirst } from "./order";
import type { Uniforms } from "./program";

const SMALLEST_RADIUS = 1.5;

const VERTEX = /* glsl */ `
  precision highp float;
  ${FRAME_UNIFORMS}
  uniform float largestPoint;
  uniform float rimWidth;
  in vec4 place;
  in vec4 paint;
  out vec4 shade;
  out float radius;
  out float rim;
  out float hollow;
  void main() {
    vec4 clip = matrix * vec4(place.xyz, 1.0);
    float size = abs(place.w);
    rim = paint.a > 0.5 ? rimWidth * density : 0.0;
    radius = max(size * focal / clip.w, ${SMALLEST_RADIUS.toFixed(1)} * density);
    radius = min(radius, 0.5 * largestPoint - rim - 1.0);
    hollow = place.w < 0.0 && radius > 2.0 * density ? 0.56 : 0.0;
    shade = vec4(paint.rgb, 1.0);
    // Half of a disc that lies on the surface would be behind it: it comes forward by its radius.
    vec4 forward = matrix * vec4(place.xyz + back * size, 1.0);
    clip.z = clamp(forward.z / forward.w, -1.0, 1.0) * clip.w;
    gl_Position = clip;
    gl_PointSize = 2.0 * (radius + rim + 1.0);
  }
`;

const FRAGMENT = /* glsl */ `
  precision highp float;
  uniform vec3 halo;
  in vec4 shade;
  in float radius;
  in float rim;
  in float hollow;
  out vec4 colour;
  void main() {
    float d = length(2.0 * gl_PointCoord - 1.0) * (radius + rim + 1.0);
    float body = clamp(radius - d + 0.5, 0.0, 1.0);
    float cover = clamp(radius + rim - d + 0.5, 0.0, 1.0);
    if (hollow > 0.0) {
      body *= clamp(d - hollow * radius + 0.5, 0.0, 1.0);
      cover *= clamp(d - hollow * radius + rim + 0.5, 0.0, 1.0);
    }
    if (cover < 0.02) discard;
    colour = vec4(mix(halo, shade.rgb, body / cover), cover * mix(0.75, 1.0, body));
  }
`;

export interface Discs {
  set(dots: Dots): void;
  setHalo(colour: Rgb): void;
  /** With the depths of the points (n), so that edges blend with what lies behind. */
  draw(device: Device, frame: Uniforms, depth: Float32Array): void;
  dispose(device: Device): void;
}

/** Their rims are `rimWidth` CSS pixels wide. */
export function createDiscs(rimWidth: number): Discs {
  const batch = createBatch({
    shape: "point",
    vertex: VERTEX,
    fragment: FRAGMENT,
    depthTest: true,
    depthWrite: true,
  });
  let dots = NO_DOTS;
  let halo: Rgb = [1, 1, 1];
  let order = new Uint32Array();
  let sorted: Float32Array | null = null;

  /** The columns in the order in which to draw. */
  function arranged() {
    const { places, radii, paint, rimmed } = dots;
    const place = new Float32Array(4 * order.length);
    const stain = new Uint8Array(4 * order.length);
    for (let k = 0; k < order.length; k++) {
      const i = order[k];
      place[4 * k] = places[3 * i];
      place[4 * k + 1] = places[3 * i + 1];
      place[4 * k + 2] = places[3 * i + 2];
      place[4 * k + 3] = radii[i];
      stain[4 * k] = paint[3 * i];
      stain[4 * k + 1] = paint[3 * i + 1];
      stain[4 * k + 2] = paint[3 * i + 2];
      stain[4 * k + 3] = rimmed[i] ? 255 : 0;
    }
    return { place: { data: place, size: 4 }, paint: { data: stain, size: 4 } } as const;
  }

  return {
    set(next) {
      dots = next;
      sorted = null;
      order = Uint32Array.from(dots.radii, (_, i) => i);
    },
    setHalo(colour) {
      halo = colour;
    },
    draw(device, frame, depth) {
      if (sorted !== depth) {
        farthestFirst(depth, order);
        batch.set(arranged(), order.length);
        sorted = depth;
      }
      batch.draw(device, { ...frame, halo, rimWidth, largestPoint: device.largestPoint });
    },
    dispose: batch.dispose,
  };
}
