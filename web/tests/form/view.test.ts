import { describe, expect, it } from "vitest";
import { Display, FormView } from "../../src/app/form/view.svelte";
import type { Router } from "../../src/app/routes.svelte";
import type { Control, Page } from "../../src/data/types";

const N = 60;

/** A form with four axes whose present points are on a ring, and every third point is random. */
function page(change: Partial<Page> = {}): Page {
  const form = new Float32Array(16);
  [1, 0.8, -0.5, 0.2].forEach((value, i) => (form[5 * i] = value));
  const coordinates = new Int16Array(4 * N);
  const value = new Int16Array(N);
  for (let i = 0; i < N; i++) {
    const p = [Math.cos(i), Math.sin(i), 0.3 * Math.cos(3 * i), 0.5 * Math.sin(2 * i)];
    p.forEach((x, axis) => (coordinates[axis * N + i] = Math.round(32767 * x)));
    const f = p.reduce((sum, x, axis) => sum + form[5 * axis] * x * x, 0);
    value[i] = Math.round((32767 * f) / 2);
  }
  return {
    id: 7,
    spectrum: Float32Array.from([1, 0.8, -0.5, 0.2]),
    axes: 4,
    axisKind: new Uint8Array(4),
    form,
    linear: new Float32Array(4),
    constant: 0,
    scale: new Float32Array(4).fill(1),
    valueScale: 2,
    remainder: 0,
    coordinates,
    value,
    row: Uint32Array.from({ length: N }, (_, i) => i),
    drawn: Uint8Array.from({ length: N }, (_, i) => (i % 3 === 2 ? 1 : 0)),
    ringPlane: null,
    histogramEdges: new Float32Array(0),
    histogramCounts: new Uint32Array(0),
    contexts: [],
    neighbours: [],
    scores: [],
    images: null,
    imageScale: null,
    ...change,
  };
}

function control(): Control {
  const { id: _id, row: _row, drawn: _drawn, ...points } = page();
  return { ...points, valueScale: 0.02, effectiveRank: 3 };
}

function opened(link: string, own = page(), ring = false) {
  const written: Record<string, string | null>[] = [];
  const router = {
    parameters: new URLSearchParams(link),
    set: (changes: Record<string, string | null>) => written.push(changes),
  };
  const display = new Display();
  return { view: new FormView(own, 0, ring, router as unknown as Router, display), display, written };
}

describe("a form as it is looked at", () => {
  it("is value = slice + rest at every point, on any axes", () => {
    for (const link of ["", "ax=3,1,0", "ax=2,3,1"]) {
      const { view } = opened(link);
      view.values.forEach((value, i) => {
        expect(view.sliceValues[i] + view.rest[i]).toBeCloseTo(value, 5);
      });
    }
  });

  it("leaves out on three axes what the fourth adds", () => {
    const { view } = opened("");
    const fourth = Array.from({ length: N }, (_, i) => 0.2 * (0.5 * Math.sin(2 * i)) ** 2);
    fourth.forEach((rest, i) => expect(view.rest[i]).toBeCloseTo(rest, 3));
    expect(opened("ax=0,1,3").view.captured).toBeLessThan(1);
  });

  it("starts in the plane of a ring only where the evidence is of a ring", () => {
    const round = page({ ringPlane: [3, 1] });
    expect(opened("", round, true).view.axes).toEqual([1, 3, 0]);
    expect(opened("", round, false).view.axes).toEqual([0, 1, 2]);
    expect(opened("ax=2,1,0", round, true).view.axes).toEqual([2, 1, 0]);
  });

  it("knows the sign with which the form fires", () => {
    expect(opened("").view.sign).toBe(1);
    const own = page();
    const turned = page({ form: own.form.map((x) => -x), value: own.value.map((x) => -x) });
    expect(opened("c=1", turned).view.sign).toBe(-1);
  });

  it("draws fewer points without the background, each with its own colour", () => {
    const { view, display } = opened("");
    expect(view.drawing.colour.length).toBe(N);
    display.background = false;
    expect(view.drawing.colour.length).toBe(40);
    view.drawnPoints.forEach((point, i) => {
      expect(point % 3).not.toBe(2);
      expect(view.drawing.colour[i]).toBe(view.colour[point]);
      expect(view.drawing.positions[3 * i + 1]).toBe(view.positions[3 * point + 1]);
    });
  });

  it("colours by how a point was chosen", () => {
    const { view } = opened("by=drawn");
    expect([...view.colour.slice(0, 3)]).toEqual([1, 1, -1]);
  });

  it("gives a sign to no rounding", () => {
    const three = page();
    three.value.forEach((value, i) => {
      const fourth = 0.2 * (0.5 * Math.sin(2 * i)) ** 2;
      three.value[i] = value - Math.round((32767 * fourth) / 2);
    });
    const { view } = opened("by=rest&ax=0,1,2", three);
    expect(view.colour.every((colour) => colour === 0)).toBe(true);
  });

  it("draws no surface where no point has the level", () => {
    const positive = page({ form: Float32Array.from(page().form, Math.abs) });
    expect(opened("c=-1", positive).view.name).toBe("empty");
    expect(opened("c=-1", positive).view.surface).toBeNull();
    expect(opened("c=1", positive).view.surface?.level).toBe(1);
  });

  it("has a band of the rest's spread, when it is asked for", () => {
    const { view, display } = opened("c=0.5");
    expect(view.surface?.band).toBe(0);
    display.band = true;
    expect(view.surface?.band).toBeCloseTo(view.spread, 6);
    display.surface = false;
    expect(view.surface).toBeNull();
  });

  it("keeps the level of a link inside the slider", () => {
    const { view } = opened("c=50");
    expect(view.level).toBe(50);
    expect(view.most).toBe(50);
    expect(view.least).toBeLessThanOrEqual(0);
  });
});

describe("a control", () => {
  it("is measured with the form's own colours and levels", () => {
    const own = opened("").view;
    for (const cloud of ["gaussian", "shuffled"]) {
      const { view } = opened(`null=${cloud}`);
      expect(view.isControl).toBe(true);
      expect(view.scale).toBe(own.scale);
      expect(view.level).toBe(own.level);
      expect(view.positions).not.toEqual(own.positions);
      expect(view.random).toBe(20);
    }
  });

  it("is the same for everybody with the link", () => {
    expect(opened("null=gaussian").view.positions).toEqual(opened("null=gaussian").view.positions);
  });

  it("of random axes has its own; until it is read, and without any, the form's points stay", () => {
    const { view } = opened("null=random");
    expect(view.shownCloud).toBe("real");
    view.controls = [control()];
    expect(view.shownCloud).toBe("random");
    expect(view.scale).toBeLessThan(opened("").view.scale / 50);
  });

  it("takes back the level when the form changes, and only then", () => {
    const { view, written } = opened("c=1");
    view.show("gaussian");
    view.show("random");
    expect(written).toEqual([{ null: "gaussian" }, { c: null, null: "random" }]);
  });
});

describe("words", () => {
  /** Ten words in turn; every third point is random. */
  const words = Array.from({ length: N }, (_, i) => `w${i % 10}`);

  it("pick out their points, in the cloud and for the table, and leave the rest as it was", () => {
    const plain = opened("").view;
    const { view, display } = opened("w=W3,w4");
    expect(view.chosenPoints).toBeNull();
    expect(view.listedPoints.length).toBe(0);
    view.words = words;
    expect([...view.chosenPoints!]).toEqual([3, 4, 13, 14, 23, 24, 33, 34, 43, 44, 53, 54]);
    expect(view.listedPoints).toEqual(view.chosenPoints);
    expect(view.drawing.positions).toEqual(plain.drawing.positions);
    expect([...view.drawing.chosen!.keys()].filter((i) => view.drawing.chosen![i])).toEqual([
      ...view.chosenPoints!,
    ]);
    expect([view.scale, view.level]).toEqual([plain.scale, plain.level]);
    display.background = false;
    expect([...view.chosenPoints!]).toEqual([3, 4, 13, 24, 33, 34, 43, 54]);
    view.drawnPoints.forEach((point, i) => {
      expect(view.drawing.chosen![i]).toBe(point % 10 === 3 || point % 10 === 4 ? 1 : 0);
    });
  });

  it("are drawn alone when asked, with the colours and levels of the whole", () => {
    const plain = opened("").view;
    const { view } = opened("w=w3&alone=1");
    expect(view.drawnPoints.length).toBe(N);
    view.words = words;
    expect([...view.drawnPoints]).toEqual([3, 13, 23, 33, 43, 53]);
    expect(view.drawing.chosen).toBeUndefined();
    expect([view.scale, view.level]).toEqual([plain.scale, plain.level]);
    // Without any such point there is nothing to draw alone.
    const none = opened("w=nothing&alone=1").view;
    none.words = words;
    expect(none.drawnPoints.length).toBe(N);
    expect(none.listedPoints.length).toBe(0);
  });

  it("stand at the middle of present points, or of all that were chosen", () => {
    const twice = Array.from({ length: N }, (_, i) => `w${i % 2}`);
    const mean = (points: number[], at: Float32Array, k: number) =>
      points.reduce((sum, i) => sum + at[3 * i + k], 0) / points.length;
    const { view } = opened("words=1");
    expect(view.wordPlaces).toEqual([]);
    view.words = twice;
    const present = [...twice.keys()].filter((i) => i % 3 !== 2 && i % 2 === 0);
    expect(view.wordPlaces.map(({ word, count }) => [word, count])).toEqual([["w0", 20], ["w1", 20]]);
    expect(view.wordPlaces[0].centre[1]).toBeCloseTo(mean(present, view.positions, 1), 6);
    const some = opened("words=1&w=w0").view;
    some.words = twice;
    expect(some.wordPlaces.map(({ word, count }) => [word, count])).toEqual([["w0", 30]]);
    view.words = words;
    expect(view.wordPlaces).toEqual([]);
  });

  it("are not those of a control", () => {
    const { view } = opened("null=shuffled&words=1&w=w1&alone=1");
    view.words = words;
    expect(view.wordPlaces).toEqual([]);
    expect(view.chosenPoints).toBeNull();
    expect(view.drawnPoints.length).toBe(N);
    expect(view.listedPoints.length).toBe(N);
  });
});
