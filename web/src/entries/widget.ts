/** The page of an atlas folder: its files lie beside it. */
import { mount } from "svelte";
import App from "../app/App.svelte";

mount(App, {
  target: document.getElementById("atlas")!,
  props: { source: { read: async (path: string) => (await fetch(path)).arrayBuffer() } },
});
