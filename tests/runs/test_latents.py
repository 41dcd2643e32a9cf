"""The table of latents: responses, windows and labels from a small cache of activations."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet
import pytest
import torch

from quadric.activations.cache import ActivationCache
from quadric.activations.rows import MemoryRows
from quadric.activations.writing import CacheWriter
from quadric.autoencoders import AutoencoderConfig, BilinearAutoencoder
from quadric.runs.latents import Latent, describe_latents, write_latents

CONTEXT = 12
KINDS = ("top", "most_positive", "most_negative", "near_zero", "random")
WORDS = (" the", " of", " Monday", " in", "\n")


class Tokenizer:
    """Whole words, one token each."""

    def decode(self, ids: list[int]) -> str:
        return "".join(WORDS[token] for token in ids)


@pytest.fixture
def model() -> BilinearAutoencoder:
    return BilinearAutoencoder(
        AutoencoderConfig(d_in=6, d_sae=5, variant="composite", block=2, norm="none")
    )


@pytest.fixture
def cache(tmp_path: Path, model: BilinearAutoencoder) -> ActivationCache:
    """20 contexts; latent 3 is stronger on Mondays than anywhere else."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, (20, CONTEXT), generator=generator)
    x = torch.randn(20, CONTEXT, 6, generator=generator)
    axis = model.tensor([3]).eigh(torch.ones(1), k=1).vectors[0]
    x[ids == 2] += 30 * axis
    writer = CacheWriter(
        tmp_path / "cache", widths={"h": 6}, dtype=torch.float32, context_size=CONTEXT,
        description={},
    )  # fmt: skip
    writer.append({"h": x}, ids)
    writer.finish()
    return ActivationCache(tmp_path / "cache")


def test_responses_with_their_windows(model: BilinearAutoencoder, cache: ActivationCache) -> None:
    x, ids = (read(torch.arange(240)) for read in (cache.gather, cache.token_ids))
    values = model.encode(x).detach()
    found = describe_latents(model, cache, Tokenizer(), top=4)
    importances = [latent.importance for latent in found]
    assert importances == sorted(importances, reverse=True)
    assert sorted(latent.id for latent in found) == list(range(5))
    counted = torch.arange(240) % CONTEXT != 0
    for latent in found:
        column = values[:, latent.id]
        assert latent.mean_square == pytest.approx(column[counted].square().mean().item(), rel=1e-5)
        signed = column.masked_fill(~counted, 0)
        wanted = {
            "top": signed.abs().topk(4).indices,
            "most_positive": signed.topk(4).indices,
            "most_negative": (-signed).topk(4).indices,
            "near_zero": column.abs().masked_fill(~counted, torch.inf).topk(4, largest=False)[1],
        }
        sign = {"most_positive": 1, "most_negative": -1}
        for kind, best in wanted.items():
            responses = getattr(latent, kind)
            rows = [row for row in best.tolist() if sign.get(kind, 0) * signed[row] >= 0]
            assert len(responses) == len(rows)
            for row, response in zip(rows, responses, strict=True):
                assert response.value == pytest.approx(column[row].item(), rel=1e-4, abs=1e-6)
                start = row - row % CONTEXT
                window = range(max(start, row - 8), min(start + CONTEXT, row + 4))
                texts = [WORDS[ids[each]] for each in window]
                here = row - window.start
                assert response.tokens == texts and response.token == texts[here]
                assert response.before == "".join(texts[:here])
                assert response.after == "".join(texts[here + 1 :])
                expected = [column[each].item() for each in window]
                assert response.values == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert len(latent.random) == 4
    monday = next(latent for latent in found if latent.id == 3)
    assert monday.label == "Monday" and monday.label_place == "token"
    assert monday.words[0].energy_share > 0.9


def test_a_choice_of_latents_says_the_same(
    model: BilinearAutoencoder, cache: ActivationCache
) -> None:
    everything = {latent.id: latent for latent in describe_latents(model, cache, Tokenizer())}
    for latent in describe_latents(model, cache, Tokenizer(), which=torch.tensor([4, 3])):
        whole = everything[latent.id]
        assert latent.label == whole.label
        assert [word.count for word in latent.words] == [word.count for word in whole.words]
        assert [each.before for each in latent.top] == [each.before for each in whole.top]
        assert latent.mean_square == pytest.approx(whole.mean_square, rel=1e-4)


def test_without_text_a_response_is_a_place(
    model: BilinearAutoencoder, cache: ActivationCache
) -> None:
    rows = MemoryRows(cache.gather(torch.arange(240)))
    for found in (describe_latents(model, rows, None), describe_latents(model, rows, Tokenizer())):
        assert found[0].top[0].token.startswith("row ") and found[0].top[0].tokens == []
        assert found[0].label == "" and found[0].mean_square is not None
    unseen = describe_latents(model, None, None)[0]
    assert unseen.top == [] and unseen.mean_square is None


def test_a_labeller_is_asked_only_when_given(
    model: BilinearAutoencoder, cache: ActivationCache
) -> None:
    asked: list[Latent] = []

    def labeller(latent: Latent) -> str:
        asked.append(latent)
        return f"label {latent.id}"

    found = describe_latents(model, cache, Tokenizer(), labeller=labeller)
    assert [latent.written_label for latent in found] == [f"label {each.id}" for each in found]
    assert all(latent.top and latent.random for latent in asked)
    assert describe_latents(model, cache, Tokenizer())[0].written_label is None


def test_the_table_holds_every_field(
    model: BilinearAutoencoder, cache: ActivationCache, tmp_path: Path
) -> None:
    found = describe_latents(model, cache, Tokenizer(), top=3)
    write_latents(found, tmp_path / "latents.parquet")
    rows = pyarrow.parquet.read_table(tmp_path / "latents.parquet").to_pylist()
    for latent, row in zip(found, rows, strict=True):
        plain = dict(vars(latent))
        for kind in (*KINDS, "words"):
            plain[kind] = [vars(each) for each in plain[kind]]
        assert row == plain
