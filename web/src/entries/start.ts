/** What all entries do: put the application into an element. */
import { mount } from "svelte";
import App from "../app/App.svelte";
import type { Source } from "../data/types";

export { FolderSource, PackedSource } from "../data/sources";

/** Shows an atlas in place of what the element holds; `embedded` where the page is not ours. */
export function start(target: HTMLElement, source: Source, embedded = false) {
  target.replaceChildren();
  return mount(App, { target, props: { source, embedded } });
}
