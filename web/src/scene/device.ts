/**
 * The one WebGL context of the page. Browsers keep about sixteen of them alive and silently drop
 * the oldest, so every view draws with this one and copies the result to a 2-D canvas of its own.
 */
import type { Rgb } from "./colours";
import { createProgram, type Program } from "./program";
import { NoWebGL } from "./types";

export interface Device {
  readonly gl: WebGL2RenderingContext;
  /** Counts contexts: what was made in an earlier one is gone. */
  readonly generation: number;
  /** The side of the largest point that can be drawn, in device pixels. */
  readonly largestPoint: number;
  program(vertex: string, fragment: string): Program;
}

export interface Lease {
  readonly device: Device;
  /** Runs `paint` on a cleared picture of `width` × `height` device pixels and copies it. */
  draw(
    target: CanvasRenderingContext2D,
    width: number,
    height: number,
    ground: Rgb,
    paint: (device: Device) => void,
  ): void;
  release(): void;
}

/** Said over a view while there is nothing to draw with. */
export const LOST = "The graphics card has dropped this picture; waiting for it to come back.";

type Listener = (lost: boolean) => void;

let shared: (Device & { generation: number }) | null = null;
const listeners = new Set<Listener>();

/** Borrows the context; `changed` hears when it goes and when it is back. Throws NoWebGL. */
export function lease(changed: Listener): Lease {
  const device = (shared ??= start());
  listeners.add(changed);
  return {
    device,
    draw: (target, width, height, ground, paint) =>
      draw(device, target, width, height, ground, paint),
    release() {
      // The context stays for the next view: it costs less than compiling shaders again.
      listeners.delete(changed);
    },
  };
}

function start(): Device & { generation: number } {
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: false });
  if (gl === null) throw new NoWebGL("this browser has no WebGL 2");
  const programs = new Map<string, Program>();
  const device = {
    gl,
    generation: 0,
    largestPoint: gl.getParameter(gl.ALIASED_POINT_SIZE_RANGE)?.[1] ?? 64,
    program(vertex: string, fragment: string) {
      const key = vertex + fragment;
      let program = programs.get(key);
      if (program === undefined) programs.set(key, (program = createProgram(gl, vertex, fragment)));
      return program;
    },
  };
  canvas.addEventListener("webglcontextlost", (event) => {
    event.preventDefault(); // otherwise the browser does not restore it
    programs.clear();
    device.generation++;
    for (const listener of listeners) listener(true);
  });
  canvas.addEventListener("webglcontextrestored", () => {
    for (const listener of listeners) listener(false);
  });
  return device;
}

function draw(
  device: Device,
  target: CanvasRenderingContext2D,
  width: number,
  height: number,
  ground: Rgb,
  paint: (device: Device) => void,
) {
  const { gl } = device;
  if (gl.isContextLost()) return;
  const canvas = gl.canvas as HTMLCanvasElement;
  // It only grows: views of different sizes would otherwise reallocate it on every turn.
  if (canvas.width < width) canvas.width = width;
  if (canvas.height < height) canvas.height = height;
  gl.viewport(0, 0, width, height);
  gl.scissor(0, 0, width, height);
  gl.enable(gl.SCISSOR_TEST);
  gl.depthMask(true);
  gl.clearColor(...ground, 1);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  gl.depthFunc(gl.LEQUAL);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
  paint(device);
  target.drawImage(canvas, 0, canvas.height - height, width, height, 0, 0, width, height);
}
