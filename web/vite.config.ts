/**
 * Three builds of one source: the page of an atlas folder (default), one script for an HTML file
 * that opens from disk (--mode single), and a module for notebooks (--mode widget).
 */
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

const OUT = "../src/quadric/atlas/_web";

export default defineConfig(({ mode }) => {
  const library = mode === "single" || mode === "widget";
  return {
    plugins: [svelte({ compilerOptions: { css: "external" } })],
    base: "./",
    resolve: { conditions: ["browser"] },
    // A library build does not set this, and parts of Svelte are chosen by it.
    define: library ? { "process.env.NODE_ENV": JSON.stringify("production") } : {},
    build: {
      outDir: library ? `${OUT}/${mode}` : `${OUT}/page`,
      emptyOutDir: true,
      target: "es2022",
      // The first with light-dark(), which otherwise is written out and doubles the style sheet.
      cssTarget: ["chrome123", "firefox120", "safari17.5"],
      cssCodeSplit: false,
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      // The wheel passes on what is bundled, and with it the terms under which it may.
      license: { fileName: "licenses.md" },
      ...(library && {
        lib: {
          entry: `src/entries/${mode}.ts`,
          formats: [mode === "single" ? ("iife" as const) : ("es" as const)],
          name: "quadric",
          fileName: () => "atlas.js",
          cssFileName: "atlas",
        },
      }),
    },
    test: { environment: "node", include: ["tests/**/*.test.ts"] },
  };
});
