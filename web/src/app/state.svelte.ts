/** What is open and how it is looked at: the one object that panels read and write. */
import type { Atlas, Labels } from "../data/types";
import type { Theme } from "../scene/types";

export interface Capabilities {
  /** A sentence can be typed and its tokens placed on a manifold. */
  encode: boolean;
  /** Latents can be composed and their points looked up. */
  compose: boolean;
  /** The language model can be steered. */
  steer: boolean;
}

export class State {
  atlas = $state.raw<Atlas | null>(null);
  labels = $state.raw<Labels | null>(null);
  /** Null where there is no server. */
  capabilities = $state.raw<Capabilities | null>(null);
  /** A message in place of the page. */
  failure = $state<string | null>(null);
  /** What went wrong when labels were read; the rest of the atlas works without them. */
  labelsFailure = $state<string | null>(null);
  theme = $state.raw<Theme | null>(null);
  reducedMotion = $state(false);
  /** Places of the list the reader is in, which j and k walk through: search, filter or all. */
  list = $state.raw<number[]>([]);
  /** Where keys are ours: the atlas itself in a notebook, null where the page is all ours. */
  within: Element | null = null;
  /** Said to screen readers. */
  announcement = $state("");
}
