"""One page of all benchmarks: for each its command, pictures and tables, from the JSON they wrote.

The page opens from disk and loads nothing: pictures are SVG in its text.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

import end_to_end_plots
import plots
from quadric.storage import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
MIB = 2**20


@dataclass(frozen=True)
class Part:
    """A picture with its table; or a table alone."""

    caption: str
    headings: list[str]
    rows: list[list[str]]
    """Cells, of which the first names the row."""
    image: str = ""
    """An SVG in base 64."""


@dataclass(frozen=True)
class Section:
    """One benchmark."""

    title: str
    command: str
    circumstances: str
    """When, for how long, and on what."""
    sentences: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)


def write(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the page.

    Args:
        path: where.
        entries: by the benchmark's name, what run.py keeps of it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [section(name, entry) for name, entry in entries.items()]
    write_text(path, environment.get_template("page.html.jinja").render(sections=sections))


def section(name: str, entry: Mapping[str, Any]) -> Section:
    """One benchmark as the page shows it."""
    title, parts = SECTIONS[name]
    machine = entry["machine"]
    rates = ", ".join(f"{kind} {rate:,.0f}" for kind, rate in machine["matmul_gigaflops"].items())
    circumstances = (
        f"{entry['date']}, {entry['seconds']:,.0f} s · {machine['processor']}, "
        f"{machine['cores']} cores, {machine['threads']} threads, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB · torch {machine['torch']} · "
        f"matrix products, GFLOP/s: {rates}"
    )
    if "failed" in entry:
        return Section(title, entry["command"], circumstances, [f"It failed: {entry['failed']}."])
    results = entry["results"]
    sentences = []
    if name == "train_step":
        named = (f"{package} {version}" for package, version in sorted(results["versions"].items()))
        sentences = [", ".join(named) + ".", *results["left_out"]]
    elif name == "scaling":
        sentences = [f"{text[0].upper()}{text[1:]}." for text in results["differences"]]
    elif name == "end_to_end" and results["comparison"]:
        sentences = [end_to_end_plots.sentence(results["comparison"]) + "."]
    return Section(title, entry["command"], circumstances, sentences, list(parts(results)))


def kernel(results: Mapping[str, Any]) -> Iterator[Part]:
    """Time, rate and memory of the dense energy."""
    caption = (
        f"The dense energy with its gradients, {results['samples']:,} samples of width "
        f"{results['d']}; rates and ratios are medians of {results['repeats']} rounds. Flops as "
        "each way takes them."
    )
    headings = ["", "n", "best, ms", "median, ms", "GFLOP/s", "of matmul rate", "vs tiling"]
    rows = [
        [
            row["name"],
            f"{row['n']:,}",
            f"{row['best'] * 1e3:,.0f}",
            f"{row['median'] * 1e3:,.0f}",
            f"{row['gigaflops']:,.0f}",
            f"{row['matmul_share']:.0%}",
            f"{row['speedup']:.2f}×",
            f"{row['extra_bytes'] / MIB:,.0f}",
            f"{row['gradient_error']:.0e}",
        ]
        for result in results["results"]
        for row in result["rows"]
    ]
    yield Part(
        caption, [*headings, "memory, MiB", "gradient error"], rows, svg(plots.kernel(results))
    )


def train_step(results: Mapping[str, Any]) -> Iterator[Part]:
    """Whole training steps, a picture for each dictionary size."""
    for result in results["results"]:
        rows = result["rows"]
        references = list(dict.fromkeys(name for row in rows for name in row["speedups"]))
        caption = (
            f"A whole training step at d_sae = {result['d_sae']:,}: d_in {results['d_in']}, "
            f"{results['batch']:,} tokens, k = {results['k']}; median of {results['rounds']} "
            "rounds. Orange: quadric, dense; blue: quadric, topk; grey: others."
        )
        headings = ["", "median, ms", "best, ms", "tokens/s", "memory, MiB"]
        yield Part(
            caption,
            [*headings, *(f"speed vs {name}" for name in references)],
            [
                [
                    row["name"],
                    f"{row['median'] * 1e3:,.0f}",
                    f"{row['best'] * 1e3:,.0f}",
                    f"{row['tokens_per_second']:,.0f}",
                    f"{row['peak_bytes'] / MIB:,.0f}",
                    *(
                        f"{row['speedups'][name]:.2f}×" if name in row["speedups"] else ""
                        for name in references
                    ),
                ]
                for row in rows
            ],
            svg(plots.train_step(result)),
        )


def scaling(results: Mapping[str, Any]) -> Iterator[Part]:
    """Costs against each factor, a picture for each loss."""
    headings = ["", "n", "N", "d", "k", "best, ms", "median, ms", "memory, MiB", "predicted, MiB"]
    for loss in dict.fromkeys(sweep["loss"] for sweep in results["results"]):
        sweeps = [sweep for sweep in results["results"] if sweep["loss"] == loss]
        rows = [
            [
                f"against {sweep['factor']}",
                *(f"{point[name]:,}" for name in ("n", "N", "d")),
                f"{point['k']:,}" if point["k"] else "all",
                f"{point['best'] * 1e3:,.0f}",
                f"{point['median'] * 1e3:,.0f}",
                f"{point['extra_bytes'] / MIB:,.0f}",
                f"{point['predicted_bytes'] / MIB:,.0f}",
            ]
            for sweep in sweeps
            for point in sweep["points"]
        ]
        caption = (
            f"The {loss} loss, forward and backward, float32: time above, memory below, against "
            "one factor at a time. Exponents are those of the least-squares lines; the predicted "
            "cost bends where it has several terms."
        )
        yield Part(caption, headings, rows, svg(plots.scaling(sweeps)))
    laws = [
        [
            f"{sweep['loss']}, {cost} against {sweep['factor']}",
            f"{pair['measured']['exponent']:.2f}",
            f"{pair['predicted']['exponent']:.2f}",
            f"{pair['measured']['deviation']:.0%}",
            f"{pair['measured']['end']:.2f}",
            f"{pair['predicted']['end']:.2f}",
        ]
        for sweep in results["results"]
        for cost, pair in sweep["laws"].items()
    ]
    caption = (
        "All exponents. Deviation: root mean square of the points about the line. At the end: "
        "between the last two points alone."
    )
    headings = ["", "measured", "predicted", "deviation", "at the end", "predicted there"]
    yield Part(caption, headings, laws)


def loop(results: Mapping[str, Any]) -> Iterator[Part]:
    """Where a training run's time goes."""
    caption = (
        f"A step of training on {results['samples']:,} rows of width {results['d']}: the kernel "
        "with its gradients, the rest of the loss, the optimiser's update, and all else. The "
        "energy over pairs of atoms is a part of the kernel."
    )
    parts = results["parts"]
    rows = [
        [
            f"{row['variant']}, {row['optimizer']}",
            f"{row['n']:,}",
            f"{row['step'] * 1e3:,.0f}",
            *(f"{row[part] / row['step']:.1%}" for part in (*parts, "energy")),
        ]
        for row in results["rows"]
    ]
    headings = ["", "n", "step, ms", *parts, "energy"]
    yield Part(caption, headings, rows, svg(plots.loop(results)))


def end_to_end(results: Mapping[str, Any]) -> Iterator[Part]:
    """Error, L0 and time of trained autoencoders."""
    found = [
        end_to_end_plots.Result(
            **{**each, "curve": [end_to_end_plots.Point(*point) for point in each["curve"]]}
        )
        for each in results["results"]
    ]
    caption = (
        f"Held-out product error against L0 and against training time, {results['steps']} steps of "
        f"{results['batch_size']:,} tokens each; the mean predictor's error is "
        f"{results['mean_predictor_error']:.3f}."
    )
    headings = ["", "d_sae", "error", "L0", "explained variance", "dead", "s", "tokens/s"]
    rows = [
        [
            f"{each.family}, {each.size}",
            f"{each.d_sae:,}",
            f"{each.product_error:.3f}",
            f"{each.used:,.0f}",
            f"{each.explained_variance:.3f}",
            f"{each.dead:.1%}",
            f"{each.seconds:,.0f}",
            f"{each.tokens / each.seconds:,.0f}",
        ]
        for each in found
    ]
    yield Part(caption, headings, rows, svg(end_to_end_plots.picture(found)))


def tables(results: Any, name: str = "") -> Iterator[Part]:
    """Every list of like objects as a table, whatever the benchmark."""
    if isinstance(results, Mapping):
        for key, value in results.items():
            yield from tables(value, f"{name} {key}".strip().replace("_", " "))
    elif isinstance(results, list) and results and all(isinstance(r, Mapping) for r in results):
        plain = [
            key for key, value in results[0].items() if isinstance(value, str | int | float | None)
        ]
        if plain:
            rows = [[cell(result.get(key)) for key in plain] for result in results]
            yield Part(name, [key.replace("_", " ") for key in plain], rows)
        for result in results:
            yield from tables({k: v for k, v in result.items() if k not in plain}, name)


def cell(value: object) -> str:
    """A number or a word, short."""
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def svg(figure: Figure) -> str:
    """A figure as an SVG in base 64."""
    text = io.BytesIO()
    figure.savefig(text, format="svg", bbox_inches="tight")
    return base64.b64encode(text.getvalue()).decode()


SECTIONS: dict[str, tuple[str, Callable[[Mapping[str, Any]], Iterator[Part]]]] = {
    "kernel": ("The kernel", kernel),
    "train_step": ("Whole training steps, beside other packages", train_step),
    "scaling": ("Growth with the sizes", scaling),
    "loop": ("Where a training run's time goes", loop),
    "end_to_end": ("Time to an error", end_to_end),
    "gpu": ("On a GPU", tables),
}
