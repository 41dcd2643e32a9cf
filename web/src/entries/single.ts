/**
 * One HTML file that opens from disk: the atlas is in the page itself, as one Arrow table of paths
 * and contents, in base 64.
 */
import { fromBase64, inflate } from "../data/packed";
import { AtlasError } from "../data/types";
import { showFailure } from "./failure";
import { PackedSource, start } from "./start";

async function open() {
  const target = document.getElementById("atlas") ?? document.body;
  try {
    const packed = document.getElementById("atlas-data")?.textContent;
    if (!packed) throw new AtlasError("this file holds no atlas: export it again");
    start(target, new PackedSource(await inflate(fromBase64(packed))));
  } catch (error) {
    showFailure(target, error);
  }
}

// The script may stand before the data.
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", open);
else void open();
