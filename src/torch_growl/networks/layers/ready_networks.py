"""Networks that can be worked on: Python modules whose tensors have values; all others are refused by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from torch_growl.arguments import check_type
from torch_growl.errors import InvalidTypeError, LayerError
from torch_growl.networks.sharding import is_flat, is_sharded, reshard_, sharded_modules

__all__ = ["check_network", "outside_inference_mode"]


def check_network(name: str, model: Any, *, values: bool = False) -> nn.Module:
    """Check that an argument is a network of Python modules whose parameters and buffers have values.

    Weights that FSDP2 has gathered for a run are given back: the shards are the parameters.

    Args:
        name: the argument, as the user knows it.
        model: what was given; not modified.
        values: whether the values of its weights are read, which quantized weights do not show.

    Raises:
        InvalidTypeError: it is no module, or a part of it is TorchScript.
        LayerError: a parameter or buffer is not initialised yet, or is on the meta device, or the network is wrapped
            in FSDP1; with ``values``, a weight is quantized.
    """
    check_type(name, model, nn.Module)
    for where, module in model.named_modules():
        kind, place = type(module).__name__, f"layer {where!r} of {name}" if where else name
        if isinstance(module, torch.jit.ScriptModule):
            raise InvalidTypeError(
                f"{place} is TorchScript ({kind}), whose code and layers cannot be read or changed; pass the Python "
                "network that it was made from, and script or trace the result"
            )
        if is_flat(module):
            raise LayerError(
                f"{place} is wrapped in FullyShardedDataParallel (FSDP1), which keeps the weights of many layers in "
                "flat parameters without rows; shard with torch.distributed.fsdp.fully_shard (FSDP2) instead, or use "
                "DistributedDataParallel"
            )
        for key, value in [*module._parameters.items(), *module._buffers.items()]:
            if is_lazy(value):
                raise LayerError(
                    f"{place} ({kind}) has no {key} yet: it is lazy; run the network once on an example before this"
                )
            if value is not None and value.is_meta:
                raise LayerError(
                    f"{place} ({kind}) has its {key} on the meta device, without values; give it memory with "
                    "model.to_empty(device=...) and load its weights before this"
                )
            if values and hasattr(value, "__tensor_flatten__") and not is_sharded(value):
                raise LayerError(
                    f"{place} ({kind}) has its {key} in another tensor, of type {type(value).__name__}, as quantized "
                    "networks have; compact, measure and save the network first, and quantize the result"
                )
    reshard_(sharded_modules(model))
    return model  # type: ignore[no-any-return]


@contextlib.contextmanager
def outside_inference_mode() -> Iterator[None]:
    """Run the block outside of ``torch.inference_mode``, so that tensors made in it can be trained."""
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield
