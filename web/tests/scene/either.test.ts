import { expect, it } from "vitest";
import { either } from "../../src/scene/either";
import { NoWebGL } from "../../src/scene/types";

const flatly = (name: string) => `${name}, flat`;

it("draws with WebGL where there is some", () => {
  const draw = either((name: string) => name, flatly);
  expect(draw("map")).toEqual({ view: "map", flat: false });
});

it("draws flat without it, and hides no other mistake", () => {
  const failing = (error: Error) =>
    either((_: string): string => {
      throw error;
    }, flatly);
  expect(failing(new NoWebGL("none"))("map")).toEqual({ view: "map, flat", flat: true });
  expect(() => failing(new Error("a shader"))("map")).toThrow("a shader");
});
