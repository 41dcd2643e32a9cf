/** A pair of shaders, ready to draw with. */

export type Uniforms = Record<string, number | boolean | ArrayLike<number>>;

export interface Program {
  readonly handle: WebGLProgram;
  attribute(name: string): number;
  /** Sets those that the shaders use; a name that is missing is a mistake and throws. */
  set(uniforms: Uniforms): void;
}

export function createProgram(
  gl: WebGL2RenderingContext,
  vertex: string,
  fragment: string,
): Program {
  const handle = gl.createProgram();
  const shaders = [
    compile(gl, gl.VERTEX_SHADER, vertex),
    compile(gl, gl.FRAGMENT_SHADER, fragment),
  ];
  for (const shader of shaders) gl.attachShader(handle, shader);
  gl.linkProgram(handle);
  // Asked only where it failed: every question waits for the compiler.
  if (!gl.getProgramParameter(handle, gl.LINK_STATUS) && !gl.isContextLost()) {
    const logs = [gl.getProgramInfoLog(handle), ...shaders.map((s) => gl.getShaderInfoLog(s))];
    throw new Error(`the shaders do not work here: ${logs.filter(Boolean).join("; ")}`);
  }
  for (const shader of shaders) gl.deleteShader(shader);
  const setters = settersOf(gl, handle);
  const attributes = new Map<string, number>();
  return {
    handle,
    attribute(name) {
      if (!attributes.has(name)) attributes.set(name, gl.getAttribLocation(handle, name));
      return attributes.get(name)!;
    },
    set(uniforms) {
      for (const [name, setter] of setters) {
        if (!(name in uniforms)) throw new Error(`the uniform ${name} has no value`);
        setter(uniforms[name]);
      }
    },
  };
}

function compile(gl: WebGL2RenderingContext, type: number, source: string): WebGLShader {
  const shader = gl.createShader(type)!;
  gl.shaderSource(shader, `#version 300 es\n${source}`);
  gl.compileShader(shader);
  return shader;
}

type Setter = (value: number | boolean | ArrayLike<number>) => void;

function settersOf(gl: WebGL2RenderingContext, program: WebGLProgram): Map<string, Setter> {
  const setters = new Map<string, Setter>();
  const count: number = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS) ?? 0;
  for (let i = 0; i < count; i++) {
    const info = gl.getActiveUniform(program, i);
    if (info === null) continue;
    const at = gl.getUniformLocation(program, info.name);
    setters.set(info.name, (value) => {
      const list = value as Float32Array;
      if (info.type === gl.FLOAT) gl.uniform1f(at, Number(value));
      else if (info.type === gl.BOOL) gl.uniform1i(at, Number(value));
      else if (info.type === gl.FLOAT_VEC2) gl.uniform2fv(at, list);
      else if (info.type === gl.FLOAT_VEC3) gl.uniform3fv(at, list);
      else if (info.type === gl.FLOAT_MAT3) gl.uniformMatrix3fv(at, false, list);
      else if (info.type === gl.FLOAT_MAT4) gl.uniformMatrix4fv(at, false, list);
      else throw new Error(`the uniform ${info.name} has a type that is not provided for`);
    });
  }
  return setters;
}
