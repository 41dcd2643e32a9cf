"""Error, L0 and time of dense and topk autoencoders and of a TopK SAE, trained on equal tokens.

    python benchmarks/end_to_end.py [--steps 100] [--only NAME …] [--activations DIR] [--out DIR]
    python benchmarks/end_to_end.py --quick      # small ones on little text, in about a minute

All read the same activations in the same order: SmolLM2-135M, hidden state 12, on news and
speeches, harvested if they are not in the cache. Every run is written to the folder --out when it
is done, so that the same command goes on with those that are missing. When none is, results.json
holds them all, and the next command starts anew; the picture is frontier.png.

Everybody is compared by the product error on held-out activations; for the TopK SAE, whose aim is x
and not xxᵀ, by that of ŷŷᵀ, with its own figure, explained variance, beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

import end_to_end_plots as plots
from end_to_end_plots import Point, Result
from quadric.activations.config import DataConfig, HarvestConfig
from quadric.activations.loader import BatchSource
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.autoencoders.config import DEFAULT_DENSITY_WEIGHT
from quadric.baselines import TopKAutoencoder, train_topk
from quadric.errors import Interrupted, QuadricError
from quadric.evaluation import product_metrics, reconstruction_metrics, second_moment
from quadric.evaluation.product import SILENT
from quadric.kernels import fastest_product_dtype
from quadric.report import figures
from quadric.runs.data import Data, open_data
from quadric.storage import make_folder, read_json, write_json
from quadric.training import TrainingConfig, log, train

Model = BilinearAutoencoder | TopKAutoencoder

RATES = {"dense": ("muon", 0.3), "topk": ("adamw", 0.01), "TopK SAE": ("adamw", 0.01)}
"""Optimiser and peak rate of a family, each about the best of a few runs of 60 steps."""
EVAL_ROWS = 2048
"""Held-out activations behind every error."""
DEAD_ROWS = 20_000
"""Held-out activations on which latents are looked for that never act."""
STATISTICS_ROWS = 65_536
"""Training activations behind the mean predictor."""


@dataclass(frozen=True)
class Member:
    """One autoencoder to train."""

    name: str
    family: str
    d_sae: int
    k: int | None = None
    density_weight: float | None = None


@dataclass(frozen=True)
class Plan:
    """What one command measures."""

    text: int
    """Tokens that the language model reads."""
    steps: int
    batch_size: int
    eval_every: int
    dense: tuple[int, ...]
    """Latents of the dense autoencoders."""
    sparse: int
    """Latents of the others."""
    ks: tuple[int, ...]
    compared: tuple[int, int]
    """A dense size and a k: the pair whose errors are set against each other."""

    def members(self) -> list[Member]:
        """The compared pair first, then by family."""
        size, k = self.compared
        dense = [Member(f"dense-{n}", "dense", n, density_weight=0.0) for n in self.dense]
        penalised = Member(
            f"dense-{size}-penalised", "dense", size, density_weight=DEFAULT_DENSITY_WEIGHT
        )
        topk = [Member(f"topk-{each}", "topk", self.sparse, each) for each in self.ks]
        sae = [Member(f"sae-{each}", "TopK SAE", self.sparse, each) for each in self.ks]
        pair = [each for each in dense + topk if each.d_sae == size or each.k == k]
        rest = [each for each in dense + topk if each not in pair]
        return [*pair, penalised, *rest, *sae]


FULL = Plan(
    text=400_000, steps=100, batch_size=2048, eval_every=10, dense=(1024, 2048, 4096),
    sparse=16_384, ks=(16, 32, 64, 128), compared=(2048, 64),
)  # fmt: skip
QUICK = Plan(
    text=50_000, steps=40, batch_size=1024, eval_every=5, dense=(256, 512), sparse=2048,
    ks=(16, 32), compared=(512, 32),
)  # fmt: skip


def train_member(member: Member, plan: Plan, source: BatchSource) -> tuple[Model, list[Point]]:
    """Train one, and its curve."""
    optimizer, lr = RATES[member.family]
    if member.family == "TopK SAE":
        assert member.k is not None
        watch = Watch(source.held_out(EVAL_ROWS), plan.eval_every, plan.steps)
        dtype = fastest_product_dtype("cpu")
        # The types that the others multiply in. Without its cache: that would keep the first
        # step's weights for as long as the context lasts.
        with torch.autocast("cpu", dtype, dtype != torch.float32, cache_enabled=False):
            sae = train_topk(source, member.d_sae, member.k, steps=plan.steps, lr=lr, watch=watch)
        return sae, watch.points
    config = AutoencoderConfig(
        d_in=source.d_in,
        d_sae=member.d_sae,
        variant="vanilla" if member.k is None else "topk",
        k=member.k,
        density_weight=member.density_weight,
    )
    training = TrainingConfig(
        steps=plan.steps,
        batch_size=plan.batch_size,
        lr=lr,
        optimizer="muon" if optimizer == "muon" else "adamw",
        eval_every=plan.eval_every,
        eval_rows=EVAL_ROWS,
        device="cpu",
    )
    with tempfile.TemporaryDirectory() as folder:
        model = train(source, {member.name: config}, training, Path(folder))[member.name]
        lines = log.read(Path(folder) / log.LOG)
    return model, plots.training_curve(lines, member.name)


class Watch:
    """The curve of a TopK SAE while it trains, on a clock that stands still for evaluations."""

    def __init__(self, x: torch.Tensor, every: int, last: int) -> None:
        """``x`` are held-out activations, looked at every so many steps and after the last."""
        self.x, self.every, self.last = x, every, last
        self.points: list[Point] = []
        self.standing = 0.0

    def __call__(self, step: int, model: TopKAutoencoder) -> None:
        """Evaluate, if it is time to."""
        now = time.perf_counter()
        if step == 0:
            self.standing = now
        if step % self.every == 0 or step == self.last:
            with torch.autocast("cpu", enabled=False):
                error = float(model.product_error(self.x).mean())
            self.points.append(Point(step, now - self.standing, error))
            self.standing += time.perf_counter() - now


def evaluated(
    member: Member, plan: Plan, source: BatchSource, model: Model, curve: list[Point]
) -> Result:
    """Everything that is told of a trained one, on held-out activations."""
    x = source.held_out(EVAL_ROWS)
    optimizer, lr = RATES[member.family]
    latents = latent_figures(model, source.held_out(DEAD_ROWS))
    return Result(
        **asdict(member),
        optimizer=optimizer,
        lr=lr,
        tokens=plan.steps * source.batch_size,
        seconds=curve[-1].seconds,
        product_error=float(model.product_error(x).mean()),
        explained_variance=model.explained_variance(x)
        if isinstance(model, TopKAutoencoder)
        else reconstruction_metrics(model, x).explained_variance,
        l0=latents.l0,
        effective_l0=latents.effective_l0,
        dead=latents.dead,
        curve=curve,
    )


class LatentFigures(NamedTuple):
    """As in :class:`Result`."""

    l0: float
    effective_l0: float
    dead: float


@torch.no_grad()
def latent_figures(model: Model, x: torch.Tensor, rows: int = 1024) -> LatentFigures:
    """How many latents act on an activation, exactly and in effect, and how many never do.

    Args:
        model: the autoencoder.
        x: activations.
        rows: activations whose latents are held at a time.
    """
    count = effective = 0.0
    squares = torch.zeros(model.d_sae, dtype=torch.float64)
    for some in torch.split(x, rows):
        latents = model.encode(some)
        energy = latents.square()
        count += float((latents != 0).sum())
        total = energy.sum(-1).clamp_min(torch.finfo(energy.dtype).tiny)
        effective += float((latents.abs().sum(-1).square() / total).sum())
        squares += energy.sum(0)
    strength = squares.sqrt()
    # At most, not below: where half of them are silent the median itself is zero.
    dead = float((strength <= SILENT * strength.median()).double().mean())
    return LatentFigures(count / len(x), effective / len(x), dead)


def mean_predictor_error(source: BatchSource) -> float:
    """The product error of always answering the mean of X over the training data."""
    sample = source.sample(STATISTICS_ROWS)
    probe = BilinearAutoencoder(AutoencoderConfig(d_in=source.d_in, d_sae=1))
    probe.transform.fit(sample)
    moment = second_moment(probe, sample)
    return product_metrics(probe, source.held_out(EVAL_ROWS), moment).product_error_mean_predictor


def measured(
    members: list[Member], plan: Plan, data: Data, out: Path, console: Console
) -> Iterator[Result]:
    """The result of every member: read if it is there, else trained and written.

    One that cannot be trained is reported and left out.

    Raises:
        QuadricError: a result that is there is of another command.
    """
    start = data.source.state_dict()
    for member in members:
        optimizer, lr = RATES[member.family]
        asked = {
            **asdict(member),
            "optimizer": optimizer,
            "lr": lr,
            "steps": plan.steps,
            "batch_size": data.source.batch_size,
            "threads": torch.get_num_threads(),
            "data": asdict(data.metadata),
        }
        path = part(out, member)
        if path.exists():
            yield read_result(path, asked)
            continue
        console.print(f"{member.name}: training {plan.steps} steps", highlight=False)
        data.source.load_state_dict(start)
        try:
            model, curve = train_member(member, plan, data.source)
        except Interrupted:
            raise
        except QuadricError as error:  # it diverged; the others are still worth their time
            console.print(f"{member.name}: {error}", style="red", highlight=False, markup=False)
            continue
        result = evaluated(member, plan, data.source, model, curve)
        write_json(path, {"asked": asked, "result": asdict(result)})
        yield result


def part(out: Path, member: Member) -> Path:
    """The file of one result."""
    return out / f"{member.name}.json"


def read_result(path: Path, asked: Mapping[str, Any]) -> Result:
    """A result that an earlier command left.

    Raises:
        QuadricError: that command asked for something else.
    """
    found = read_json(path)
    for name, value in asked.items():
        if found["asked"].get(name) != value:
            raise QuadricError(
                f"{path} was measured with {name} {found['asked'].get(name)!r}, not {value!r}: "
                "remove it or choose another --out"
            )
    fields = found["result"]
    return Result(**{**fields, "curve": [Point(*point) for point in fields["curve"]]})


def chosen(members: list[Member], names: list[str] | None) -> list[Member]:
    """The members of these names, all when None.

    Raises:
        QuadricError: there is none of some name.
    """
    known = {each.name: each for each in members}
    for name in names or []:
        if name not in known:
            raise QuadricError(f"there is no {name!r}, only {', '.join(known)}")
    return [each for each in members if names is None or each.name in names]


def main() -> None:
    """Train what is missing, then print the tables and write results.json and frontier.png."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, help="of each run, one batch of 2,048 a step")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="train these alone")
    parser.add_argument("--quick", action="store_true", help="small ones, in about a minute")
    parser.add_argument("--activations", help="read these instead of harvesting")
    parser.add_argument("--out", type=Path, help="folder of the results (end_to_end[_quick])")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    plan = QUICK if options.quick else FULL
    if options.steps:
        plan = Plan(**{**vars(plan), "steps": options.steps})
    out = make_folder(options.out or Path("end_to_end_quick" if options.quick else "end_to_end"))
    try:
        run(plan, chosen(plan.members(), options.only), options.activations, out, console)
    except (Interrupted, KeyboardInterrupt):
        console.print("stopped: the same command goes on after the last finished run")
        sys.exit(130)
    except QuadricError as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False)
        sys.exit(1)


def run(
    plan: Plan, members: list[Member], activations: str | None, out: Path, console: Console
) -> None:
    """Open the data, measure the members, and tell."""
    data = open_data(
        DataConfig(activations=activations),
        HarvestConfig(tokens=plan.text),
        batch_size=plan.batch_size,
        seed=0,
        console=console,
    )
    results = sorted(measured(members, plan, data, out, console), key=lambda each: each.place)
    missing = [each.name for each in members if each.name not in {r.name for r in results}]
    if results:
        tell(results, plan, data, out, console)
    if missing:
        raise QuadricError(f"no result of {', '.join(missing)}: see above")
    if len(members) == len(plan.members()):
        for member in members:
            part(out, member).unlink()


def tell(results: list[Result], plan: Plan, data: Data, out: Path, console: Console) -> None:
    """Print the tables, draw the picture, and write everything down."""
    mean_predictor = mean_predictor_error(data.source)
    console.print(plots.results_table(results, mean_predictor))
    console.print(plots.times_table(results))
    found = plots.comparison(results, plan.compared)
    if found is not None:
        console.print(plots.sentence(found), highlight=False)
    figures.save(plots.picture(results), out / "frontier.png")
    write_json(
        out / "results.json",
        {
            "steps": plan.steps,
            "batch_size": data.source.batch_size,
            "threads": torch.get_num_threads(),
            "data": asdict(data.metadata),
            "mean_predictor_error": mean_predictor,
            "comparison": found,
            "frontier": plots.frontier(results),
            "seconds_to": {
                each.name: {f"{e:g}": plots.seconds_to(each.curve, e) for e in plots.ERRORS}
                for each in results
            },
            "results": [asdict(each) for each in results],
        },
    )


if __name__ == "__main__":
    main()
