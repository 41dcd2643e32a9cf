"""Shared by all tests: reproducible property tests, single-threaded arithmetic."""

from __future__ import annotations

import torch
from hypothesis import settings

settings.register_profile("quadric", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("quadric")
torch.set_num_threads(1)
