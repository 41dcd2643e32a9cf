"""Read activations out of a running model, or put others in their place.

``capture(model, hooks, input_ids)`` runs the model up to the last hook asked for and no further;
``splice(model, hook, replace)`` runs all of it with one activation replaced. Both use plain torch
hooks, which are gone when the call is over, also after an error.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quadric.activations.hooks import Hook
from quadric.errors import QuadricError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def capture(
    model: PreTrainedModel, hooks: Sequence[Hook], input_ids: Int[Tensor, "b t"]
) -> dict[str, Float[Tensor, "b t d"]]:
    """The activations at several hooks in one forward pass.

    The pass ends as soon as every hook has fired, so neither later blocks nor the head run. Where a
    module runs several times in a pass, its first run counts. The tensors are copies in the model's
    type on its device, without a gradient.

    Raises:
        QuadricError: there is no hook, one is of another model, its module never ran, or what
            passes there is not a tensor of shape (batch, token, width).
    """
    if not hooks:
        raise QuadricError("there is nothing to capture: the list of hooks is empty")
    _check_owner(model, hooks)
    options = {"use_cache": False} if "use_cache" in _parameters(model) else {}
    captured: dict[str, Tensor] = {}
    wanted = {hook.hook_name for hook in hooks}

    def keep(hook: Hook, value: Tensor) -> None:
        if value.ndim != 3 or value.shape[:2] != input_ids.shape:
            raise QuadricError(
                f"hook {hook.hook_name!r} carries a tensor of shape {tuple(value.shape)}, expected "
                f"(batch, token, width) = {(*input_ids.shape, 'd')}"
            )
        captured.setdefault(hook.hook_name, value)
        if captured.keys() == wanted:
            raise _AllCaptured

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        for hook in hooks:
            stack.enter_context(_intercepted(hook, keep))
        try:
            model(input_ids=input_ids, **options)
        except _AllCaptured:
            pass
        else:
            silent = next(hook for hook in hooks if hook.hook_name not in captured)
            raise QuadricError(
                f"hook {silent.hook_name!r} never fired: the model did not run the module "
                f"{silent.hf_hook_name.rpartition('.')[0]!r}"
            )
    # Copied outside inference mode: autograd refuses to save inference tensors for backward.
    return {hook.hook_name: captured[hook.hook_name].clone() for hook in hooks}


@contextmanager
def splice(
    model: PreTrainedModel, hook: Hook, replace: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """Within this context, ``model`` continues from ``replace(activation)`` at the hook.

    ``replace`` maps (b, t, d) to the same shape; its result is converted to the activation's type
    and device. The model itself is called by the caller, with whatever it wants to know (logits, a
    loss), so the pass is whole and may carry gradients.

    Raises:
        QuadricError: the hook is of another model, does not carry a tensor, or ``replace`` changed
            the shape.
    """
    _check_owner(model, [hook])

    def exchange(_: Hook, value: Tensor) -> Tensor:
        new = replace(value)
        if new.shape != value.shape:
            raise QuadricError(
                f"the replacement at hook {hook.hook_name!r} has shape {tuple(new.shape)}, "
                f"expected {tuple(value.shape)}"
            )
        return new.to(value)

    with _intercepted(hook, exchange):
        yield


class _AllCaptured(Exception):
    """Ends a forward pass whose remaining part nobody asked for."""


@contextmanager
def _intercepted(hook: Hook, visit: Callable[[Hook, Tensor], Tensor | None]) -> Iterator[None]:
    """Let ``visit`` see the activation at a hook and, by returning a tensor, replace it."""

    def before(
        module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        # transformers passes the hidden states positionally or by keyword, as each model likes.
        if arguments:
            new = visit(hook, _tensor(hook, arguments[0]))
            return None if new is None else ((new, *arguments[1:]), named)
        key = next((name for name in _parameters(module) if name in named), None)
        new = visit(hook, _tensor(hook, named.get(key or "")))
        return None if new is None else (arguments, {**named, cast(str, key): new})

    def after(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            new = visit(hook, _tensor(hook, output[0] if output else None))
            return None if new is None else (new, *output[1:])
        return visit(hook, _tensor(hook, output))

    if hook.side == "in":
        handle = hook.module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = hook.module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


def _tensor(hook: Hook, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise QuadricError(
            f"hook {hook.hook_name!r} carries a {type(value).__name__}, expected a tensor or a "
            "tuple that starts with one; choose a module inside it"
        )
    return value


def _parameters(module: nn.Module) -> list[str]:
    """The names of the arguments of a module's forward, in order."""
    return list(inspect.signature(module.forward).parameters)


def _check_owner(model: nn.Module, hooks: Sequence[Hook]) -> None:
    owned = {id(module) for module in model.modules()}
    for hook in hooks:
        if id(hook.module) not in owned:
            raise QuadricError(
                f"hook {hook.hook_name!r} was resolved on another model; resolve it on this one"
            )
