/** Builds harness.html alone; run from web/. */
import { defineConfig } from "vite";

export default defineConfig({
  root: "tests/scene",
  base: "./",
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    rolldownOptions: { input: "tests/scene/harness.html" },
  },
});
