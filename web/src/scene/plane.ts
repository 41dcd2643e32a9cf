/** Pan and zoom of the map: places −1 … 1 to CSS pixels, y upwards. */

const PADDING = 28;
const MOST_ZOOM = 200;
const LEAST_ZOOM = 0.5;
/** Marks grow with the zoom, but more slowly, so that a crowd comes apart. */
const GROWTH = 0.4;
const MOST_GROWTH = 5;

export interface Extent {
  left: number;
  right: number;
  bottom: number;
  top: number;
}

export interface Plane {
  /** CSS pixels per unit, and the place in the middle of the view. */
  readonly scale: number;
  readonly x: number;
  readonly y: number;
  /** How much larger marks are than when all is in view. */
  readonly growth: number;
  resize(width: number, height: number): void;
  fit(): void;
  setExtent(extent: Extent): void;
  pan(dx: number, dy: number): void;
  zoom(factor: number, atX: number, atY: number): void;
  toPixels(x: number, y: number): [number, number];
  toPlace(px: number, py: number): [number, number];
}

export function createPlane(): Plane {
  let width = 1;
  let height = 1;
  let extent: Extent = { left: -1, right: 1, bottom: -1, top: 1 };
  let [x, y] = [0, 0];
  let zoom = 1; // against the scale that shows all
  let fitted = true;

  function whole(): number {
    const { left, right, bottom, top } = extent;
    const across = Math.max(20, width - 2 * PADDING) / Math.max(1e-3, right - left);
    const down = Math.max(20, height - 2 * PADDING) / Math.max(1e-3, top - bottom);
    return Math.min(across, down);
  }
  const scale = () => whole() * zoom;
  function fit() {
    [x, y] = [(extent.left + extent.right) / 2, (extent.bottom + extent.top) / 2];
    zoom = 1;
    fitted = true;
  }
  const toPlace = (px: number, py: number): [number, number] => [
    x + (px - width / 2) / scale(),
    y - (py - height / 2) / scale(),
  ];

  return {
    get scale() {
      return scale();
    },
    get x() {
      return x;
    },
    get y() {
      return y;
    },
    get growth() {
      return Math.min(MOST_GROWTH, Math.max(0.6, zoom ** GROWTH));
    },
    resize(nextWidth, nextHeight) {
      [width, height] = [nextWidth, nextHeight];
      if (fitted) fit();
    },
    fit,
    setExtent(next) {
      extent = next;
      fit();
    },
    pan(dx, dy) {
      x -= dx / scale();
      y += dy / scale();
      // Something of the map stays in view.
      x = Math.min(extent.right, Math.max(extent.left, x));
      y = Math.min(extent.top, Math.max(extent.bottom, y));
      fitted = false;
    },
    zoom(factor, atX, atY) {
      const [px, py] = toPlace(atX, atY);
      zoom = Math.min(MOST_ZOOM, Math.max(LEAST_ZOOM, zoom * factor));
      x = px - (atX - width / 2) / scale();
      y = py + (atY - height / 2) / scale();
      fitted = false;
    },
    toPixels: (px, py) => [width / 2 + (px - x) * scale(), height / 2 - (py - y) * scale()],
    toPlace,
  };
}
