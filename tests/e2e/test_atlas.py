"""The atlas of a run on the real language model, served by a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from quadric.activations.stored import open_rows
from quadric.atlas.folder.reader import AtlasFolder
from quadric.autoencoders import BilinearAutoencoder
from quadric.runs.inspect import tokenizer_of
from tests.atlas.serving import Client
from tests.e2e.conftest import Answer

pytestmark = pytest.mark.e2e
TEXT = "The meeting is on Monday"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``root``/cache, ``root``/run and ``root``/run/atlas, made by three commands."""
    root = tmp_path_factory.mktemp("atlas")
    cache, run = str(root / "cache"), str(root / "run")
    for command in (
        ("harvest", "smollm2-135m", "news", "--tokens", "8192", "--hook",
         "blocks.3.hook_resid_pre", "--dtype", "float32", "--out", cache),
        ("train", "--activations", cache, "--out", run, "--steps", "12", "--batch-size", "1024",
         "--eval-rows", "500", "--d-sae", "48", "--variant", "composite"),
        ("atlas", "build", run, "-o", f"{run}/atlas", "--points", "200"),
    ):  # fmt: skip
        done = subprocess.run([sys.executable, "-m", "quadric", *command], capture_output=True,
                              text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def client(built: Path) -> Iterator[Client]:
    command = [sys.executable, "-m", "quadric", "atlas", "serve", str(built / "run/atlas"),
               "--no-open", "--port", "0"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        assert "live features" not in line and "cannot" not in line
        try:
            yield Client(int(line.partition("127.0.0.1:")[2].partition("/")[0]))
        finally:
            server.terminate()


def test_the_folder_is_sound(quadric: Callable[..., Answer], built: Path) -> None:
    answer = quadric("atlas", "validate", built / "run/atlas")
    assert answer.status == 0, answer.out


def test_every_kind_of_form_lies_where_its_page_says(built: Path, client: Client) -> None:
    """A context of the store, typed in, passes through the points of the page."""
    atlas = AtlasFolder(built / "run/atlas")
    store = open_rows(built / "cache")
    assert client.ask("/api/capabilities").json == {
        "encode": True, "compose": True, "steer": True, "model": "smollm2-135m",
    }  # fmt: skip
    size = atlas.manifest.context_size
    tokenizer = tokenizer_of(BilinearAutoencoder.from_pretrained(built / "run"))
    forms = atlas.forms()
    first = {kind: place for place, kind in reversed(list(enumerate(forms["kind"].tolist())))}
    assert len(first) >= 1
    compared = 0
    for place in {*first.values(), 1, len(forms["id"]) - 1}:
        page = atlas.page(place)
        context = int(page.rows[0]) // size
        ids = store.token_ids(torch.arange(context * size, (context + 1) * size))
        text = tokenizer.decode(ids)
        if tokenizer(text, add_special_tokens=False)["input_ids"] != ids.tolist():
            continue
        answer = client.post("/api/encode", {"text": text, "id": page.id})
        assert answer.status == 200, answer.body
        path = answer.json["path"]
        scale = abs(page.points.coordinates).max(axis=0)
        for there, value, row in zip(
            page.points.coordinates, page.points.value, page.rows.tolist(), strict=True
        ):
            if row // size == context:
                here = np.array(path["coordinates"][row % size])
                assert (abs(here - there) < 1e-3 * scale).all()
                bound = 1e-3 * abs(page.points.value).max()
                assert path["values"][row % size] == pytest.approx(value, abs=bound)
                compared += 1
    assert compared


def test_composing_and_steering(
    quadric: Callable[..., Answer], built: Path, client: Client
) -> None:
    atlas = AtlasFolder(built / "run/atlas")
    latents = [int(each) for each in atlas.forms()["id"] if each < 48][:2]
    asked = {"members": [{"id": latents[0], "weight": 1}, {"id": latents[1], "weight": -0.5}],
             "points": 300}  # fmt: skip
    composed = client.post("/api/compose", asked).json
    assert len(composed["tokens"]) == len(composed["row"]) == len(composed["value"]) == 300
    alone = [
        client.post("/api/compose", {"members": [{"id": each, "weight": 1}], "points": 300}).json
        for each in latents
    ]
    values = [dict(zip(one["row"], one["value"], strict=True)) for one in alone]
    for row, value in zip(composed["row"], composed["value"], strict=True):
        if row in values[0] and row in values[1]:
            expected = values[0][row] - 0.5 * values[1][row]
            assert value == pytest.approx(expected, rel=1e-3, abs=1e-6)
    page = atlas.page_of(latents[0])
    assert page.points.axis_kind[:2] == ["eigenvector", "eigenvector"]
    asked = {"text": TEXT, "id": latents[0], "along": "level set", "amount": 60, "axes": [1, 2],
             "position": None}  # fmt: skip
    steered = client.post("/api/steer", asked).json
    told = quadric("steer", built / "run", "--latent", latents[0], "--text", TEXT,
                   "--angle", 60, "--axes", 1, 2, "--json")  # fmt: skip
    (step,) = json.loads(told.out)["steps"]
    for name in ("value_before", "value_after", "moved", "turned", "kl"):
        assert steered[name] == pytest.approx(step[name], rel=1e-3, abs=1e-7)
    assert [one["token"] for one in steered["rising"]] == [one["token"] for one in step["rising"]]
    assert steered["kl"] > 0


def test_a_run_that_is_not_the_atlas_is_refused(
    quadric: Callable[..., Answer], built: Path, tmp_path: Path
) -> None:
    model = BilinearAutoencoder.from_pretrained(built / "run")
    with torch.no_grad():
        model.left *= 1.01
    model.save_pretrained(tmp_path)
    answer = quadric("atlas", "serve", built / "run/atlas", "--run", tmp_path, "--no-open")
    assert answer.status == 1 and "is not the autoencoder of this atlas" in answer.err
