/** Each view with WebGL, and on a plain canvas in browsers without it. */
import { createCloud } from "./cloud";
import { createFlatCloud, createFlatMap } from "./flat";
import { createMap } from "./map";
import { NoWebGL } from "./types";

export interface Drawn<View> {
  view: View;
  /** It is drawn on a plain canvas, because there is no WebGL. */
  flat: boolean;
}

/** As createCloud, for any browser. */
export const drawCloud = either(createCloud, createFlatCloud);

/** As createMap, for any browser. */
export const drawMap = either(createMap, createFlatMap);

/** `create`, and `flatly` where that throws NoWebGL. */
export function either<Given extends unknown[], View>(
  create: (...given: Given) => View,
  flatly: (...given: Given) => View,
): (...given: Given) => Drawn<View> {
  return (...given) => {
    try {
      return { view: create(...given), flat: false };
    } catch (error) {
      if (!(error instanceof NoWebGL)) throw error;
      return { view: flatly(...given), flat: true };
    }
  };
}
