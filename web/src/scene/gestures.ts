/** What a hand does on a canvas: drag, pinch, wheel, click, hover, and a rectangle with shift. */

export interface Gestures {
  drag(dx: number, dy: number): void;
  /** Zooms by `factor` around a place. */
  zoom(factor: number, x: number, y: number): void;
  click(x: number, y: number): void;
  doubleClick(x: number, y: number): void;
  hover(x: number, y: number): void;
  leave(): void;
  rectangle(left: number, top: number, right: number, bottom: number): void;
  /** A drag has begun or ended. */
  held(down: boolean): void;
}

/** A hand that trembles still clicks. */
const CLICK_RADIUS = 4;
const ZOOM_PER_WHEEL_PIXEL = 0.0015;
const WHEEL_LINE = 16;

/** Listens until the returned function is called; `frame` is shown as the rectangle. */
export function listen(canvas: HTMLCanvasElement, frame: HTMLElement, on: Gestures): () => void {
  const stop = new AbortController();
  const { signal } = stop;
  const pointers = new Map<number, { x: number; y: number }>();
  let start = { x: 0, y: 0 };
  let moved = false;
  let selecting = false;
  // Offsets of the event are relative to the canvas only while the pointer is over it.
  const place = (event: MouseEvent) => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  canvas.addEventListener(
    "pointerdown",
    (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      canvas.focus({ preventScroll: true });
      start = place(event);
      pointers.set(event.pointerId, start);
      moved = pointers.size > 1;
      selecting = event.shiftKey && pointers.size === 1;
      if (!selecting) on.held(true);
    },
    { signal },
  );

  canvas.addEventListener(
    "pointermove",
    (event) => {
      const now = place(event);
      const before = pointers.get(event.pointerId);
      if (before === undefined) {
        if (event.pointerType !== "touch") on.hover(now.x, now.y);
        return;
      }
      if (!moved && Math.hypot(now.x - start.x, now.y - start.y) < CLICK_RADIUS) return;
      if (!moved) on.leave();
      moved = true;
      pointers.set(event.pointerId, now);
      if (selecting) showFrame(frame, start, now);
      else if (pointers.size === 1) on.drag(now.x - before.x, now.y - before.y);
      else {
        const other = [...pointers].find(([id]) => id !== event.pointerId)![1];
        const wide = Math.hypot(now.x - other.x, now.y - other.y);
        const was = Math.hypot(before.x - other.x, before.y - other.y);
        if (was > 0) on.zoom(wide / was, (now.x + other.x) / 2, (now.y + other.y) / 2);
      }
    },
    { signal },
  );

  const end = (event: PointerEvent, finished: boolean) => {
    if (!pointers.delete(event.pointerId)) return;
    const now = place(event);
    if (selecting) {
      frame.style.visibility = "hidden";
      if (finished && moved) {
        on.rectangle(
          Math.min(start.x, now.x),
          Math.min(start.y, now.y),
          Math.max(start.x, now.x),
          Math.max(start.y, now.y),
        );
      }
    } else if (finished && !moved) on.click(now.x, now.y);
    if (pointers.size === 0) {
      selecting = false;
      on.held(false);
    }
  };
  canvas.addEventListener("pointerup", (event) => end(event, true), { signal });
  canvas.addEventListener("pointercancel", (event) => end(event, false), { signal });
  canvas.addEventListener("pointerleave", () => on.leave(), { signal });
  canvas.addEventListener(
    "dblclick",
    (event) => {
      const { x, y } = place(event);
      on.doubleClick(x, y);
    },
    { signal },
  );
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const { x, y } = place(event);
      const pixels = event.deltaMode === 0 ? event.deltaY : event.deltaY * WHEEL_LINE;
      // A trackpad's pinch arrives as a wheel with ctrl and small steps.
      const rate = event.ctrlKey ? 6 * ZOOM_PER_WHEEL_PIXEL : ZOOM_PER_WHEEL_PIXEL;
      on.zoom(Math.exp(-Math.max(-200, Math.min(200, pixels)) * rate), x, y);
    },
    { signal, passive: false },
  );
  return () => stop.abort();
}

function showFrame(frame: HTMLElement, a: { x: number; y: number }, b: { x: number; y: number }) {
  Object.assign(frame.style, {
    visibility: "visible",
    transform: `translate(${Math.min(a.x, b.x)}px, ${Math.min(a.y, b.y)}px)`,
    width: `${Math.abs(a.x - b.x)}px`,
    height: `${Math.abs(a.y - b.y)}px`,
  });
}
