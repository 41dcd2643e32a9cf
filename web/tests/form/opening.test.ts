import { expect, it } from "vitest";
import { Opening } from "../../src/app/form/opening";

function later<T>() {
  let resolve!: (found: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((done, fail) => {
    resolve = done;
    reject = fail;
  });
  return { promise, resolve, reject };
}

const settle = () => new Promise((done) => setTimeout(done));

it("shows only what was opened last, whichever comes first", async () => {
  const opening = new Opening<string>();
  const shown: string[] = [];
  const [slow, fast] = [later<string>(), later<string>()];
  opening.open(() => slow.promise, (found) => shown.push(found), () => {});
  opening.open(() => fast.promise, (found) => shown.push(found), () => {});
  fast.resolve("second");
  await settle();
  slow.resolve("first");
  await settle();
  expect(shown).toEqual(["second"]);
});

it("says nothing of a failure that no longer matters", async () => {
  const opening = new Opening<string>();
  const failures: string[] = [];
  const [old, now] = [later<string>(), later<string>()];
  opening.open(() => old.promise, () => {}, (message) => failures.push(message));
  opening.open(() => now.promise, () => {}, (message) => failures.push(message));
  old.reject(new Error("old"));
  now.reject(new Error("the page is damaged"));
  await settle();
  expect(failures).toEqual(["the page is damaged"]);
});

it("shows nothing once it was left", async () => {
  const opening = new Opening<string>();
  const shown: string[] = [];
  const page = later<string>();
  opening.open(() => page.promise, (found) => shown.push(found), () => {});
  opening.leave();
  page.resolve("late");
  await settle();
  expect(shown).toEqual([]);
});
