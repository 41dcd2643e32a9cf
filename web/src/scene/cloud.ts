/** The 3-D view of a cloud and its surface, drawn with WebGL. */
import { type CloudOptions, type CloudPainter, mountCloud } from "./cloudview";
import { type Rgb, rgb } from "./colours";
import { LOST, lease } from "./device";
import { createDiscs } from "./discs";
import { frameOf } from "./frame";
import { projected } from "./orbit";
import type { Stage } from "./stage";
import { createStrokes } from "./strokes";
import { createSurface } from "./surface";
import type { CloudEvents, CloudView } from "./types";

/** Draws into `host`, which has a size and a position of its own. Throws NoWebGL. */
export function createCloud(
  host: HTMLElement,
  events: Partial<CloudEvents>,
  options: CloudOptions,
): CloudView {
  return mountCloud(host, events, options, glPainter);
}

function glPainter(stage: Stage): CloudPainter {
  const loan = lease((lost) => {
    stage.say(lost ? LOST : null);
    stage.dirty();
  });
  const axes = createStrokes();
  const points = createDiscs(0.9);
  const pathLine = createStrokes();
  const pathPoints = createDiscs(1.5);
  const surface = createSurface();
  let pathPlaces: Float32Array = new Float32Array();
  let ground: Rgb = [1, 1, 1];
  return {
    orthographic: false,
    setPoints: points.set,
    setPath(dots, strokes) {
      pathPlaces = dots.places;
      pathLine.set(strokes);
      pathPoints.set(dots);
    },
    setAxes: axes.set,
    setSurface: surface.set,
    setTheme(theme) {
      ground = rgb(theme.background);
      points.setHalo(ground);
      pathPoints.setHalo(rgb(theme.foreground));
      surface.setTheme(theme);
    },
    draw(view, depth) {
      const { canvas, context, pixelRatio, width, height } = stage;
      const frame = frameOf(view, canvas.width, canvas.height, pixelRatio);
      const pathDepth = projected(view, width, height, pathPlaces).depth;
      loan.draw(context, canvas.width, canvas.height, ground, (device) => {
        axes.draw(device, frame);
        points.draw(device, frame, depth);
        pathLine.draw(device, frame);
        pathPoints.draw(device, frame, pathDepth);
        surface.draw(device, frame);
      });
    },
    dispose() {
      for (const layer of [axes, points, pathLine, pathPoints, surface]) layer.dispose(loan.device);
      loan.release();
    },
  };
}
