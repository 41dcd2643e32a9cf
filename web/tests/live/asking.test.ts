import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Asking } from "../../src/app/live/asking";

/** Questions whose answers come when the test says so. */
function held() {
  const open: { question: string; answer: (text: string) => void; fail: (e: Error) => void }[] = [];
  const heard: string[] = [];
  const asking = new Asking<string, string>(
    (question) =>
      new Promise((answer, fail) => {
        open.push({ question, answer, fail });
      }),
    {
      waiting: (waiting) => heard.push(waiting ? "waiting" : "done"),
      answered: (answer) => heard.push(answer),
      failed: (message) => heard.push(`failed: ${message}`),
    },
  );
  return { asking, open, heard };
}

const settle = () => vi.advanceTimersByTimeAsync(0);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("only the last of several questions is answered, and those between are never asked", async () => {
  const { asking, open, heard } = held();
  asking.now("one");
  asking.now("two");
  asking.now("three");
  expect(open.map(({ question }) => question)).toEqual(["one"]);
  open[0].answer("1");
  await settle();
  expect(open.map(({ question }) => question)).toEqual(["one", "three"]);
  open[1].answer("3");
  await settle();
  expect(heard.filter((word) => word !== "waiting")).toEqual(["3", "done"]);
});

test("a question that waits for a pause makes the one on its way stale", async () => {
  const { asking, open, heard } = held();
  asking.now("one");
  asking.soon("two", 100);
  open[0].answer("1");
  await vi.advanceTimersByTimeAsync(50);
  asking.soon("three", 100);
  await vi.advanceTimersByTimeAsync(99);
  expect(open).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(open[1].question).toBe("three");
  open[1].answer("3");
  await settle();
  expect(heard).not.toContain("1");
  expect(heard.at(-2)).toBe("3");
});

test("a failure of the last question is said, an earlier one is not", async () => {
  const { asking, open, heard } = held();
  asking.now("one");
  asking.now("two");
  open[0].fail(new Error("first"));
  await settle();
  open[1].fail(new Error("second"));
  await settle();
  expect(heard.filter((word) => word.startsWith("failed"))).toEqual(["failed: second"]);
  expect(heard.at(-1)).toBe("done");
});

test("after stop nothing is heard", async () => {
  const { asking, open, heard } = held();
  asking.now("one");
  asking.soon("two", 10);
  asking.stop();
  open[0].answer("1");
  await vi.advanceTimersByTimeAsync(100);
  expect(open).toHaveLength(1);
  expect(heard).not.toContain("1");
  expect(heard.at(-1)).toBe("done");
});
