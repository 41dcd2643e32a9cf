import { describe, expect, it } from "vitest";
import { carried, MANNER, SPOT, readLook, startingAxes, swapped, writeLook } from "../../src/app/form/look";

const read = (query: string, stored = 5) =>
  readLook(new URLSearchParams(query), stored, startingAxes(stored, null));

describe("the look in a link", () => {
  it("is read back as it was written", () => {
    const look = {
      axes: [4, 0, 2] as [number, number, number],
      level: -0.35,
      by: "rest" as const,
      cloud: "gaussian" as const,
      camera: [30, -20, 3] as [number, number, number],
      palette: "red-blue" as const,
      words: true,
      sought: ["May", "June"],
      alone: true,
    };
    const link = new URLSearchParams();
    for (const [name, value] of Object.entries(writeLook(look, [0, 1, 2]))) link.set(name, value!);
    expect(link.toString()).toBe(
      "ax=4%2C0%2C2&c=-0.35&by=rest&null=gaussian&cam=30%2C-20%2C3&palette=red-blue&words=1&w=May%2CJune&alone=1",
    );
    expect(read(link.toString())).toEqual(look);
  });

  it("leaves out what is as at the start", () => {
    const written = writeLook(
      {
        axes: [0, 1, 2],
        level: null,
        by: "value",
        cloud: "real",
        camera: null,
        palette: "blue-orange",
        words: false,
        sought: [],
        alone: false,
      },
      [0, 1, 2],
    );
    expect(Object.values(written)).toEqual(Array(9).fill(null));
  });

  it("writes only what has changed", () => {
    expect(writeLook({ level: 0.123456 }, [0, 1, 2])).toEqual({ c: "0.1235" });
  });

  it("keeps a level of zero, which is not the level at the start", () => {
    expect(writeLook({ level: 0 }, [0, 1, 2])).toEqual({ c: "0" });
    expect(read("c=0").level).toBe(0);
  });

  it.each([
    "ax=0,1",
    "ax=0,1,1",
    "ax=0,1,5",
    "ax=0,1,-1",
    "ax=0,1,1.5",
    "ax=,,",
    "ax=a,b,c",
    "c=",
    "c=1,2",
    "c=NaN",
    "c=Infinity",
    "by=colour",
    "null=nothing",
    "cam=1,2",
    "palette=rainbow",
    "words=yes",
    "w=,",
    "alone=2",
  ])("ignores %s", (query) => {
    expect(read(query)).toEqual(read(""));
  });
});

describe("the axes of a form", () => {
  it("start with a ring's plane and the strongest axis beside it", () => {
    expect(startingAxes(8, null)).toEqual([0, 1, 2]);
    expect(startingAxes(8, [6, 1])).toEqual([1, 6, 0]);
    expect(startingAxes(8, [1, 0])).toEqual([0, 1, 2]);
    expect(startingAxes(8, [0, 2])).toEqual([0, 2, 1]);
  });

  it("are three also where fewer are stored", () => {
    expect(startingAxes(2, [0, 1])).toEqual([0, 1, 2]);
  });

  it("change places when one is chosen twice", () => {
    expect(swapped([0, 1, 2], 0, 4)).toEqual([4, 1, 2]);
    expect(swapped([0, 1, 2], 0, 2)).toEqual([2, 1, 0]);
    expect(swapped([0, 1, 2], 1, 1)).toEqual([0, 1, 2]);
  });
});

it("carries how to look to another form, and where to look to the comparison", () => {
  const link = new URLSearchParams("ax=3,1,2&c=1&by=rest&null=shuffled&cam=1,2,3&palette=red-blue&words=1&w=May&alone=1");
  expect(carried(link, MANNER).toString()).toBe("by=rest&null=shuffled&palette=red-blue&words=1");
  expect(carried(link, SPOT).toString()).toBe("ax=3%2C1%2C2&c=1&cam=1%2C2%2C3&w=May&alone=1");
  expect(carried(new URLSearchParams(), MANNER).toString()).toBe("");
});
