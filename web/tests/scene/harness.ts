/**
 * A page with nothing but the drawing code on it, for tests that look at pixels:
 * `npx vite build --config tests/scene/harness.config.ts --outDir DIR` and serve DIR.
 */
import { createCloud } from "../../src/scene/cloud";
import { createFlatCloud, createFlatMap } from "../../src/scene/flat";
import { createMap } from "../../src/scene/map";

declare global {
  interface Window {
    scene: Record<string, unknown>;
  }
}

window.scene = { createCloud, createMap, createFlatCloud, createFlatMap };
