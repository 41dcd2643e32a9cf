import { describe, expect, it, vi } from "vitest";
import { Recent } from "../../src/data/recent";

describe("what was read last", () => {
  it("is read once, for callers at the same time too", async () => {
    const read = vi.fn(async (key: number) => key * 2);
    const recent = new Recent(3, read);
    expect(await Promise.all([recent.get(1), recent.get(1), recent.get(2)])).toEqual([2, 2, 4]);
    expect(await recent.get(1)).toBe(2);
    expect(read).toHaveBeenCalledTimes(2);
  });

  it("makes room by forgetting what was unused for longest", async () => {
    const read = vi.fn(async (key: number) => key);
    const recent = new Recent(2, read);
    for (const key of [1, 2, 1, 3, 1, 2]) await recent.get(key);
    expect(read.mock.calls.map(([key]) => key)).toEqual([1, 2, 3, 2]);
  });

  it("is read again after it failed", async () => {
    const read = vi.fn(async (key: number) => key).mockRejectedValueOnce(new Error("once"));
    const recent = new Recent(2, read);
    await expect(recent.get(1)).rejects.toThrow("once");
    expect(await recent.get(1)).toBe(1);
  });
});
