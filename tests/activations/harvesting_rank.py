"""A rank of a harvest as torchrun starts it: the command line, with small shards and an accident.

    torchrun … tests/activations/harvesting_rank.py ACCIDENT RANK BATCH harvest MODEL DATASET …

At the batch with that number, counted from 1 on that rank, the accident happens. The ranks are in
step, so every other rank is at the same batch then.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

import torch
from torch import Tensor

from quadric import cli
from quadric.activations import harvest as module


def kill(activations: dict[str, Tensor]) -> NoReturn:
    del activations
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def spoil(activations: dict[str, Tensor]) -> dict[str, Tensor]:
    for tensor in activations.values():
        tensor[2, 7, 1] = torch.nan
    return activations


def ask_to_stop(activations: dict[str, Tensor]) -> dict[str, Tensor]:
    os.kill(os.getpid(), signal.SIGTERM)
    return activations


ACCIDENTS = {"kill": kill, "spoil": spoil, "stop": ask_to_stop}


def main() -> None:
    accident, rank, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    module._CONTEXTS_PER_SHARD = 20
    computed = module.Source.activations
    batches = 0

    def activations(source: module.Source, input_ids: Tensor) -> dict[str, Tensor]:
        nonlocal batches
        batches += 1
        found = computed(source, input_ids)
        if int(os.environ["RANK"]) == rank and batches == batch:
            return ACCIDENTS[accident](found)
        return found

    module.Source.activations = activations  # type: ignore[method-assign]
    sys.argv[1:4] = []
    cli.main()


main()
