"""The proof that two networks give the same outputs: run both on the same inputs and compare every output tensor.

The bound is ``max|Δ| ≤ tolerance · max|output|`` for each output tensor; outputs of half-precision types are held to
:data:`HALF_TOLERANCE` where that is looser, for summing tied inputs first rounds elsewhere than the dense layer does.
Tensors that are not floating must be equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from torch_growl.errors import CompactionError, first_line
from torch_growl.networks.execution.example_inputs import Inputs, call, random_like

__all__ = ["HALF_TOLERANCE", "Proof", "exact_arithmetic", "tensors_in"]

HALF_TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 5e-2}


class Proof:
    """What a dense network answers, to hold others against.

    Args:
        dense: the network in eval mode; it is run three times.
        inputs: the example; two random ones of the same shapes are added.
        tolerance: largest difference allowed, as a part of the largest output.

    Raises:
        CompactionError: the network cannot be run on the example, or its outputs are not finite.
    """

    def __init__(self, dense: nn.Module, inputs: Inputs, tolerance: float) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tolerance = tolerance
        self.batches = [inputs, *(random_like(inputs, generator) for _ in range(2))]
        try:
            self.expected = [self._outputs(dense, batch) for batch in self.batches]
        except Exception as error:  # whatever a user's forward raises
            raise CompactionError(f"the network does not run on example_inputs: {first_line(error)}") from error
        if not self.expected[0]:
            raise CompactionError("the network's output holds no tensor, so nothing can be compared")
        for path, value in self.expected[0]:
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise CompactionError(f"the network's own {path} on example_inputs is not finite; nothing to compare")

    def fault(self, small: nn.Module) -> str:
        """What is wrong with a network in eval mode; empty when it answers as the dense one does."""
        worst = ""
        excess = 1.0
        for batch, expected in zip(self.batches, self.expected, strict=True):
            try:
                found = self._outputs(small, batch)
            except Exception as error:  # a cut that the network's own code does not allow
                return f"it raises {type(error).__name__}: {first_line(error)}"
            if [path for path, _ in found] != [path for path, _ in expected]:
                return "its outputs are nested differently"
            for (path, value), (_, wanted) in zip(found, expected, strict=True):
                ratio, text = self._compare(path, value, wanted)
                if ratio > excess:
                    excess, worst = ratio, text
        return worst

    def _compare(self, path: str, found: Tensor, wanted: Tensor) -> tuple[float, str]:
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            shapes = f"{tuple(wanted.shape)} {wanted.dtype}, got {tuple(found.shape)} {found.dtype}"
            return float("inf"), f"{path} must be {shapes}"
        if not wanted.is_floating_point() and not wanted.is_complex():
            return (0.0, "") if torch.equal(found, wanted) else (float("inf"), f"{path} ({wanted.dtype}) differs")
        finite = torch.isfinite(wanted)
        if not torch.equal(torch.nan_to_num(found)[~finite], torch.nan_to_num(wanted)[~finite]) or not torch.equal(
            torch.isfinite(found), finite
        ):
            return float("inf"), f"{path} is not finite in other places"
        if not bool(finite.any()):
            return 0.0, ""
        tolerance = max(self.tolerance, HALF_TOLERANCE.get(wanted.dtype, 0.0))
        wide = torch.complex128 if wanted.is_complex() else torch.float64
        difference = float((found[finite].to(wide) - wanted[finite].to(wide)).abs().max())
        scale = float(wanted[finite].to(wide).abs().max())
        if difference <= tolerance * scale:
            return 0.0, ""
        bound = f"more than {tolerance:g} × its largest value {scale:.3g}"
        return (
            difference / (tolerance * scale) if scale else float("inf")
        ), f"{path} differs by {difference:.3g}, {bound}"

    def _outputs(self, model: nn.Module, inputs: Inputs) -> list[tuple[str, Tensor]]:
        with exact_arithmetic(model):
            torch.manual_seed(0)
            result = call(model, pytree.tree_map_only(Tensor, torch.clone, inputs))
        return [(f"output{path}", value.detach().clone()) for path, value in tensors_in(result, "")]


@contextmanager
def exact_arithmetic(model: nn.Module) -> Iterator[None]:
    """No gradients, no TF32, and random number generators as they were afterwards."""
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=[device.index for device in devices]))
        if devices:
            before = torch.get_float32_matmul_precision()
            stack.callback(torch.set_float32_matmul_precision, before)
            torch.set_float32_matmul_precision("highest")
            stack.enter_context(torch.backends.cudnn.flags(allow_tf32=False))
        yield


def tensors_in(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested tuples, lists, mappings and objects with fields, with its path."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, dict) or (hasattr(value, "keys") and hasattr(value, "__getitem__")):
        for key in value:
            yield from tensors_in(value[key], f"{path}[{key!r}]")
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from tensors_in(item, f"{path}[{number}]")
    elif hasattr(value, "__dict__"):
        for key, item in vars(value).items():
            yield from tensors_in(item, f"{path}.{key}")
