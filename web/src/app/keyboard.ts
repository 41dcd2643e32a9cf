/** Single keys as commands. */
import type { State } from "./state.svelte";

/** A key that may be a command, or null: while typing, with modifiers, or when it is not for us. */
export function shortcut(event: KeyboardEvent, app: State): string | null {
  if (event.defaultPrevented || event.isComposing) return null;
  if (event.ctrlKey || event.altKey || event.metaKey) return null;
  const target = event.target instanceof Element ? event.target : null;
  if (target?.closest("input, select, textarea, dialog, [contenteditable]")) return null;
  // In a notebook the page around us has keys of its own, and so has another atlas.
  return app.within === null || app.within.contains(target) ? event.key : null;
}

/** What the keys do, for the help page. */
export const KEYS: { where: string; keys: { keys: string[]; does: string }[] }[] = [
  {
    where: "Everywhere",
    keys: [
      { keys: ["/"], does: "search" },
      { keys: ["j", "k"], does: "next and previous form of the current list" },
      { keys: ["m"], does: "the map" },
      { keys: ["t"], does: "the table beside the drawing" },
      { keys: ["0"], does: "the whole drawing again" },
      { keys: ["?"], does: "this page" },
      { keys: ["Esc"], does: "close what is open, clear the search" },
    ],
  },
  {
    where: "In a table",
    keys: [
      { keys: ["↑", "↓"], does: "the row above or below" },
      { keys: ["Home", "End"], does: "the first or last row" },
      { keys: ["Enter"], does: "open the form" },
    ],
  },
  {
    where: "On a form",
    keys: [
      { keys: ["[", "]"], does: "lower and raise the level of the surface" },
      { keys: ["x", "y", "z"], does: "look along an axis" },
    ],
  },
  {
    where: "With a mouse",
    keys: [
      { keys: ["Drag", "Wheel"], does: "move or turn the drawing, and zoom" },
      { keys: ["Shift"], does: "and drag: select what lies in a rectangle" },
    ],
  },
];
