"""The choice of layers to penalise or tie: all eligible ones without the default exceptions, or those named."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from torch_growl.arguments import did_you_mean
from torch_growl.errors import GrowlWarning, LayerError, users_stacklevel
from torch_growl.networks.layers.inspection import LayerInfo, inspect_layers
from torch_growl.networks.layers.kinds import Side

__all__ = ["choose_layers", "default_layers", "matching", "warn_of_adapters"]


def default_layers(infos: Sequence[LayerInfo], *, last: bool = False) -> dict[str, str]:
    """The eligible layers that are left out by default, with the reason: the first convolution and the last layer.

    The first convolution reads the raw input (three colours); the rows of the last layer are the features that tell
    classes apart. "First" and "last" refer to the order of registration. A first Linear is not left out.

    Args:
        infos: every parametric layer of the network.
        last: the last layer is not left out, as with a target.
    """
    rows = [info for info in infos if info.kind is not None]
    left_out = {}
    for info in rows:
        if info.kind is not None and info.kind.is_convolution:
            left_out[info.name] = "the network's first convolution"
            break
    if rows and not last:
        left_out[rows[-1].name] = "the network's last layer"
    return {info.name: left_out[info.name] for info in rows if info.eligible and info.name in left_out}


def choose_layers(
    model: nn.Module, layers: Iterable[str] | None, side: Side = "input", *, last: bool = False
) -> list[LayerInfo]:
    """Choose layers by name, or by default.

    Args:
        model: the network; not modified.
        layers: dotted names or shell patterns (``"features.*"``); None: every eligible layer except the network's
            first convolution and its last layer.
        side: whether rows are inputs or outputs.
        last: by default the last layer too.

    Raises:
        LayerError: a name matches no layer, a named layer is not eligible, or no layer is left.
    """
    if side not in ("input", "output"):
        raise LayerError(f"side must be 'input' or 'output', got {side!r}")
    infos = inspect_layers(model, side)
    if layers is None:
        left_out = default_layers(infos, last=last)
        chosen = [info for info in infos if info.eligible and info.name not in left_out]
        if not chosen:
            listed = (
                "; ".join(f"{i.name or '(root)'}: {i.reason or left_out[i.name]}" for i in infos) or "no parameters"
            )
            raise LayerError(f"the network has no layer to work on ({listed}); name some with layers=")
        return chosen
    if isinstance(layers, str):
        layers = [layers]
    wanted: set[str] = set()
    for pattern in layers:
        found = matching(pattern, infos)
        exact = [info for info in found if info.name == pattern]
        for info in exact or [info for info in found if info.eligible]:
            if not info.eligible:
                raise LayerError(f"layer {info.name!r} ({info.type_name}) is not eligible: {info.reason}")
            wanted.add(info.name)
        if not any(info.eligible for info in found):
            raise LayerError(f"no layer that matches {pattern!r} is eligible: {found[0].name!r} {found[0].reason}")
    if not wanted:
        raise LayerError("layers is empty; leave it out to take every eligible layer")
    return [info for info in infos if info.name in wanted]


def warn_of_adapters(names: Sequence[str]) -> None:
    """Warn if all chosen layers are LoRA adapters, whose rows are not those of the merged weight.

    Args:
        names: the chosen layers.
    """
    if names and all(any(part.startswith("lora_") for part in name.split(".")) for name in names):
        text = (
            f"only LoRA adapters are chosen ({names[0]!r}, …): merged, their product is added to a dense weight, so no "
            "row of the merged network becomes zero or equal; merge first (merge_and_unload()) and train that network, "
            "or name base layers with layers= and let them require gradients"
        )
        warnings.warn(text, GrowlWarning, stacklevel=users_stacklevel())


def matching(pattern: str, infos: Sequence[LayerInfo]) -> list[LayerInfo]:
    """The layers whose name is equal to, or matches, a shell pattern.

    Raises:
        LayerError: there is none; the closest name is suggested.
    """
    found = [info for info in infos if info.name == pattern or fnmatchcase(info.name, pattern)]
    if not found:
        hint = did_you_mean(pattern, (info.name for info in infos), otherwise="the network has {known}")
        raise LayerError(f"unknown layer {pattern!r}; {hint}")
    return found
