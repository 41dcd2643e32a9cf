/**
 * The level set of a quadratic function, exact at every pixel: each fragment of a box solves the
 * quadratic equation of its ray. There is no mesh, so moving the level costs one number.
 *
 * The two roots of a ray are drawn one after the other, the farther first, over points that are
 * already there with their depth. So every pixel is composed in the right order: what lies behind
 * both sheets is seen through both, what lies between through one.
 */
import { BOX_CORNER, type Batch, createBatch } from "./batch";
import type { Bounds } from "./bounds";
import { mix, rgb } from "./colours";
import type { Device } from "./device";
import { FRAME_UNIFORMS } from "./frame";
import type { Uniforms } from "./program";
import { equation } from "./quadric";
import type { Surface, Theme } from "./types";

const VERTEX = /* glsl */ `
  precision highp float;
  ${FRAME_UNIFORMS}
  uniform vec3 halfSize;
  out vec3 wall;
  ${BOX_CORNER}
  void main() {
    wall = boxCorner() * halfSize;
    gl_Position = matrix * vec4(wall, 1.0);
  }
`;

const FRAGMENT = /* glsl */ `
  precision highp float;
  ${FRAME_UNIFORMS}
  uniform vec3 halfSize;
  uniform mat3 quadratic;
  uniform vec3 linear;
  uniform float constant;
  uniform bool farther;
  uniform float opacity;
  uniform vec3 above;
  uniform vec3 below;
  uniform vec3 ink;
  uniform float gridInk;
  uniform vec3 gridOrigin;
  uniform float gridStep;
  in vec3 wall;
  out vec4 colour;

  void main() {
    vec3 ray = normalize(wall - eye);
    vec3 slope = 1.0 / (ray + vec3(equal(ray, vec3(0.0))) * 1e-20);
    vec3 first = (-halfSize - eye) * slope;
    vec3 second = (halfSize - eye) * slope;
    vec3 enter = min(first, second);
    vec3 leave = max(first, second);
    float near = max(max(enter.x, enter.y), max(enter.z, 0.01));
    float far = min(leave.x, min(leave.y, leave.z));
    // From the middle of the ray's way through the box: small numbers lose fewer digits.
    float middle = 0.5 * (near + far);
    float reach = 0.5 * (far - near) * 1.00001;
    vec3 origin = eye + middle * ray;

    vec3 bent = quadratic * ray;
    float q2 = dot(ray, bent);
    float q1 = 2.0 * dot(origin, bent) + dot(linear, ray);
    float q0 = dot(origin, quadratic * origin + linear) + constant;
    float discriminant = q1 * q1 - 4.0 * q2 * q0;
    float edge = clamp(discriminant / max(fwidth(discriminant), 1e-12) + 0.5, 0.0, 1.0);
    // Of the two ways to write a root, the one that does not subtract near equals.
    float q = -0.5 * (q1 + (q1 < 0.0 ? -1.0 : 1.0) * sqrt(max(discriminant, 0.0)));
    // Along a straight line of the surface's asymptotes q2 vanishes and one root moves to infinity.
    float root1 = abs(q2) > 1e-9 * abs(q) ? q / q2 : 1e9;
    float root2 = abs(q) > 1e-12 ? q0 / q : root1;
    float low = min(root1, root2);
    float high = max(root1, root2);
    bool lowInside = abs(low) <= reach;
    bool highInside = abs(high) <= reach;
    if (edge <= 0.0 || far <= near || !(lowInside || highInside)) discard;
    if (farther && !(lowInside && highInside)) discard;
    float root = farther || !lowInside ? high : low;

    float t = middle + root;
    vec3 p = eye + t * ray;
    vec3 gradient = 2.0 * (quadratic * p) + linear;
    vec3 normal = gradient / max(length(gradient), 1e-9);
    float facing = dot(normal, ray);
    float tilt = abs(facing);

    // It ends softly, in a box with round corners, because the box is no part of it.
    vec3 margin = p / halfSize;
    margin *= margin;
    float inside = 1.0 - smoothstep(0.62, 1.0, dot(margin, margin));

    float pixel = t / focal;
    float slant = facing < 0.0 ? min(facing, -0.05) : max(facing, 0.05);
    float lines = 0.0;
    for (int i = 0; i < (gridInk > 0.0 ? 3 : 0); i++) {
      vec3 axis = vec3(i == 0, i == 1, i == 2);
      // How fast this coordinate changes from pixel to pixel along the surface.
      float change = pixel * length(axis - normal * (ray[i] / slant));
      float place = (p[i] - gridOrigin[i]) / gridStep;
      float apart = abs(fract(place - 0.5) - 0.5) * gridStep / change;
      float line = 1.0 - smoothstep(0.35 * density, 0.35 * density + 1.0, apart);
      float crowded = smoothstep(0.08, 0.3, change * density / gridStep);
      lines = max(lines, line * (1.0 - crowded) * (1.0 - normal[i] * normal[i]));
    }

    vec3 outward = facing < 0.0 ? normal : -normal;
    vec3 side = facing < 0.0 ? above : below;
    float light = 0.82 + 0.18 * clamp(dot(outward, normalize(back + vec3(0.0, 0.0, 0.9))), -1.0, 1.0);
    float rim = pow(1.0 - tilt, 3.0);
    float cover = opacity * (0.55 + 1.5 * rim);
    vec3 body = side * light;
    float inked = gridInk * lines;
    float alpha = 1.0 - (1.0 - cover) * (1.0 - inked);
    colour = vec4(mix(body, ink, inked / max(alpha, 1e-4)), min(alpha, 0.92) * inside * edge);

    vec4 clip = matrix * vec4(p, 1.0);
    gl_FragDepth = 0.5 + 0.5 * clip.z / clip.w;
  }
`;

const SHEETS = [
  { offset: -1, farther: true },
  { offset: 1, farther: true },
  { offset: 0, farther: true },
  { offset: 0, farther: false },
  { offset: -1, farther: false },
  { offset: 1, farther: false },
];
const OPACITY = 0.3;
const BAND_OPACITY = 0.09;
const GRID_INK = 0.32;

export interface SurfaceLayer {
  set(surface: Surface | null, bounds: Bounds, gridStep: number): void;
  setTheme(theme: Theme): void;
  draw(device: Device, frame: Uniforms): void;
  dispose(device: Device): void;
}

export function createSurface(): SurfaceLayer {
  const box: Batch = createBatch({
    shape: "box",
    vertex: VERTEX,
    fragment: FRAGMENT,
    depthTest: true,
    depthWrite: false,
  });
  let place: Uniforms = {};
  let colours: Uniforms = {};
  let sheets: Uniforms[] = [];
  return {
    set(surface, bounds, gridStep) {
      const { centre, half, scale } = bounds;
      place = {
        halfSize: half.map((h) => h / scale),
        gridOrigin: centre.map((m) => -m / scale),
        gridStep: gridStep / scale,
      };
      sheets = [];
      for (const { offset, farther } of surface === null ? [] : SHEETS) {
        const { slice, level, band } = surface!;
        if (offset !== 0 && !(band > 0)) continue;
        const terms = equation(slice, level + offset * band, bounds);
        if (terms === null) continue;
        const { a: quadratic, b: linear, c: constant } = terms;
        const strength = offset === 0
          ? { opacity: OPACITY, gridInk: GRID_INK }
          : { opacity: BAND_OPACITY, gridInk: 0 };
        sheets.push({ quadratic, linear, constant, farther, ...strength });
      }
    },
    setTheme(theme) {
      const background = rgb(theme.background);
      const foreground = rgb(theme.foreground);
      const base = mix(background, foreground, theme.dark ? 0.62 : 0.5);
      colours = {
        above: mix(base, rgb(theme.positive), 0.35),
        below: mix(base, rgb(theme.negative), 0.35),
        ink: mix(background, foreground, 0.85),
      };
    },
    draw(device, frame) {
      for (const sheet of sheets) box.draw(device, { ...frame, ...place, ...colours, ...sheet });
    },
    dispose: box.dispose,
  };
}
