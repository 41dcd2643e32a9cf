"""The end-to-end benchmark's arithmetic: times, the frontier, L0, and going on after a stop."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from quadric.activations.loader import ShuffledRows
from quadric.activations.rows import MemoryRows
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder, Metadata
from quadric.errors import QuadricError
from quadric.runs.data import Data

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import end_to_end
import end_to_end_plots as plots
from end_to_end_plots import Point, Result

CURVE = [Point(0, 0.0, 1.0), Point(10, 4.0, 0.6), Point(20, 10.0, 0.5), Point(30, 13.0, 0.55)]
D = 7


def result(name: str, error: float = 0.5, seconds: float = 1.0, **changes: Any) -> Result:
    given = Result(
        name,
        family="dense",
        d_sae=11,
        k=None,
        density_weight=0.0,
        optimizer="muon",
        lr=0.2,
        tokens=6,
        seconds=seconds,
        product_error=error,
        explained_variance=0.9,
        l0=11.0,
        effective_l0=4.0,
        dead=0.0,
        curve=[Point(0, 0.0, 1.0), Point(5, seconds, error)],
    )
    return dataclasses.replace(given, **changes)


def activations(rows: int = 60) -> Tensor:
    return torch.randn(rows, D, generator=torch.Generator().manual_seed(0)) + 0.5


def small_plan(**changes: Any) -> end_to_end.Plan:
    plan = end_to_end.Plan(
        text=128, steps=5, batch_size=6, eval_every=2, dense=(3, 4), sparse=11, ks=(2, 5),
        compared=(4, 5),
    )  # fmt: skip
    return dataclasses.replace(plan, **changes)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(2.0, 0.0), (1.0, 0.0), (0.8, 2.0), (0.6, 4.0), (0.575, 5.5), (0.5, 10.0), (0.49, None)],
)
def test_time_to_an_error_is_read_between_evaluations(error: float, seconds: float | None) -> None:
    found = plots.seconds_to(CURVE, error)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_a_curve_that_rises_again_had_come_down_before() -> None:
    curve = [Point(0, 0.0, 1.0), Point(1, 1.0, 0.4), Point(2, 2.0, 0.9), Point(3, 3.0, 0.2)]
    assert plots.seconds_to(curve, 0.7) == pytest.approx(0.5)
    assert plots.seconds_to(curve, 0.3) == pytest.approx(2 + 6 / 7)


def test_a_curve_leaves_the_time_of_evaluations_out() -> None:
    steps, evaluations, clock, lines = (
        [3.0, 1.0, 2.0, 2.0, 9.0, 2.0, 2.0],
        {2: 50.0, 5: 70.0},
        0.0,
        [],
    )
    for step, duration in enumerate(steps):
        clock += duration + evaluations.get(step, 0.0)
        line: dict[str, Any] = {"step": step, "seconds": clock, "mine/error": 0.99 - step / 100}
        if step in evaluations:
            line["mine/held_out_error"] = 0.8 - step / 100
        lines.append(line)
    assert plots.training_curve(lines, "mine") == [
        Point(0, 0.0, 0.99),
        Point(3, pytest.approx(6.0), 0.78),
        Point(6, pytest.approx(19.0), 0.75),
    ]


def test_a_log_of_evaluations_alone_has_no_curve() -> None:
    lines = [{"step": 0, "seconds": 1.0, "mine/error": 1.0, "mine/held_out_error": 1.0}]
    with pytest.raises(QuadricError, match="all 1 steps were evaluated: raise eval_every"):
        plots.training_curve(lines, "mine")


def test_the_frontier_is_what_nobody_beats() -> None:
    values = (0.1, 0.2, 0.3)
    results = [
        result(f"{error} {l0} {seconds}", error, seconds, effective_l0=l0)
        for error, l0, seconds in itertools.product(values, repeat=3)
        if round(10 * (error + l0 + seconds)) in (6, 7)
    ]
    # With sums of 6 and 7 tenths, exactly those of 7 that lie one step above one of 6 are beaten.
    sums = {each.name: sum(map(float, each.name.split())) for each in results}
    assert plots.frontier(results) == [name for name, total in sums.items() if total < 0.65]


def test_the_frontier_keeps_equals_and_reads_the_right_l0() -> None:
    twins = [result("a"), result("b")]
    assert plots.frontier(twins) == ["a", "b"]
    # Effective 4 for the dense one, not its 11 latents; exact 5 for the sparse one, not its 3.
    sparse = result("sparse", family="topk", k=5, density_weight=None, l0=5.0, effective_l0=3.0)
    assert plots.frontier([result("dense"), sparse]) == ["dense"]


def test_the_comparison_is_with_the_better_dense_one() -> None:
    topk = result("topk", 0.4, 8.0, family="topk", d_sae=99, k=5, density_weight=None)
    other = dataclasses.replace(topk, name="other", k=6, product_error=0.1)
    dense = [result("plain", 0.45), result("penalised", 0.4, 2.0, density_weight=0.1)]
    larger = result("larger", 0.1, d_sae=12)
    found = plots.comparison([larger, *dense, other, topk], (11, 5))
    assert found == {
        "topk": "topk",
        "dense": "penalised",
        "topk_error": 0.4,
        "dense_error": 0.4,
        "no_worse": True,
        "topk_seconds": 8.0,
        "dense_seconds": 2.0,
        "dense_error_after": pytest.approx(8.0),
    }
    assert "topk is no worse than penalised" in plots.sentence(found)
    worse = plots.comparison([*dense, dataclasses.replace(topk, product_error=0.41)], (11, 5))
    assert worse is not None and not worse["no_worse"]
    assert "topk is WORSE than penalised" in plots.sentence(worse)
    assert plots.comparison(dense, (11, 5)) is None


@pytest.mark.parametrize("k", [None, 3])
@torch.no_grad()
def test_latents_are_counted_over_pieces(k: int | None) -> None:
    config = AutoencoderConfig(D, d_sae=8, variant="vanilla" if k is None else "topk", k=k)
    model, x = BilinearAutoencoder(config), activations(10)
    model.transform.fit(x)
    model.left[1] = 0
    model.left[6] *= 1e-6
    found = end_to_end.latent_figures(model, x, rows=4)
    z = model.encode(x).double()
    exact = [sum(float(v) != 0 for v in row) for row in z]
    effective = [float(row.abs().sum() ** 2 / (row**2).sum()) for row in z]
    strength = sorted(float((z[:, j] ** 2).mean() ** 0.5) for j in range(8))
    assert found.l0 == pytest.approx(sum(exact) / 10) and found.l0 == (k or 7)
    assert found.effective_l0 == pytest.approx(sum(effective) / 10)
    assert found.dead == sum(each <= 0.01 * strength[3] for each in strength) / 8
    assert found.dead >= 2 / 8


@torch.no_grad()
def test_latents_are_dead_also_where_most_are() -> None:
    model, x = BilinearAutoencoder(AutoencoderConfig(D, d_sae=8)), activations(10)
    model.transform.fit(x)
    model.left[2:] = 0
    assert end_to_end.latent_figures(model, x).dead == 6 / 8


def test_the_mean_predictor_by_its_definition() -> None:
    source = ShuffledRows(MemoryRows(activations()), batch_size=6, seed=0, held_out_fraction=0.2)
    sample, x = source.sample(1000), source.held_out(1000)
    y, z = (
        torch.nn.functional.normalize((each - sample.mean(0)).double(), dim=1)
        for each in (sample, x)
    )
    moment = torch.stack([torch.outer(row, row) for row in y]).mean(0)
    errors = [float((torch.outer(row, row) - moment).square().sum()) for row in z]
    assert end_to_end.mean_predictor_error(source) == pytest.approx(sum(errors) / len(z), rel=1e-5)


def test_the_watch_stands_still_for_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]

    class Model:
        def product_error(self, x: Tensor) -> Tensor:
            clock[0] += 30.0
            return x.sum() / clock[0]

    monkeypatch.setattr(end_to_end.time, "perf_counter", lambda: clock[0])
    watch = end_to_end.Watch(torch.ones(2), every=2, last=5)
    for step in range(6):
        watch(step, Model())  # type: ignore[arg-type]
        clock[0] += 1 + step
    assert [(point.step, point.seconds) for point in watch.points] == [
        (0, 0.0), (2, 3.0), (4, 10.0), (5, 15.0),
    ]  # fmt: skip
    assert watch.points[0].error == pytest.approx(2 / 130)


def test_members_put_the_compared_pair_first_and_weigh_density_both_ways() -> None:
    members = small_plan().members()
    names = [each.name for each in members]
    assert names == [
        "dense-4", "topk-5", "dense-4-penalised", "dense-3", "topk-2", "sae-2", "sae-5",
    ]  # fmt: skip
    assert [each.density_weight for each in members] == [0.0, None, 0.1, 0.0, None, None, None]
    assert [each.d_sae for each in members] == [4, 11, 4, 3, 11, 11, 11]
    chosen = end_to_end.chosen(members, ["sae-2", "dense-4"])
    assert [each.name for each in chosen] == ["dense-4", "sae-2"]
    with pytest.raises(QuadricError, match="there is no 'topk-3', only dense-4, topk-5"):
        end_to_end.chosen(members, ["topk-3"])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("dense-4", {"d_sae": 4, "density_weight": 0.0}),
        ("dense-4-penalised", {"d_sae": 4, "density_weight": 0.1}),
        ("topk-5", {"d_sae": 11, "variant": "topk", "k": 5}),
    ],
)
def test_members_are_trained_as_they_are_called(
    name: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    asked: list[Any] = []

    def record(_: object, configs: Any, training: Any, __: Path) -> None:
        asked.extend([configs, training])
        raise Stop

    monkeypatch.setattr(end_to_end, "train", record)
    plan = small_plan()
    (member,) = end_to_end.chosen(plan.members(), [name])
    with pytest.raises(Stop):
        end_to_end.train_member(member, plan, opened().source)
    configs, training = asked
    assert configs == {name: AutoencoderConfig(D, **changes)}
    rate = ("muon", 0.3) if name.startswith("dense") else ("adamw", 0.01)
    assert (training.optimizer, training.lr) == rate
    assert (training.steps, training.batch_size, training.eval_every) == (5, 6, 2)


class Recorded(ShuffledRows):
    """Remembers the batches it gave."""

    given: list[Tensor]

    def next_batch(self) -> Tensor:
        batch = super().next_batch()
        self.given.append(batch)
        return batch


def opened() -> Data:
    source = Recorded(MemoryRows(activations()), batch_size=6, seed=0, held_out_fraction=0.2)
    source.given = []
    return Data(source, None, Metadata(model_name="small"))


def test_narrow_products_train_the_sae_as_well_as_wide_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = small_plan(steps=60)
    (member,) = end_to_end.chosen(plan.members(), ["sae-2"])
    errors = {}
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(end_to_end, "fastest_product_dtype", lambda _, dtype=dtype: dtype)
        _, curve = end_to_end.train_member(member, plan, opened().source)
        errors[dtype] = [point.error for point in curve]
    wide, narrow = errors.values()
    assert wide != narrow  # so the type was used
    assert narrow[0] == wide[0]  # and evaluations are not affected by it
    assert wide[-1] < 0.8 * wide[0]
    assert narrow[-1] == pytest.approx(wide[-1], rel=0.02)


def test_a_stopped_run_goes_on_and_all_see_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, data = small_plan(), opened()
    members = end_to_end.chosen(plan.members(), ["dense-4", "topk-5", "sae-2"])
    console = end_to_end.Console(quiet=True)
    first = list(end_to_end.measured(members[:1], plan, data, tmp_path, console))
    data = opened()
    results = list(end_to_end.measured(members, plan, data, tmp_path, console))
    assert results[0] == first[0]
    assert isinstance(data.source, Recorded)
    given = data.source.given
    assert len(given) == 2 * plan.steps  # topk and the SAE; the dense one was there
    for own, other in zip(given[:5], given[5:], strict=True):
        assert torch.equal(own, other)
    for each in results:
        assert [point.step for point in each.curve] == [0, 2, 4, 5]
        times = [point.seconds for point in each.curve]
        assert times == sorted(times) and each.seconds == times[-1] > 0
        assert each.tokens == 30
        assert each.product_error == pytest.approx(each.curve[-1].error, abs=1e-5)
    assert [(each.family, each.optimizer, each.l0) for each in results] == [
        ("dense", "muon", 4.0), ("topk", "adamw", 5.0), ("TopK SAE", "adamw", results[2].l0),
    ]  # fmt: skip
    assert 0 < results[2].l0 <= 2

    def never(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(end_to_end, "train_member", never)
    assert list(end_to_end.measured(members, plan, data, tmp_path, console)) == results
    with pytest.raises(QuadricError, match=r"dense-4.json was measured with steps 5, not 6"):
        list(end_to_end.measured(members, small_plan(steps=6), data, tmp_path, console))


def test_parts_stay_until_all_are_done(tmp_path: Path) -> None:
    numpy.save(tmp_path / "x.npy", activations().numpy())
    plan, console, out = small_plan(steps=2), end_to_end.Console(quiet=True), tmp_path / "out"
    members = plan.members()
    end_to_end.run(plan, members[:2], str(tmp_path / "x.npy"), out, console)
    first = {path.stem: path.read_text() for path in out.glob("*-*.json")}
    assert set(first) == {"dense-4", "topk-5"}
    end_to_end.run(plan, members, str(tmp_path / "x.npy"), out, console)
    assert {path.name for path in out.iterdir()} == {"results.json", "frontier.png"}
    written = json.loads((out / "results.json").read_text())
    assert [each["name"] for each in written["results"]] == [
        "dense-3", "dense-4", "dense-4-penalised", "topk-2", "topk-5", "sae-2", "sae-5",
    ]  # fmt: skip
    for name, text in first.items():
        assert json.loads(text)["result"] in written["results"], name
    assert written["comparison"]["topk"] == "topk-5"
    assert set(written["seconds_to"]) == {each.name for each in members}


def test_one_that_diverges_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(member: end_to_end.Member, *_: Any) -> Any:
        if member.name == "dense-4":
            raise QuadricError("autoencoder 'dense-4' diverged")
        model = BilinearAutoencoder(AutoencoderConfig(D, d_sae=3))
        return model, [Point(0, 0.0, 1.0), Point(2, 1.0, 0.5)]

    monkeypatch.setattr(end_to_end, "train_member", train)
    numpy.save(tmp_path / "x.npy", activations().numpy())
    plan, out = small_plan(steps=2), tmp_path / "out"
    with pytest.raises(QuadricError, match="no result of dense-4: see above"):
        end_to_end.run(
            plan, plan.members(), str(tmp_path / "x.npy"), out, end_to_end.Console(quiet=True)
        )
    written = json.loads((out / "results.json").read_text())
    assert len(written["results"]) == 6 and written["comparison"]["dense"] == "dense-4-penalised"
    assert len(list(out.glob("*-*.json"))) == 6


def test_what_is_written_can_be_read_by_others(tmp_path: Path) -> None:
    results = [
        result("dense"),
        result("sparse", 0.4, 3.0, family="topk", k=5, density_weight=None, l0=5.0),
        result("sae", 0.7, 2.0, family="TopK SAE", k=5, density_weight=None, l0=5.0),
    ]
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"asked": {"steps": 5}, "result": dataclasses.asdict(results[1])}))
    assert end_to_end.read_result(path, {"steps": 5}) == results[1]
    figure = plots.picture(results)
    left, right = figure.axes
    ends = {tuple(line.get_xydata()[-1]) for line in right.lines}
    assert {(each.seconds, each.product_error) for each in results} <= ends
    drawn = {tuple(point) for line in left.lines for point in line.get_xydata()}
    assert drawn == {(4.0, 0.5), (5.0, 0.4), (5.0, 0.7)}
