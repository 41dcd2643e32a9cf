/**
 * A notebook's cell. `atlas` is the same packed table as that of a page in one file; several cells
 * share nothing, and the notebook's address is not touched.
 */
import { unmount } from "svelte";
import { inflate } from "../data/packed";
import { AtlasError } from "../data/types";
import { showFailure } from "./failure";
import { PackedSource, start } from "./start";

/** What we need of the notebook's side. */
interface Model {
  get(name: "atlas"): DataView<ArrayBuffer> | ArrayBuffer | Uint8Array<ArrayBuffer> | null;
  on(event: "change:atlas", listener: () => void): void;
  off(event: "change:atlas", listener: () => void): void;
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const target = document.createElement("div");
  el.append(target);
  let shown: ReturnType<typeof start> | null = null;
  let asked = 0;

  const clear = () => {
    if (shown) void unmount(shown);
    shown = null;
    target.replaceChildren();
  };
  const show = async () => {
    const mine = ++asked;
    try {
      const bytes = await inflate(bytesOf(model.get("atlas")));
      // Another atlas may have come meanwhile, or the cell may be gone.
      if (mine !== asked) return;
      clear();
      shown = start(target, new PackedSource(bytes), true);
    } catch (error) {
      if (mine !== asked) return;
      clear();
      showFailure(target, error);
    }
  };
  model.on("change:atlas", show);
  void show();
  return () => {
    asked++;
    model.off("change:atlas", show);
    clear();
    target.remove();
  };
}

function bytesOf(sent: ReturnType<Model["get"]>): Uint8Array<ArrayBuffer> {
  if (!sent) throw new AtlasError("the notebook has sent no atlas: run its cell again");
  return sent instanceof ArrayBuffer
    ? new Uint8Array(sent)
    : new Uint8Array(sent.buffer, sent.byteOffset, sent.byteLength);
}

export default { render };
