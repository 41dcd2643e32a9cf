"""Checkpoints of any models: tied weights, what travels beside them, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from quadric import QuadricError
from quadric.training import checkpoint
from quadric.training.checkpoint import Member, Progress


class Tied(nn.Module):
    """An embedding that is also the head, a gain, and a buffer of each kind."""

    def __init__(self, rows: int = 5, *, tied: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, 3)
        self.head = nn.Linear(3, rows, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        self.gain = nn.Parameter(torch.randn(3))
        self.register_buffer("kept", torch.randn(2))
        self.register_buffer("none", torch.zeros(0))
        self.register_buffer("passing", torch.randn(2), persistent=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.embedding(ids) * self.gain)
        return found


def member(name: str = "one", seed: int = 0, steps: int = 0, **changes: Any) -> Member:
    """A model with its optimiser after some steps."""
    torch.manual_seed(seed)
    model = Tied(**changes)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": [model.gain]}]
    found = Member(name, model, torch.optim.AdamW(groups, lr=0.1))
    for step in range(steps):
        advance(found, step)
    return found


def advance(one: Member, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(5, (4,), generator=generator)
    one.optimizer.zero_grad()
    nn.functional.cross_entropy(one.model(ids), ids.roll(1)).backward()
    one.optimizer.step()


def same(left: nn.Module, right: nn.Module) -> bool:
    one, two = left.state_dict(), right.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


PROGRESS = Progress(7, {"row": 3}, 1.5)


@pytest.mark.parametrize("tied", [True, False])
def test_everything_comes_back(tied: bool, tmp_path: Path) -> None:
    one, two = member(steps=3, tied=tied), member("two", 1, steps=1)
    torch.manual_seed(11)
    extra = {"dtype": "float32", "nested": {"numbers": [1, 2.5]}, "none": None}
    checkpoint.save(tmp_path, PROGRESS, [one, two], extra)
    expected = torch.rand(3)
    saved = [copy.deepcopy(each.model) for each in (one, two)]
    others = [member(seed=8, steps=2, tied=tied), member("two", 9)]
    newest = checkpoint.newest(tmp_path)
    assert newest is not None and newest.name == "step-00000007"
    assert checkpoint.load(newest, others) == (PROGRESS, extra)
    assert torch.equal(torch.rand(3), expected)  # the random state too
    for other, model in zip(others, saved, strict=True):
        assert same(other.model, model)
        assert not torch.equal(other.model.passing, model.passing)
    # The optimisers' states came along: both go on alike.
    for step in (3, 4):
        advance(one, step)
        advance(others[0], step)
    assert same(others[0].model, one.model)
    assert (others[0].model.head.weight is others[0].model.embedding.weight) == tied


def test_tied_weights_are_written_once(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, PROGRESS, [member(steps=1)])
    tensors = load_file(tmp_path / "checkpoint/step-00000007/one.safetensors")
    assert sorted(name for name in tensors if name.startswith("model.")) == [
        "model.embedding.weight", "model.gain", "model.kept", "model.none",
    ]  # fmt: skip
    other = member(seed=4)
    progress, extra = checkpoint.load(checkpoint.newest(tmp_path), [other])  # type: ignore[arg-type]
    assert extra == {} and progress == PROGRESS
    assert torch.equal(other.model.head.weight, tensors["model.embedding.weight"])


def test_the_newest_replaces_the_older(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None
    torn = tmp_path / "checkpoint/.step-00000099.tmp"
    torn.mkdir(parents=True)
    assert checkpoint.newest(tmp_path) is None
    for step in (9, 10, 100_000_000):
        checkpoint.save(tmp_path, PROGRESS._replace(step=step), [member()])
        newest = checkpoint.newest(tmp_path)
        assert newest is not None and int(newest.name.removeprefix("step-")) == step
        assert list(newest.parent.iterdir()) == [newest]
    checkpoint.save(tmp_path, PROGRESS._replace(step=100_000_000), [member(seed=3)])
    other = member(seed=4)
    checkpoint.load(checkpoint.newest(tmp_path), [other])  # type: ignore[arg-type]
    assert same(other.model, member(seed=3).model)
    checkpoint.remove(tmp_path)
    assert checkpoint.newest(tmp_path) is None
    checkpoint.remove(tmp_path)


def saved(folder: Path) -> Path:
    checkpoint.save(folder, PROGRESS, [member(steps=1)], {"dtype": "float32"})
    found = checkpoint.newest(folder)
    assert found is not None
    return found


def test_models_that_are_others(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with pytest.raises(QuadricError, match=r"step-00000007 holds one, not another$"):
        checkpoint.load(path, [member("another")])
    with pytest.raises(QuadricError, match=r"holds one, not one, two$"):
        checkpoint.load(path, [member(), member("two")])
    for changes in ({"rows": 6}, {"tied": False}):
        other = member(seed=2, **changes)
        before = copy.deepcopy(other.model)
        with pytest.raises(QuadricError, match=r"one.safetensors does not fit the model 'one'$"):
            checkpoint.load(path, [other])
        assert same(other.model, before)


def test_damage_is_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path)
    state = (path / "state.json").read_text()
    for key in json.loads(state):
        values = json.loads(state)
        del values[key]
        (path / "state.json").write_text(json.dumps(values))
        with pytest.raises(QuadricError, match=rf"it has no '{key}'; start the run again$"):
            checkpoint.load(path, [member()])
    (path / "state.json").write_text(state[: len(state) // 2])
    with pytest.raises(QuadricError, match=r"state.json is not valid JSON"):
        checkpoint.load(path, [member()])
    (path / "state.json").write_text(state)
    weights = (path / "one.safetensors").read_bytes()
    (path / "one.safetensors").write_bytes(weights[:-5])
    with pytest.raises(QuadricError, match=r"^cannot read .*one.safetensors: ") as caught:
        checkpoint.load(path, [member()])
    assert "\n" not in str(caught.value)
    (path / "one.safetensors").unlink()
    with pytest.raises(QuadricError, match=r"one.safetensors"):
        checkpoint.load(path, [member()])
    (path / "one.safetensors").write_bytes(weights)
    assert checkpoint.load(path, [member()])[0] == PROGRESS


def test_a_full_disk_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)

    def fail(*_: object) -> None:
        raise QuadricError("cannot write state.json: No space left on device")

    monkeypatch.setattr(checkpoint, "write_json", fail)
    with pytest.raises(QuadricError, match="No space left"):
        checkpoint.save(tmp_path, PROGRESS._replace(step=8), [member(seed=5)])
    assert checkpoint.newest(tmp_path) == path
    monkeypatch.undo()
    checkpoint.save(tmp_path, PROGRESS._replace(step=8), [member(seed=5)])
    assert [each.name for each in path.parent.iterdir()] == ["step-00000008"]
