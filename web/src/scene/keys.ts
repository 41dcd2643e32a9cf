/** W A S D Q E move the camera about its middle while the canvas has the focus. */

/** Per second: degrees, and powers of e of distance. */
const TURN = 70;
const APPROACH = 1.1;
/** Where motion is reduced, one press is one step of this many seconds. */
const STEP = 0.12;

export interface Flight {
  /** Moves on for a frame; true while a key is held. */
  advance(now: number): boolean;
  dispose(): void;
}

const MOVES: Record<string, [azimuth: number, elevation: number, approach: number]> = {
  KeyW: [0, 0, 1],
  KeyS: [0, 0, -1],
  KeyA: [-1, 0, 0],
  KeyD: [1, 0, 0],
  KeyQ: [0, -1, 0],
  KeyE: [0, 1, 0],
};

/** `move` turns by degrees and divides the distance by a factor. */
export function listenKeys(
  canvas: HTMLCanvasElement,
  reducedMotion: boolean,
  move: (azimuth: number, elevation: number, factor: number) => void,
  wake: () => void,
): Flight {
  const stop = new AbortController();
  const { signal } = stop;
  const held = new Set<string>();
  let last = 0;

  function go(seconds: number) {
    let [azimuth, elevation, approach] = [0, 0, 0];
    for (const key of held) {
      azimuth += MOVES[key][0];
      elevation += MOVES[key][1];
      approach += MOVES[key][2];
    }
    move(TURN * seconds * azimuth, TURN * seconds * elevation, Math.exp(APPROACH * seconds * approach));
  }

  canvas.addEventListener(
    "keydown",
    (event) => {
      if (!(event.code in MOVES) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      if (reducedMotion) {
        held.clear();
        held.add(event.code);
        go(STEP);
        held.clear();
      } else {
        if (held.size === 0) last = performance.now();
        held.add(event.code);
      }
      wake();
    },
    { signal },
  );
  canvas.addEventListener("keyup", (event) => held.delete(event.code), { signal });
  canvas.addEventListener("blur", () => held.clear(), { signal });

  return {
    advance(now) {
      if (held.size === 0) return false;
      go(Math.min(0.1, Math.max(0, (now - last) / 1000)));
      last = now;
      return true;
    },
    dispose: () => stop.abort(),
  };
}
