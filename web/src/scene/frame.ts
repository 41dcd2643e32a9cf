/** Uniforms that all shaders of a cloud share: where the camera is and how large a pixel. */
import type { Viewpoint } from "./orbit";
import type { Uniforms } from "./program";

/** Of a picture of `width` × `height` device pixels, `density` of which are a CSS pixel. */
export function frameOf(
  view: Viewpoint,
  width: number,
  height: number,
  density: number,
): Uniforms {
  return {
    matrix: view.matrix,
    eye: view.eye,
    back: view.back,
    viewport: [width, height],
    focal: view.focal * density,
    density,
  };
}

export const FRAME_UNIFORMS = /* glsl */ `
  uniform mat4 matrix; // coordinates of the scene → clip space
  uniform vec3 eye;
  uniform vec3 back; // from the middle of the scene to the eye
  uniform vec2 viewport;
  uniform float focal; // device pixels of one unit of length at distance one
  uniform float density; // device pixels in one CSS pixel
`;
