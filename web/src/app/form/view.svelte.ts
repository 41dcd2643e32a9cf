/**
 * One form as it is being looked at: everything that the panels show follows from the page that was
 * read and from the link.
 */
import type { Control, Page } from "../../data/types";
import { scaleOf } from "../../maths/colour";
import { gaussianControl, randomForm, shuffledControl } from "../../maths/controls";
import {
  captured,
  positions,
  rest,
  restSpread,
  sliceOf,
  sliceValues,
  values,
  type DrawnPoints,
} from "../../maths/points";
import { levels, nameQuadric } from "../../maths/quadric";
import type { Cloud, Surface } from "../../scene/types";
import type { Router } from "../routes.svelte";
import { axisLabel } from "./axes";
import { readLook, startingAxes, writeLook, type Axes, type CloudName, type Look } from "./look";
import { frequentWords, matching, type WordPlace } from "./words";

const RANDOM = 1;
const ROUNDING = 1e-3;

/** What is drawn beside the points; kept while the reader goes from form to form. */
export class Display {
  surface = $state(true);
  band = $state(false);
  background = $state(true);
  rotating = $state(false);
}

export class FormView {
  readonly page: Page;
  readonly place: number;
  readonly start: Axes;
  readonly #router: Router;
  readonly #display: Display;
  /** The link as it was when this form was last the one that is open. */
  parameters = $state.raw(new URLSearchParams());
  /** Random forms with their points; empty until they are read. */
  controls = $state.raw<readonly Control[]>([]);
  /** Why there are none, where they cannot be read. */
  controlsFailure = $state("");
  /** The word of every point; null until they were asked for and read. */
  words = $state.raw<readonly string[] | null>(null);
  /** Why there are none, where they cannot be read. */
  wordsFailure = $state("");
  /** The point that the table or the keyboard is at, or −1. */
  current = $state(-1);

  /** `ring` says that the evidence is of a ring: the page then starts in its plane. */
  constructor(page: Page, place: number, ring: boolean, router: Router, display: Display) {
    this.page = page;
    this.place = place;
    this.start = startingAxes(page.axes, ring ? page.ringPlane : null);
    this.#router = router;
    this.#display = display;
    this.parameters = router.parameters;
  }

  #look = $derived.by(() => readLook(this.parameters, this.page.axes, this.start));
  // One by one, so that a moving camera does not compute the cloud anew.
  #axesText = $derived(this.#look.axes.join());
  axes = $derived(this.#axesText.split(",").map(Number) as Axes);
  by = $derived(this.#look.by);
  cloud = $derived(this.#look.cloud);
  palette = $derived(this.#look.palette);
  #cameraText = $derived(this.#look.camera?.join() ?? "");
  camera = $derived(this.#cameraText ? this.#look.camera : null);

  showsWords = $derived(this.#look.words);
  #soughtText = $derived(this.#look.sought.join());
  sought = $derived(this.#soughtText ? this.#soughtText.split(",") : []);

  alone = $derived(this.#look.alone);

  /** The points that are drawn: the form's own or a control's. */
  points = $derived.by((): DrawnPoints => this.#control(this.cloud) ?? this.page);
  /** What is drawn in truth: a control may be missing. */
  shownCloud = $derived.by((): CloudName => (this.points === this.page ? "real" : this.cloud));
  isControl = $derived(this.shownCloud !== "real");

  positions = $derived.by(() => positions(this.points, this.axes));
  values = $derived.by(() => values(this.points));
  slice = $derived.by(() => sliceOf(this.points, this.axes));
  sliceValues = $derived.by(() => sliceValues(this.slice, this.positions));
  rest = $derived.by(() => rest(this.points, this.axes));
  spread = $derived.by(() => restSpread(this.points, this.axes));
  captured = $derived.by(() => captured(this.points, this.axes));
  /**
   * Whose values set the colours and the levels: the form's also where its own points were drawn
   * anew, so that both pictures can be compared; a random form's are its own.
   */
  #measure = $derived.by((): DrawnPoints =>
    this.shownCloud === "random" ? this.points : this.page,
  );
  scale = $derived.by(() => scaleOf(values(this.#measure)));
  count = $derived(this.values.length);
  random = $derived(this.points.drawn?.reduce((sum, each) => sum + (each === RANDOM ? 1 : 0), 0) ?? 0);

  #levels = $derived.by(() => {
    const measure = this.#measure;
    const own = sliceValues(sliceOf(measure, this.axes), positions(measure, this.axes));
    return levels(own, measure.drawn);
  });
  level = $derived(this.#look.level ?? this.#levels.start);
  least = $derived(Math.min(this.#levels.least, this.level));
  most = $derived(Math.max(this.#levels.most, this.level));
  /** The sign with which the form mostly fires. */
  sign = $derived(this.#levels.start < 0 ? -1 : 1);
  name = $derived.by(() => nameQuadric(this.slice, this.level));

  /** (n) 1 for points of the sought words; null where none is sought or they are still being read. */
  chosen = $derived.by((): Uint8Array | null =>
    this.sought.length > 0 && this.words && !this.isControl ? matching(this.words, this.sought) : null,
  );

  /** Points of which the reader can choose, by number: those drawn at random can be left out. */
  offeredPoints = $derived.by((): Uint32Array => {
    const all = Uint32Array.from({ length: this.count }, (_, i) => i);
    const drawn = this.points.drawn;
    return this.#display.background || !drawn ? all : all.filter((i) => drawn[i] !== RANDOM);
  });

  /** Those of the sought words; null where none is sought. */
  chosenPoints = $derived.by((): Uint32Array | null => {
    const { chosen } = this;
    return chosen && this.offeredPoints.filter((i) => chosen[i] === 1);
  });
  /** Points of the table: none while the words that are sought are still being read. */
  listedPoints = $derived.by((): Uint32Array => {
    if (this.sought.length === 0 || this.isControl) return this.offeredPoints;
    return this.chosenPoints ?? new Uint32Array();
  });
  /** The chosen points are all there is in the picture. */
  #isolated = $derived(this.alone && (this.chosenPoints?.length ?? 0) > 0);
  /** Points in the cloud, by number. */
  drawnPoints = $derived(this.#isolated ? this.chosenPoints! : this.offeredPoints);

  /** The words that stand in the cloud: of the chosen points, else of those that are present. */
  wordPlaces = $derived.by((): WordPlace[] => {
    const { words, chosenPoints } = this;
    if (!this.showsWords || !words || this.isControl) return [];
    if (chosenPoints?.length) return frequentWords(words, chosenPoints, this.positions, true);
    const present = this.offeredPoints.filter((i) => this.page.drawn[i] !== RANDOM);
    return frequentWords(words, present, this.positions, false);
  });

  colour = $derived.by((): Float32Array => {
    const unit = this.scale || 1;
    const clipped = (value: number) => {
      const share = Math.max(-1, Math.min(1, value / unit));
      // The sign of a rounding is no sign: it must not turn a disc into a ring.
      return Math.abs(share) < ROUNDING ? 0 : share;
    };
    if (this.by === "drawn") {
      return Float32Array.from({ length: this.count }, (_, i) =>
        this.points.drawn?.[i] === RANDOM ? -1 : 1,
      );
    }
    return (this.by === "rest" ? this.rest : this.values).map(clipped);
  });

  drawing = $derived.by((): Cloud => {
    const points = this.drawnPoints;
    const at = new Float32Array(3 * points.length);
    points.forEach((point, i) => {
      at.set(this.positions.subarray(3 * point, 3 * point + 3), 3 * i);
    });
    const chosen = this.#isolated ? null : this.chosen;
    const { drawn } = this.points;
    return {
      positions: at,
      colour: Float32Array.from(points, (point) => this.colour[point]),
      faint: drawn && Uint8Array.from(points, (point) => (drawn[point] === RANDOM ? 1 : 0)),
      chosen: chosen ? Uint8Array.from(points, (point) => chosen[point]) : undefined,
    };
  });

  surface = $derived.by((): Surface | null =>
    this.#display.surface && this.name !== "empty" && this.name !== "everything"
      ? { slice: this.slice, level: this.level, band: this.#display.band ? this.spread : 0 }
      : null,
  );

  axisLabels = $derived.by(
    () => this.axes.map((axis, k) => axisLabel(this.points, axis, "xyz"[k])) as [string, string, string],
  );

  /** Changes how the form is looked at, and the link with it. */
  set(change: Partial<Look>) {
    this.#router.set(writeLook(change, this.start));
  }

  /** Draws other points. A level of the form says nothing of a random one, nor the reverse. */
  show(cloud: CloudName) {
    const other = (cloud === "random") !== (this.cloud === "random");
    this.set(other ? { cloud, level: null } : { cloud });
  }

  moveLevel(steps: number) {
    this.set({ level: this.level + (steps * (this.most - this.least)) / 100 });
  }

  #control(cloud: CloudName): DrawnPoints | null {
    const { page } = this;
    const { drawn } = page;
    // The same draw every time, so that a link shows what its sender saw.
    if (cloud === "gaussian") return { ...gaussianControl(page, page.id), drawn };
    if (cloud === "shuffled") return { ...shuffledControl(page, page.id), drawn };
    return cloud === "random" ? randomForm(this.controls, page) : null;
  }
}
