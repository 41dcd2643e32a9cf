import { describe, expect, it } from "vitest";
import type { Control, FormPoints } from "../../src/data/types";
import {
  effectiveRank,
  gaussianControl,
  randomForm,
  shuffledControl,
} from "../../src/maths/controls";
import { normal, random } from "../../src/maths/random";
import { makeForm, valueAt } from "./forms";

/** (n)(r) in real units. */
function cloud(page: FormPoints): number[][] {
  const n = page.value.length;
  return Array.from({ length: n }, (_, i) =>
    Array.from(page.scale, (s, a) => (page.coordinates[a * n + i] * s) / 32767),
  );
}

function moments(points: number[][]) {
  const mean = points[0].map((_, a) => points.reduce((s, p) => s + p[a], 0) / points.length);
  const covariance = mean.map((_, a) =>
    mean.map(
      (_, b) => points.reduce((s, p) => s + (p[a] - mean[a]) * (p[b] - mean[b]), 0) / points.length,
    ),
  );
  return { mean, covariance };
}

const of = (points: number[][], drawn: Uint8Array, kind: number) =>
  points.filter((_, i) => drawn[i] === kind);

describe("normal controls", () => {
  // Coordinates that depend on each other, and present points that lie elsewhere than random ones.
  const made = makeForm(random(11), { n: 8000, r: 4 });
  const n = made.page.value.length;
  for (let i = 0; i < n; i++) {
    const c = made.page.coordinates;
    c[n + i] = Math.round(0.5 * c[i] + 0.3 * c[n + i]);
    if (made.page.drawn[i]) c[i] = Math.round(0.2 * c[i]) - 9000;
  }
  const control = gaussianControl(made.page, 1);

  it("have the mean and the covariance of the points, group by group", () => {
    for (const kind of [0, 1]) {
      const own = moments(of(cloud(made.page), made.page.drawn, kind));
      const drawn = moments(of(cloud(control), made.page.drawn, kind));
      own.mean.forEach((m, a) => {
        const sd = Math.sqrt(own.covariance[a][a]);
        expect(Math.abs(drawn.mean[a] - m) / sd).toBeLessThan(0.1);
        own.covariance[a].forEach((v, b) => {
          const size = sd * Math.sqrt(own.covariance[b][b]);
          expect(Math.abs(drawn.covariance[a][b] - v) / size).toBeLessThan(0.1);
        });
      });
      expect(Math.abs(own.covariance[0][1])).toBeGreaterThan(0.1);
    }
  });

  it("have the values of the form on their own points", () => expectOwnValues(made, control));

  it("are the same for the same seed, and others for another", () => {
    expect(gaussianControl(made.page, 1)).toEqual(control);
    expect(gaussianControl(made.page, 2).coordinates).not.toEqual(control.coordinates);
  });

  it("stay where the points are where these do not vary", () => {
    const { page } = makeForm(random(12), { n: 10, r: 3 });
    page.coordinates.fill(16384, 0, 10);
    const found = cloud(gaussianControl(page, 5));
    found.forEach((p) => expect(p[0]).toBeCloseTo(page.scale[0] / 2, 3));
    expect(found.flat().every(Number.isFinite)).toBe(true);
  });
});

describe("shuffled controls", () => {
  const made = makeForm(random(13), { n: 400, r: 4 });
  const control = shuffledControl(made.page, 1);

  it("have the same coordinates along each axis, group by group, for other points", () => {
    const [own, dealt] = [cloud(made.page), cloud(control)];
    for (let a = 0; a < 4; a++) {
      for (const kind of [0, 1]) {
        const column = (points: number[][]) => of(points, made.page.drawn, kind).map((p) => p[a]);
        const sorted = (points: number[][]) => column(points).sort((x, y) => x - y);
        const [x, y] = [sorted(own), sorted(dealt)];
        x.forEach((v, i) => expect(y[i]).toBeCloseTo(v, 3));
        const moved = column(own).filter((v, i) => Math.abs(v - column(dealt)[i]) > 1e-3);
        expect(moved.length).toBeGreaterThan(0.9 * x.length);
      }
    }
  });

  it("are dealt on each axis on its own", () => {
    // Two axes with the same coordinates fall apart.
    const { page } = makeForm(random(14), { n: 400, r: 3 });
    page.coordinates.copyWithin(400, 0, 400);
    page.scale[1] = page.scale[0];
    const found = cloud(shuffledControl(page, 3));
    const { covariance: c } = moments(found);
    expect(Math.abs(c[0][1])).toBeLessThan(0.2 * Math.sqrt(c[0][0] * c[1][1]));
  });

  it("have the values of the form on their own points", () => expectOwnValues(made, control));

  it("are the same for the same seed, and others for another", () => {
    expect(shuffledControl(made.page, 1)).toEqual(control);
    expect(shuffledControl(made.page, 2).coordinates).not.toEqual(control.coordinates);
  });
});

function expectOwnValues(made: ReturnType<typeof makeForm>, control: FormPoints) {
  cloud(control).forEach((p, i) => {
    const expected = valueAt(p, made.form, made.linear, made.constant);
    const found = (control.value[i] * control.valueScale) / 32767;
    expect(Math.abs(found - expected)).toBeLessThan(1e-3 * control.valueScale);
  });
  expect(control.remainder).toBe(0);
}

describe("random forms", () => {
  it("are those of the nearest effective rank", () => {
    const { page } = makeForm(random(15), { r: 3 });
    const controls = [1.5, 2.4, 3.5].map((rank): Control => ({ ...page, effectiveRank: rank }));
    // Eigenvalues 3, 2, 1: 36/14.
    expect(effectiveRank(page.spectrum)).toBeCloseTo(36 / 14, 6);
    expect(randomForm(controls, page)).toBe(controls[1]);
    expect(randomForm([], page)).toBeNull();
    expect(effectiveRank([-2, 2])).toBe(2);
    expect(effectiveRank([0])).toBe(0);
  });
});

describe("the generator", () => {
  it("is uniform, without ties between neighbours", () => {
    const draw = random(16);
    const bins = new Uint32Array(10);
    let [previous, product] = [0, 0];
    for (let i = 0; i < 50_000; i++) {
      const u = draw();
      bins[Math.floor(u * 10)]++;
      product += (u - 0.5) * (previous - 0.5);
      previous = u;
    }
    // Chi squared with 9 degrees of freedom is above 27.9 once in a thousand.
    expect(bins.reduce((s, b) => s + (b - 5000) ** 2 / 5000, 0)).toBeLessThan(27.9);
    expect(Math.abs(product / 50_000) * 12).toBeLessThan(0.02);
  });

  it("gives the standard normal distribution", () => {
    const draw = random(17);
    const numbers = Array.from({ length: 50_000 }, () => normal(draw));
    const moment = (k: number) => numbers.reduce((s, x) => s + x ** k, 0) / numbers.length;
    expect(moment(1)).toBeCloseTo(0, 1);
    expect(moment(2)).toBeCloseTo(1, 1);
    expect(moment(4)).toBeGreaterThan(2.85);
    expect(moment(4)).toBeLessThan(3.15);
    expect(numbers.every(Number.isFinite)).toBe(true);
  });
});
