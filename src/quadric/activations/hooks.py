"""Names of places in a model, resolved to modules.

``resolve(model, ["blocks.*.hook_resid_pre"])`` finds the modules whose input or output is meant.
Two spellings are understood, and both may hold globs:

* TransformerLens names of a block's activations, on any architecture: ``blocks.{i}.hook_resid_pre``
  (the block's input), ``blocks.{i}.hook_resid_post`` (its output), ``blocks.{i}.hook_attn_out`` and
  ``blocks.{i}.hook_mlp_out`` (what attention and MLP add to the residual stream) and
  ``blocks.{i}.mlp.hook_in`` (the MLP's input, after its norm);
* module paths as transformers writes them: ``model.layers.3.mlp``, or with ``.hook_out`` after it,
  for the module's output, ``model.layers.3.mlp.hook_in`` for its input.

In a glob ``*`` and ``?`` do not cross a dot, so ``model.layers.*`` means the layers alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import nn

from quadric.errors import QuadricError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MLP = ("mlp", "feed_forward", "ffn", "block_sparse_moe")
_ATTENTION = ("self_attn", "attn", "attention", "self_attention")
_KINDS = ("hook_resid_pre", "hook_resid_post", "hook_attn_out", "hook_mlp_out", "mlp.hook_in")


class Hook(NamedTuple):
    """One activation of a model: the input or the output of one of its modules."""

    hook_name: str
    """The TransformerLens spelling where there is one, else ``hf_hook_name``."""
    hf_hook_name: str
    """The module path followed by ``.hook_in`` or ``.hook_out``."""
    module: nn.Module
    """The module."""
    side: Literal["in", "out"]
    """Which side of it."""


def resolve(model: PreTrainedModel, patterns: Sequence[str]) -> list[Hook]:
    """The hooks that the patterns name, each once.

    Hooks come in the order of the patterns; those of one glob in natural order (2 before 10).

    Raises:
        QuadricError: a pattern names nothing (the message says which blocks the model has, or the
            nearest name), or the architecture has no single module for what it names.
    """
    if not patterns:
        raise QuadricError("no hook was given; name one such as 'blocks.0.hook_resid_pre'")
    table = _Table(model)
    found = dict.fromkeys(name for pattern in patterns for name in table.names(pattern))
    return [table.known[name] for name in found]


class _Table:
    """Every hook of one model by the names it may be called."""

    def __init__(self, model: nn.Module) -> None:
        self.lacking: dict[str, str] = {}
        self.known: dict[str, Hook] = {}
        self.aliases: dict[str, str] = {}
        self.prefix, self.count, self.without = _find_blocks(model)
        spelt: dict[str, str] = {}
        for index in range(self.count):
            path = f"{self.prefix}.{index}"
            points, self.lacking = _points(model.get_submodule(path))
            for kind, (child, side) in points.items():
                spelt[f"{path}{child}.hook_{side}"] = f"blocks.{index}.{kind}"
        for path, module in model.named_modules():
            if path:
                self._add(path, module, spelt)

    def _add(self, path: str, module: nn.Module, spelt: dict[str, str]) -> None:
        sides: tuple[Literal["in", "out"], ...] = ("in", "out")
        for side in sides:
            written = f"{path}.hook_{side}"
            name = spelt.get(written, written)
            self.known[name] = Hook(name, written, module, side)
            self.aliases[written] = self.aliases[name] = name
        self.aliases[path] = self.aliases[f"{path}.hook_out"]

    def names(self, pattern: str) -> list[str]:
        """The names in ``known`` that a pattern matches, in natural order."""
        if pattern in self.aliases:
            return [self.aliases[pattern]]
        if any(sign in pattern for sign in "*?["):
            matcher = re.compile(_glob(pattern))
            matches = [
                alias
                for alias in self.aliases
                # model.layers.* means modules, not also the sides of model.layers itself.
                if matcher.fullmatch(alias) and _is_sided(alias) == _is_sided(pattern)
            ]
            if matches:
                return [self.aliases[alias] for alias in sorted(matches, key=_natural)]
        raise QuadricError(self._complaint(pattern))

    def _complaint(self, pattern: str) -> str:
        block, kind = _split(pattern)
        if block and not self.count:
            return f"hook {pattern!r} not found: {self.without}"
        if block and kind in self.lacking:
            return f"hook {pattern!r} is not available: {self.lacking[kind]}"
        index = re.match(rf"(?:blocks|{re.escape(self.prefix)})\.(\d+)(?:\.|$)", pattern)
        if self.count and (kind in _KINDS or (index and int(index[1]) >= self.count)):
            return f"hook {pattern!r} not found: model has {self.count} blocks (0–{self.count - 1})"
        known = [block + name for name in _KINDS if name not in self.lacking]
        # Within the kinds, so that a misspelt kind keeps the block that it was written with.
        hint = nearest(pattern, known if block else self.aliases)
        return f"hook {pattern!r} not found{hint or '; print the model to see its module paths'}"


def _split(pattern: str) -> tuple[str, str]:
    """``blocks.3.hook_mlp_out`` → ("blocks.3.", "hook_mlp_out"); a path → ("", the path)."""
    parts = re.match(r"(blocks\.[^.]+\.)(.*)", pattern)
    return (parts[1], parts[2]) if parts else ("", pattern)


def _is_sided(name: str) -> bool:
    """Whether a name ends in a hook rather than in a module."""
    return name.rpartition(".")[2].startswith("hook_")


def _find_blocks(model: nn.Module) -> tuple[str, int, str]:
    """(path, number) of the list of transformer blocks; with number 0 comes the reason."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    count = getattr(text, "num_hidden_layers", None)
    lists = {
        path: len(module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == count
        and all(any(True for _ in child.children()) for child in module)
    }
    if not lists:
        return "", 0, "this architecture has no list of blocks; name a module path instead"
    # A block may hold lists of its own (experts, adapters): the outermost list is the stack.
    depth = min(path.count(".") for path in lists)
    outer = [path for path in lists if path.count(".") == depth]
    if len(outer) > 1:
        return "", 0, f"it has several stacks of blocks ({', '.join(outer)}); name a module path"
    return outer[0], lists[outer[0]], ""


def _points(
    block: nn.Module,
) -> tuple[dict[str, tuple[str, Literal["in", "out"]]], dict[str, str]]:
    """Where a block keeps each kind of hook: kind → (".child" or "", side); and what it lacks."""
    children = dict(block.named_children())
    points: dict[str, tuple[str, Literal["in", "out"]]] = {
        "hook_resid_pre": ("", "in"),
        "hook_resid_post": ("", "out"),
    }
    kind = type(block).__name__
    advice = "use hook_resid_pre, hook_resid_post or a module path"
    if {"intermediate", "output"} <= children.keys():
        # BERT and its kin: the MLP is two modules, and attention's output already holds the
        # residual and its norm, so neither is what the name promises.
        reason = f"{kind} adds the residual inside its attention and output modules; {advice}"
        return points, dict.fromkeys(_KINDS[2:], reason)
    lacking: dict[str, str] = {}
    mlp = next((name for name in _MLP if name in children), None)
    attention = next((name for name in _ATTENTION if name in children), None)
    # Gemma 2 and 3, OLMo 2: a norm stands between the module and the residual stream.
    normed = "post_feedforward_layernorm" in children
    if mlp:
        points["hook_mlp_out"] = ("." + ("post_feedforward_layernorm" if normed else mlp), "out")
        points["mlp.hook_in"] = ("." + mlp, "in")
    else:
        reason = f"{kind} has no MLP module; {advice}"
        lacking |= {"hook_mlp_out": reason, "mlp.hook_in": reason}
    if attention:
        points["hook_attn_out"] = (
            "." + ("post_attention_layernorm" if normed else attention),
            "out",
        )
    else:
        lacking["hook_attn_out"] = f"{kind} has no attention module; {advice}"
    return points, lacking


def _glob(pattern: str) -> str:
    """A regular expression for a glob whose ``*`` and ``?`` stop at dots."""
    parts: Iterable[str] = re.split(r"(\*|\?|\[[^\]]*\])", pattern)
    signs = {"*": "[^.]*", "?": "[^.]"}
    return "".join(
        signs.get(part) or (part.replace("[!", "[^") if part[:1] == "[" else re.escape(part))
        for part in parts
    )


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key under which ``layers.2`` comes before ``layers.10``."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]
