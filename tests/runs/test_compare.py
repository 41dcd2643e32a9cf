"""``quadric compare``: matrices over runs, companions and folders, their files and refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from quadric.activations.config import DataConfig
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.cli import main
from quadric.errors import QuadricError
from quadric.evaluation import (
    gaussian_similarity,
    input_moments,
    map_similarity,
    permutation_similarity,
)
from quadric.report.similarity import render
from quadric.runs.compare import MEASURES, compare
from quadric.runs.config import RunConfig
from quadric.training import TrainingConfig

CONFIG = AutoencoderConfig(d_in=6, d_sae=9)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two autoencoders with its activations, and a third one beside it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=generator) * torch.arange(1, 7) + 3
    torch_folder = tmp_path / "activations"
    torch_folder.mkdir()
    import numpy as np

    np.save(torch_folder / "x.npy", x.numpy())
    configs = {"main": CONFIG, "twin": CONFIG.replace(seed=1)}
    folder = tmp_path / "run"
    for place, config in ((folder, CONFIG), (folder / "twin", configs["twin"])):
        model = BilinearAutoencoder(config)
        model.transform.fit(x)
        model.save_pretrained(place)
    other = BilinearAutoencoder(CONFIG.replace(variant="composite", affine=True, seed=2))
    other.transform.fit(x[:300])
    other.save_pretrained(tmp_path / "other")
    data = DataConfig(activations=str(torch_folder), held_out_fraction=0.2)
    RunConfig(data, TrainingConfig(), configs).write(folder, finished=True)
    return folder


def test_the_matrices_are_the_measures_of_every_pair(run: Path, tmp_path: Path) -> None:
    places = [str(run), str(run / "twin"), str(tmp_path / "other")]
    found = compare(places, out=tmp_path / "out")
    models = [BilinearAutoencoder.from_pretrained(place) for place in places]
    assert list(found.measures) == list(MEASURES)
    import numpy as np

    held = torch.from_numpy(np.load(tmp_path / "activations" / "x.npy"))[320:]
    moments = input_moments(models[0], held)
    assert found.gaussian_rows == 80 and found.gaussian_missing is None
    for i, first in enumerate(models):
        for j, second in enumerate(models):
            expected = [
                *map_similarity(first, second),
                *permutation_similarity(first, second),
                *gaussian_similarity(first, second, moments),
            ]
            values = [found.measures[name][i][j] for name in MEASURES]
            assert values == pytest.approx(expected, rel=1e-4)
            assert values == pytest.approx([1] * 6, abs=1e-9) or i != j
    assert json.loads((tmp_path / "out" / "similarity.json").read_text()) == found.as_dict()
    assert (tmp_path / "out" / "similarity.png").read_bytes().startswith(b"\x89PNG")
    text = render(found)
    assert f"{found.measures['map_cosine'][0][1]:.3f}" in text
    assert "80 held-out activations" in text and "A – B" in text and "B – C" in text


def test_without_data_there_are_no_gaussian_measures(run: Path, tmp_path: Path) -> None:
    found = compare([str(tmp_path / "other"), str(run)])
    assert found.measures["gaussian_centred"] is None and found.gaussian_rows is None
    assert "does not lie in a run" in found.gaussian_missing
    (tmp_path / "activations").rename(tmp_path / "gone")
    found = compare([str(run / "twin"), str(run)])
    assert "are not on this machine" in found.gaussian_missing
    assert "no Gaussian measures" in render(found)
    assert found.measures["map_cosine"][0][1] < 0.999


def test_refusals_name_the_places(run: Path, tmp_path: Path) -> None:
    BilinearAutoencoder(AutoencoderConfig(d_in=7, d_sae=9)).save_pretrained(tmp_path / "wide")
    with pytest.raises(QuadricError, match=r"twin and .*wide: autoencoders of d_in 6 and 7"):
        compare([str(run / "twin"), str(tmp_path / "wide")])
    BilinearAutoencoder(CONFIG.replace(norm="none")).save_pretrained(tmp_path / "raw")
    with pytest.raises(QuadricError, match=r"norm='unit' and norm='none'"):
        compare([str(run), str(tmp_path / "raw")])
    with pytest.raises(QuadricError, match="two or more"):
        compare([str(run)])
    with pytest.raises(QuadricError, match="no folder"):
        compare([str(run), str(tmp_path / "missing")])


def test_the_command(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, status in ((["--json", run / "twin"], 0), ([], 1)):
        monkeypatch.setattr(sys, "argv", ["quadric", "compare", str(run), *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert (exit_.value.code or 0) == status
        captured = capsys.readouterr()
        if status == 0:
            values = json.loads(captured.out)
            assert values["names"] == [str(run), str(run / "twin")]
            assert values["autoencoders"][1]["seed"] == 1
        else:
            assert captured.err == "quadric: 1 autoencoder given: a comparison needs two or more\n"
