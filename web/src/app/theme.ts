/** Light, dark or as the system has it: the reader's choice, and the colours the scenes draw with. */
import { css, ends } from "../maths/colour";
import type { Theme } from "../scene/types";

export const APPEARANCES = ["auto", "light", "dark"] as const;
export type Appearance = (typeof APPEARANCES)[number];

const KEY = "quadric-atlas-appearance";
const PAPER = ["background", "foreground", "accent"] as const;

/** The reader's last choice. A page opened from disk may have no storage: then it is the system's. */
export function storedAppearance(): Appearance {
  try {
    const stored = localStorage.getItem(KEY);
    return APPEARANCES.find((each) => each === stored) ?? "auto";
  } catch {
    return "auto";
  }
}

export function storeAppearance(appearance: Appearance) {
  try {
    localStorage.setItem(KEY, appearance);
  } catch {
    // The choice then holds until the page is closed.
  }
}

/**
 * Gives the style sheet below `root` the colours of numbers, and returns them with the sheet's own,
 * in a form that any canvas reads.
 */
export function applyTheme(root: HTMLElement, dark: boolean): Theme {
  const { positive, neutral, negative } = ends(dark ? "dark" : "light");
  const values = { positive: css(positive), neutral: css(neutral), negative: css(negative) };
  for (const [name, colour] of Object.entries(values)) root.style.setProperty(`--${name}`, colour);
  // A custom property of light-dark() is only resolved where it is used: so it is used.
  const probe = root.ownerDocument.createElement("span");
  probe.hidden = true;
  root.append(probe);
  const resolved = (name: string) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const [background, foreground, accent] = PAPER.map(resolved);
  probe.remove();
  return { dark, background, foreground, accent, ...values };
}

/** Whether a media query holds, now and whenever that changes; returns how to stop. */
export function watch(query: string, tell: (matches: boolean) => void): () => void {
  const media = matchMedia(query);
  const changed = () => tell(media.matches);
  changed();
  media.addEventListener("change", changed);
  return () => media.removeEventListener("change", changed);
}
