/** Many marks of one kind, drawn in one call: their columns on the graphics card, and how to draw. */
import type { Device } from "./device";
import type { Uniforms } from "./program";

/** A number of each mark, or up to four; bytes reach the shader as 0 … 1. */
export interface Column {
  data: Float32Array | Uint8Array;
  /** Numbers of one mark. */
  size: 1 | 2 | 3 | 4;
}

/** `square` has four corners for every mark and `box` one box; both ask gl_VertexID which corner. */
export type Shape = "square" | "point" | "box";

export interface Settings {
  shape: Shape;
  vertex: string;
  fragment: string;
  /** Marks behind what is there already are left out. */
  depthTest: boolean;
  depthWrite: boolean;
}

export interface Batch {
  /** Replaces all columns, for any number of marks. */
  set(columns: Record<string, Column>, count: number): void;
  draw(device: Device, uniforms: Uniforms): void;
  dispose(device: Device): void;
}

const BOX_CORNERS = 36;

export function createBatch(settings: Settings): Batch {
  let columns: Record<string, Column> = {};
  let count = settings.shape === "box" ? 1 : 0;
  let stale = true;
  let made: { generation: number; array: WebGLVertexArrayObject; buffers: WebGLBuffer[] } | null =
    null;

  function upload(device: Device) {
    const { gl } = device;
    release(device);
    const array = gl.createVertexArray();
    const program = device.program(settings.vertex, settings.fragment);
    gl.bindVertexArray(array);
    const buffers = Object.entries(columns).map(([name, { data, size }]) => {
      const buffer = gl.createBuffer();
      const at = program.attribute(name);
      const bytes = data instanceof Uint8Array;
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, bytes ? gl.UNSIGNED_BYTE : gl.FLOAT, bytes, 0, 0);
      gl.vertexAttribDivisor(at, settings.shape === "square" ? 1 : 0);
      return buffer;
    });
    made = { generation: device.generation, array, buffers };
    stale = false;
  }

  function release({ gl, generation }: Device) {
    // What belonged to a context that was lost went with it.
    if (made !== null && made.generation === generation) {
      gl.deleteVertexArray(made.array);
      for (const buffer of made.buffers) gl.deleteBuffer(buffer);
    }
    made = null;
  }

  return {
    set(next, n) {
      [columns, count, stale] = [next, n, true];
    },
    draw(device, uniforms) {
      if (count === 0) return;
      const { gl, generation } = device;
      if (stale || made?.generation !== generation) upload(device);
      const program = device.program(settings.vertex, settings.fragment);
      gl.useProgram(program.handle);
      program.set(uniforms);
      if (settings.depthTest) gl.enable(gl.DEPTH_TEST);
      else gl.disable(gl.DEPTH_TEST);
      gl.depthMask(settings.depthWrite);
      gl.bindVertexArray(made!.array);
      if (settings.shape === "square") gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, count);
      else if (settings.shape === "point") gl.drawArrays(gl.POINTS, 0, count);
      else {
        // Its far walls only, so that it is there when the eye is inside.
        gl.enable(gl.CULL_FACE);
        gl.cullFace(gl.FRONT);
        gl.drawArrays(gl.TRIANGLES, 0, BOX_CORNERS);
        gl.disable(gl.CULL_FACE);
      }
      gl.bindVertexArray(null);
    },
    dispose: release,
  };
}

/** For vertex shaders of squares: (±1, ±1). */
export const CORNER = /* glsl */ `
  vec2 squareCorner() {
    return vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - 1.0;
  }
`;

/** For vertex shaders of a box: (±1, ±1, ±1), two triangles for each of its six walls. */
export const BOX_CORNER = /* glsl */ `
  vec3 boxCorner() {
    int wall = gl_VertexID / 6;
    int k = int[6](0, 1, 2, 0, 2, 3)[gl_VertexID % 6];
    vec2 c = vec2(k == 1 || k == 2, k >= 2) * 2.0 - 1.0;
    float side = wall < 3 ? 1.0 : -1.0;
    if (side < 0.0) c = c.yx; // so that all walls turn the same way seen from outside
    return wall % 3 == 0 ? vec3(side, c) : wall % 3 == 1 ? vec3(c.y, side, c.x) : vec3(c, side);
  }
`;
