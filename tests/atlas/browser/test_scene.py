"""How the drawing code behaves in a browser: its events, what it keeps, what it survives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from .scene_page import harness  # noqa: F401 — a fixture

# Before the page's own code: counts contexts and lets a test reach the one that draws.
SPY = """
window.contexts = [];
const original = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  const context = original.call(this, kind, ...rest);
  if (kind === "webgl2" && !contexts.includes(context)) contexts.push(context);
  return context;
};
window.frames = 0;
const draw = CanvasRenderingContext2D.prototype.drawImage;
CanvasRenderingContext2D.prototype.drawImage = function (...all) {
  window.frames++;
  return draw.apply(this, all);
};
"""
NO_WEBGL = """
const original = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind === "webgl2" ? null : original.call(this, kind, ...rest);
};
"""
TOOLS = """() => {
  document.body.style.margin = "0";
  window.theme = { dark: false, background: "#ffffff", foreground: "#111111", positive: "#e66101",
    negative: "#0571b0", neutral: "#b9b9b9", accent: "#2b8289" };
  window.events = [];
  window.host = (width = 400, height = 300) => {
    const host = document.createElement("div");
    Object.assign(host.style, { position: "relative", width: `${width}px`, height: `${height}px` });
    document.body.append(host);
    return host;
  };
  const note = (name) => (...said) => events.push([name, ...said]);
  window.listeners = Object.fromEntries(
    ["hover", "choose", "brush", "moved"].map((name) => [name, note(name)]));
  window.make = (kind, ...size) =>
    scene[kind](host(...size), listeners, { theme, reducedMotion: true, label: "a view" });
  window.cloud = (n) => {
    const positions = Float32Array.from({ length: 3 * n }, (_, i) => Math.sin(i * i + 0.3 * i));
    return { positions, colour: Float32Array.from({ length: n }, (_, i) => Math.cos(7 * i)) };
  };
  window.surface = { slice: { quadratic: new Float32Array([1, 0, 0, 0, 1, 0, 0, 0, 1]),
    linear: [0, 0, 0], constant: 0 }, level: 0.5, band: 0 };
  const next = () => new Promise((done) => requestAnimationFrame(done));
  window.frame = async () => { await next(); await next(); };
  // How many pixels of a view's canvas are not its background, or have the hue of points.
  window.inked = (canvas, hue = false) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) {
      const [r, g, b] = data.subarray(i, i + 3);
      count += hue ? Math.max(r, g, b) - Math.min(r, g, b) > 60 : r + g + b < 700;
    }
    return count;
  };
}"""


@pytest.fixture
def scene(
    context_of: Callable[..., object],
    visit: Callable[..., Page],
    harness: str,  # noqa: F811
) -> Callable[..., Page]:
    """``scene(script)`` opens the page after ``script`` has run in it."""

    def open_page(script: str = SPY, **options: object) -> Page:
        context = context_of(**options)
        context.add_init_script(script)  # type: ignore[attr-defined]
        page = visit(harness, ready=None, context=context)
        page.evaluate(TOOLS)
        return page

    return open_page


def test_forty_views_share_one_context_and_leave_nothing(scene: Callable[..., Page]) -> None:
    page = scene()
    left = page.evaluate("""async () => {
      const before = document.querySelectorAll("*").length;
      for (let round = 0; round < 4; round++) {
        const views = [];
        for (let i = 0; i < 10; i++) {
          const view = make(i % 2 ? "createMap" : "createCloud", 200, 150);
          if (i % 2) view.setPlaces(new Int16Array([0, 9000]), new Int16Array([0, 9000]));
          else (view.setCloud(cloud(50)), view.setSurface(surface));
          views.push(view);
        }
        await frame();
        for (const view of views) view.dispose();
        for (const host of [...document.querySelectorAll("body > div")]) {
          if (host.childElementCount > 0) throw new Error("a view has left elements in its host");
          host.remove();
        }
      }
      const nodes = document.querySelectorAll("*").length - before;
      return [nodes, contexts.length, contexts.some((context) => context.isContextLost())];
    }""")
    assert left == [0, 1, False]


def test_a_view_draws_only_when_something_has_changed(scene: Callable[..., Page]) -> None:
    page = scene()
    counts = page.evaluate("""async () => {
      const view = make("createCloud");
      view.setCloud(cloud(50));
      await frame(); await frame();
      const still = frames;
      await new Promise((done) => setTimeout(done, 150));
      const waited = frames;
      for (let i = 0; i < 5; i++) view.setSurface({ ...surface, level: 0.1 * i });
      await frame(); await frame();
      return [still > 0, waited - still, frames - waited];
    }""")
    assert counts == [True, 0, 1]


def test_a_cloud_may_have_another_number_of_points(scene: Callable[..., Page]) -> None:
    page = scene()
    inked = page.evaluate("""async () => {
      const view = make("createCloud");
      const canvas = document.querySelector("canvas");
      const seen = [];
      for (const n of [40, 4000, 25000, 3, 0]) {
        view.setCloud(n ? cloud(n) : null);
        view.setCurrent(Math.min(n, 2));
        await frame();
        seen.push(inked(canvas, true));
      }
      return seen;
    }""")
    forty, thousands, points, three, none = inked
    assert none == 0 < three < forty < thousands
    assert points > forty


def test_a_lost_context_is_said_and_comes_back(scene: Callable[..., Page]) -> None:
    page = scene()
    page.evaluate("""async () => {
      window.view = make("createCloud");
      view.setCloud(cloud(400));
      view.setSurface(surface);
      window.map = make("createMap");
      map.setPlaces(new Int16Array([0, 9000, -9000]), new Int16Array([0, 9000, 5000]));
      await frame();
      window.first = inked(document.querySelector("canvas"));
      window.loss = contexts[0].getExtension("WEBGL_lose_context");
      loss.loseContext();
    }""")
    message = page.get_by_text("has dropped this picture")
    message.first.wait_for()
    assert message.count() == 2
    again = page.evaluate("""async () => {
      view.setCloud(cloud(400));
      await frame();
      loss.restoreContext();
      await new Promise((done) => setTimeout(done, 200));
      await frame();
      return [inked(document.querySelector("canvas")) === first,
        inked(document.querySelectorAll("canvas")[1]) > 20];
    }""")
    assert again == [True, True]
    assert message.filter(visible=True).count() == 0


def test_without_webgl_it_says_so_and_the_flat_views_draw(scene: Callable[..., Page]) -> None:
    page = scene(NO_WEBGL)
    result = page.evaluate("""async () => {
      const refused = [];
      for (const kind of ["createCloud", "createMap"]) {
        try { make(kind); } catch (error) { refused.push(error.name); }
      }
      const left = document.querySelectorAll("canvas").length;
      const flat = make("createFlatCloud");
      flat.setCloud(cloud(300));
      await frame();
      const canvas = document.querySelector("canvas");
      const bare = inked(canvas);
      flat.setSurface(surface);
      await frame();
      const map = make("createFlatMap");
      map.setPlaces(new Int16Array([0, 9000, -9000]), new Int16Array([0, 9000, 5000]));
      await frame();
      const marks = inked(document.querySelectorAll("canvas")[1]);
      return [refused, left, inked(canvas) > bare + 100, marks > 20];
    }""")
    assert result == [["NoWebGL", "NoWebGL"], 0, True, True]


@pytest.mark.parametrize("kind", ["createCloud", "createFlatCloud"])
def test_the_hand_turns_zooms_points_and_brushes(scene: Callable[..., Page], kind: str) -> None:
    page = scene()
    page.evaluate(
        """async (kind) => {
          window.view = make(kind);
          view.setCloud({
            positions: new Float32Array(
              [0, 0, 0, 0.9, 0.5, 0.4, -0.8, -0.9, -0.6, 1, 1, 1, -1, -1, -1]),
            colour: new Float32Array([1, 1, -1, 1, -1]),
          });
          view.setCamera([35, 20, 4]);
          await frame();
        }""",
        kind,
    )
    assert page.evaluate("view.camera()") == [35, 20, 4]
    place = page.evaluate("[...view.project(new Float32Array([0.9, 0.5, 0.4]))]")
    assert page.evaluate("([x, y]) => view.pick(x + 5, y - 4)", place) == 1
    assert page.evaluate("view.pick(3, 3)") == -1
    page.mouse.move(place[0] + 2, place[1])
    page.mouse.down()
    page.mouse.up()
    assert page.evaluate("events.find(([name]) => name === 'hover')[1]") == 1
    assert page.evaluate("events.filter(([name]) => name === 'choose')") == [["choose", 1]]

    # With shift held nothing turns, and the points inside are told.
    middle = page.evaluate("[...view.project(new Float32Array([0, 0, 0]))]")
    left, right = sorted([middle[0], place[0]])
    top, bottom = sorted([middle[1], place[1]])
    page.keyboard.down("Shift")
    page.mouse.move(left - 6, top - 6)
    page.mouse.down()
    page.mouse.move(right + 6, bottom + 6, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    brushed = page.evaluate("events.find(([name]) => name === 'brush')[1]")
    assert {0, 1} <= set(brushed)
    assert 4 not in brushed
    assert page.evaluate("view.camera()") == [35, 20, 4]

    page.mouse.move(200, 250)
    page.mouse.down()
    page.mouse.move(250, 270, steps=4)
    page.mouse.up()
    assert page.evaluate("view.camera()") == [15, 28, 4]
    page.mouse.wheel(0, -100)
    page.wait_for_function("view.camera()[2] < 3.6")
    assert page.evaluate("events.findLast(([name]) => name === 'moved')[1]") == page.evaluate(
        "view.camera()"
    )
    page.keyboard.press("d")
    assert page.evaluate("view.camera()[0]") > 15
    distance = page.evaluate("view.camera()[2]")
    page.keyboard.press("w")
    assert page.evaluate("view.camera()[2]") < distance
    page.evaluate("view.face(2)")
    assert page.evaluate("view.camera().slice(0, 2)") == [-90, 90]


@pytest.mark.parametrize("kind", ["createMap", "createFlatMap"])
def test_the_map_picks_what_is_shown_and_zooms_about_the_pointer(
    scene: Callable[..., Page], kind: str
) -> None:
    page = scene()
    page.evaluate(
        """async (kind) => {
          window.map = make(kind);
          map.setPlaces(
            new Int16Array([-20000, 0, 20000, 20400]),
            new Int16Array([0, 15000, -15000, -15000]),
          );
          map.setSize(new Float32Array([4, 4, 8, 3]));
          map.setShown(new Uint8Array([1, 0, 1, 1]));
          await frame();
        }""",
        kind,
    )
    places = page.evaluate("[0, 1, 2, 3].map((i) => map.project(i))")
    picked = page.evaluate("(all) => all.map(([x, y]) => map.pick(x, y))", places)
    # A small mark upon a large one is the one in hand; what the filters leave out is not.
    assert picked == [0, -1, 2, 3]
    assert places[1][1] < places[0][1] < places[2][1]  # y upwards

    page.mouse.move(*places[0])
    page.mouse.wheel(0, -400)
    page.wait_for_function(
        "([x, y]) => Math.hypot(map.project(2)[0] - x, map.project(2)[1] - y) > 20",
        arg=places[2],
    )
    x, y = page.evaluate("map.project(0)")
    assert abs(x - places[0][0]) < 1 and abs(y - places[0][1]) < 1
    page.evaluate("map.fit()")
    page.mouse.click(*places[0])
    assert page.evaluate("events.findLast(([name]) => name === 'choose')") == ["choose", 0]
    page.keyboard.down("Shift")
    page.mouse.move(2, 2)
    page.mouse.down()
    page.mouse.move(398, 298, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert page.evaluate("events.findLast(([name]) => name === 'brush')[1]") == [0, 2, 3]


def test_a_picture_is_a_png_of_the_view(scene: Callable[..., Page]) -> None:
    page = scene(device_scale_factor=2)
    found = page.evaluate("""async () => {
      const view = make("createCloud");
      view.setCloud(cloud(100));
      view.setAxisLabels(["one", "two", "three"]);
      const blob = await view.image();
      const bitmap = await createImageBitmap(blob);
      const copy = new OffscreenCanvas(bitmap.width, bitmap.height);
      copy.getContext("2d").drawImage(bitmap, 0, 0);
      return [blob.type, bitmap.width, bitmap.height,
        inked(copy) > inked(document.querySelector("canvas")) + 100];
    }""")
    assert found == ["image/png", 800, 600, True]


def test_a_hostile_axis_name_stays_text(scene: Callable[..., Page]) -> None:
    page = scene()
    page.evaluate("""async () => {
      const view = make("createCloud");
      view.setAxisLabels(["<img src=x onerror=alert(1)>", "b", "c"]);
      await frame();
    }""")
    assert page.locator("img").count() == 0
    assert page.get_by_text("<img src=x onerror=alert(1)>").count() == 1
