/** Circles around marks, and the rectangle of a brush: elements above the canvas. */
import type { Label } from "./stage";
import type { Theme } from "./types";

/** What surrounds the point in hand, the current one, and a brush. */
export interface Markers {
  hover: Label;
  current: Label;
  frame: Label;
}

export function styleMarkers({ hover, current, frame }: Markers, theme: Theme) {
  for (const [label, width] of [
    [hover, 1.5],
    [current, 2],
  ] as const) {
    Object.assign(label.element.style, {
      boxSizing: "border-box",
      border: `${width}px solid ${theme.foreground}`,
      borderRadius: "50%",
      // So that it stands out from marks of its own colour.
      boxShadow: `0 0 0 1px ${theme.background}, inset 0 0 0 1px ${theme.background}`,
    });
  }
  Object.assign(frame.element.style, {
    boxSizing: "border-box",
    border: `1px solid ${theme.accent}`,
    background: `color-mix(in srgb, ${theme.accent} 12%, transparent)`,
  });
}

export function encircle(label: Label, x: number, y: number, radius: number) {
  const size = `${2 * radius}px`;
  Object.assign(label.element.style, { width: size, height: size });
  label.place(x, y);
}
