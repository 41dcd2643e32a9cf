/**
 * A view's place on the page: a 2-D canvas that fills its host, a layer of labels and markers above
 * it, and a frame that is drawn once after anything changed, not in a loop.
 */

const MOST_PIXEL_RATIO = 2;

export interface Stage {
  readonly canvas: HTMLCanvasElement;
  readonly context: CanvasRenderingContext2D;
  /** In CSS pixels. */
  readonly width: number;
  readonly height: number;
  readonly pixelRatio: number;
  /** Asks for a frame. */
  dirty(): void;
  /** Draws now if a frame is due. */
  flush(): void;
  /** A text or marker above the canvas, at a place in CSS pixels; hidden until it is placed. */
  label(): Label;
  /** A line in the middle of the view; null removes it. */
  say(message: string | null): void;
  resize(): void;
  dispose(): void;
}

export interface Label {
  readonly element: HTMLElement;
  /** Its anchor is its centre, or the given fractions of its width and height. */
  place(x: number, y: number, anchorX?: number, anchorY?: number): void;
  hide(): void;
}

/** `draw` paints the canvas and returns true while it wants another frame. */
export function createStage(host: HTMLElement, name: string, draw: () => boolean): Stage {
  const canvas = document.createElement("canvas");
  const layer = document.createElement("div");
  const message = document.createElement("p");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", name);
  layer.setAttribute("aria-hidden", "true");
  const fill = { position: "absolute", inset: "0", width: "100%", height: "100%" };
  Object.assign(canvas.style, fill, { touchAction: "none", outlineOffset: "-2px" });
  Object.assign(layer.style, fill, { overflow: "hidden", pointerEvents: "none" });
  Object.assign(message.style, {
    position: "absolute",
    inset: "0",
    margin: "auto",
    height: "fit-content",
    textAlign: "center",
  });
  message.setAttribute("role", "status");
  message.hidden = true;
  host.append(canvas, layer, message);
  const context = canvas.getContext("2d", { alpha: false })!;

  let width = 0;
  let height = 0;
  let pixelRatio = 1;
  let request = 0;
  let due = false;
  let disposed = false;

  function frame() {
    request = 0;
    flush();
  }
  function flush() {
    // A view that is asked before its first frame has not been measured yet.
    if (width === 0) measure();
    if (!due || disposed || width === 0 || height === 0) return;
    due = false;
    if (draw()) dirty();
  }
  function dirty() {
    due = true;
    if (request === 0 && !disposed) request = requestAnimationFrame(frame);
  }
  function measure() {
    width = host.clientWidth;
    height = host.clientHeight;
    pixelRatio = Math.min(devicePixelRatio || 1, MOST_PIXEL_RATIO);
    const across = Math.round(width * pixelRatio);
    const down = Math.round(height * pixelRatio);
    if (canvas.width === across && canvas.height === down) return;
    canvas.width = across;
    canvas.height = down;
    dirty();
  }
  function resize() {
    if (disposed) return;
    measure();
    // Setting its size has emptied the canvas; waiting for the next frame would flicker.
    flush();
  }
  const observer = new ResizeObserver(resize);
  observer.observe(host);
  queueMicrotask(resize);

  return {
    canvas,
    context,
    get width() {
      return width;
    },
    get height() {
      return height;
    },
    get pixelRatio() {
      return pixelRatio;
    },
    dirty,
    flush,
    label: () => createLabel(layer),
    say(text) {
      message.hidden = text === null;
      message.textContent = text;
    },
    resize,
    dispose() {
      disposed = true;
      cancelAnimationFrame(request);
      observer.disconnect();
      canvas.remove();
      layer.remove();
      message.remove();
    },
  };
}

function createLabel(layer: HTMLElement): Label {
  const element = document.createElement("span");
  Object.assign(element.style, {
    position: "absolute",
    left: "0",
    top: "0",
    whiteSpace: "nowrap",
    visibility: "hidden",
  });
  layer.append(element);
  return {
    element,
    place(x, y, anchorX = 0.5, anchorY = 0.5) {
      const shift = `translate(${-100 * anchorX}%, ${-100 * anchorY}%)`;
      element.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px) ${shift}`;
      element.style.visibility = "visible";
    },
    hide() {
      element.style.visibility = "hidden";
    },
  };
}

/** The canvas as a PNG, with what lies above it painted by `finish`. */
export function toPng(stage: Stage, finish: (context: CanvasRenderingContext2D) => void): Promise<Blob> {
  const copy = document.createElement("canvas");
  copy.width = stage.canvas.width;
  copy.height = stage.canvas.height;
  const context = copy.getContext("2d")!;
  context.drawImage(stage.canvas, 0, 0);
  context.scale(stage.pixelRatio, stage.pixelRatio);
  finish(context);
  return new Promise((resolve, reject) => {
    copy.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the picture is empty"))));
  });
}
