/** Straight lines of a width in pixels, with round ends; a line without length is a dot. */
import { type Batch, CORNER, createBatch } from "./batch";
import type { Rgb } from "./colours";
import { FRAME_UNIFORMS } from "./frame";
import type { Vector } from "./orbit";

export interface Stroke {
  from: Vector;
  to: Vector;
  colour: Rgb;
  alpha: number;
  /** In CSS pixels. */
  width: number;
  /** Drawn over strokes of a smaller number at the same place; 0 if absent. */
  rank?: number;
}

const VERTEX = /* glsl */ `
  precision highp float;
  ${FRAME_UNIFORMS}
  in vec4 start;
  in vec4 finish;
  in vec4 paint;
  out vec4 shade;
  out vec2 along;
  out vec2 size;
  ${CORNER}
  const float NEAR = 0.02;
  void main() {
    vec2 position = squareCorner();
    vec4 a = matrix * vec4(start.xyz, 1.0);
    vec4 b = matrix * vec4(finish.xyz, 1.0);
    if (a.w < NEAR && b.w < NEAR) { gl_Position = vec4(2.0, 2.0, 2.0, 1.0); return; }
    if (a.w < NEAR) a = mix(a, b, (NEAR - a.w) / (b.w - a.w));
    if (b.w < NEAR) b = mix(b, a, (NEAR - b.w) / (a.w - b.w));
    vec2 pa = a.xy / a.w * 0.5 * viewport;
    vec2 pb = b.xy / b.w * 0.5 * viewport;
    float len = length(pb - pa);
    vec2 direction = len > 1e-4 ? (pb - pa) / len : vec2(1.0, 0.0);
    float radius = 0.5 * start.w * density;
    float reach = radius + 1.0;
    bool end = position.x > 0.0;
    vec2 place = (end ? pb + direction * reach : pa - direction * reach)
      + vec2(-direction.y, direction.x) * position.y * reach;
    vec4 clip = end ? b : a;
    along = vec2(end ? len + reach : -reach, position.y * reach);
    size = vec2(len, radius);
    shade = paint;
    float forward = 3e-4 * finish.w * clip.w;
    gl_Position = vec4(place / (0.5 * viewport) * clip.w, clip.z - forward, clip.w);
  }
`;

const FRAGMENT = /* glsl */ `
  precision highp float;
  in vec4 shade;
  in vec2 along;
  in vec2 size;
  out vec4 colour;
  void main() {
    float distance = length(vec2(along.x - clamp(along.x, 0.0, size.x), along.y));
    float cover = clamp(size.y - distance + 0.5, 0.0, 1.0);
    if (cover <= 0.0) discard;
    colour = vec4(shade.rgb, shade.a * cover);
  }
`;

export interface StrokeLayer extends Pick<Batch, "draw" | "dispose"> {
  set(strokes: Stroke[]): void;
}

export function createStrokes(): StrokeLayer {
  const batch = createBatch({
    shape: "square",
    vertex: VERTEX,
    fragment: FRAGMENT,
    depthTest: true,
    depthWrite: true,
  });
  return {
    set(strokes) {
      const start = strokes.flatMap(({ from, width }) => [...from, width]);
      const finish = strokes.flatMap(({ to, rank }) => [...to, rank ?? 0]);
      const paint = strokes.flatMap(({ colour, alpha }) => [...colour, alpha]);
      batch.set(
        {
          start: { data: Float32Array.from(start), size: 4 },
          finish: { data: Float32Array.from(finish), size: 4 },
          paint: { data: Float32Array.from(paint), size: 4 },
        },
        strokes.length,
      );
    },
    draw: batch.draw,
    dispose: batch.dispose,
  };
}
