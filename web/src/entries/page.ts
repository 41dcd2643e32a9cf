/** The page of an atlas folder: its files lie beside it. */
import { showFailure } from "./failure";

const target = document.getElementById("atlas")!;
// The sentence in the page is on the screen before the script takes the thread for itself; a page
// in the background gets no frame and does not wait for one.
const painted = new Promise((done) => {
  requestAnimationFrame(() => setTimeout(done));
  setTimeout(done, 100);
});
// Imported here rather than above, so that a script that does not arrive is told and not a blank.
Promise.all([import("./start"), painted]).then(
  ([{ FolderSource, start }]) => {
    try {
      start(target, new FolderSource());
    } catch (error) {
      showFailure(target, error);
    }
  },
  () => showFailure(target, "a part of its script did not arrive; load the page again"),
);
