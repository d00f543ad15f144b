"""Compensation: what removed and tied inputs carried goes to the rows that stay, without labels or training."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from torch_growl.errors import GrowlWarning, InvalidValueError, LayerError, users_stacklevel
from torch_growl.networks.execution import Inputs, without_autocast
from torch_growl.networks.layers import (
    check_network,
    clean_name,
    permanent_hooks,
    plain_copy,
    plain_model,
    registered_layers,
    rows_of,
)
from torch_growl.networks.moments import (
    LayerToFit,
    PairedRuns,
    error_of,
    float_outputs,
    has_moments,
    output_error,
    split_batches,
)
from torch_growl.networks.tying import TiedRows

__all__ = ["Compensation", "compensate_"]

_SAME = 1e-10  # an error of rounding: nothing before this layer was changed


@dataclass(frozen=True)
class Compensation:
    """The result of :func:`compensate_`, measured on the batches that were held out.

    Attributes:
        before: mean squared difference of the network's outputs from the dense network's, over their variance.
        after: the same after compensation; equal to ``before`` if nothing was changed.
        layers: for every layer whose rows were changed, the same for its own outputs, before and after; in the order
            of the layers' calls, each after the layers before it were changed.
        left: the layers that were left as they are, frozen or not to be written, each with the reason.
    """

    before: float
    after: float
    layers: dict[str, tuple[float, float]]
    left: dict[str, str] = field(default_factory=dict)


@without_autocast()
def compensate_(model: nn.Module, dense: nn.Module, inputs: Any) -> Compensation:
    """Fit the rows that are left to the dense network's outputs, layer by layer, by least squares.

    Zero rows stay zero and bit-equal rows stay bit-equal, so the structure is the same; biases, and the running means
    of batch normalisations that read a layer without a bias, take the means. A layer is changed where the fit errs
    less on batches that it has not seen, with the damping that errs least there.

    Linear layers and convolutions are fitted, grouped ones too, tied by :func:`torch_growl.tie_` or with a prune mask
    of whole rows. Transposed convolutions, layers that share their weight, and those with another parametrization, a
    mask of single weights, or an old weight or spectral norm are left as they are; so are frozen layers, unless all of
    the network is frozen.

    Args:
        model: a network with zero or bit-equal rows; its weights, biases and running means are modified.
        dense: the network before rows were removed, of the same layers; not modified.
        inputs: at least two batches: a list, each as for :func:`torch_growl.compact`. No labels are needed. Every
            fourth is held out, of fewer than four the last. A few hundred examples are enough for most networks.

    Raises:
        InvalidTypeError: an argument has another type.
        InvalidValueError: there is one batch only, or the networks have other layers.
        LayerError: a layer has NaN or infinite weights, inputs or outputs; nothing is changed.

    Warns:
        GrowlWarning: the outputs on the batches held out would be worse; nothing is changed.

    Example:
        The third input of the second layer is the sum of the first two; what it carried goes to them:

        >>> import copy, torch
        >>> import torch_growl as tg
        >>> dense = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        >>> with torch.no_grad():
        ...     dense[0].weight[2] = dense[0].weight[0] + dense[0].weight[1]
        >>> model = copy.deepcopy(dense)
        >>> with torch.no_grad():
        ...     model[1].weight[:, 2] = 0
        >>> found = tg.compensate_(model, dense, [torch.randn(50, 4), torch.randn(50, 4)])
        >>> found.after < 1e-6 < found.before
        True
    """
    check_network("model", model)
    check_network("dense", dense)
    fitting, held = split_batches(inputs)
    own = {clean_name(name): module for name, module in plain_model(model).named_modules()}
    whole, small = plain_copy(dense).eval(), plain_copy(model).eval()
    if _shapes(whole) != _shapes(small):
        raise InvalidValueError("model and dense must have the same layers with weights of the same shapes")
    for name, layer in (*registered_layers(small).items(), *registered_layers(whole).items()):
        weight = layer._parameters.get("weight")
        if weight is not None and not bool(torch.isfinite(weight).all()):
            raise LayerError(f"layer {name!r} has NaN or infinite weights; its rows cannot be fitted")
    left = {name: reason for name in _shapes(small) if (reason := _unwritable(own[name]))}
    if any(parameter.requires_grad for parameter in model.parameters()):
        frozen = [name for name in _shapes(small) if not all(p.requires_grad for p in own[name].parameters())]
        left = {**dict.fromkeys(frozen, "it is frozen"), **left}
    runs = PairedRuns(whole, fitting)
    wanted = [float_outputs(whole, batch) for batch in held]
    before = output_error(small, wanted, held)
    layers = _fit_layers_(small, runs, [name for name in runs.order if name not in left], fitting, held)
    after = output_error(small, wanted, held)
    if not after < before:
        if before >= _SAME:
            warnings.warn(
                f"compensation would make the outputs worse on batches that it has not seen (error {before:.3g}, after "
                f"it {after:.3g}); nothing is changed. Give more batches",
                GrowlWarning,
                stacklevel=users_stacklevel(),
            )
        return Compensation(before, before, {}, left)
    with torch.no_grad():
        for name in layers:
            _write_(own[name], small.get_submodule(name))
            if name in runs.norms:
                norm = runs.norms[name]
                cast(Tensor, own[norm].running_mean).copy_(cast(Tensor, small.get_submodule(norm).running_mean))
    return Compensation(before, after, layers, left)


def _unwritable(module: nn.Module) -> str:
    """Return why a layer's rows cannot be written; empty if they can be."""
    if parametrize.is_parametrized(module):
        parts = cast(nn.ModuleDict, module.parametrizations)
        tied = set(parts) == {"weight"} and all(isinstance(part, TiedRows) for part in cast(Any, parts["weight"]))
        return "" if tied else "it has another parametrization than that of tie_"
    for name, kind in permanent_hooks(module).items():
        if kind != "a prune mask" or name != "weight":
            return f"its {name} has {kind}"
        masked = rows_of(module, weight=cast(Tensor, module.weight_mask)) != 0
        if not bool((masked.all(1) | ~masked.any(1)).all()):
            return "its prune mask is one of single weights, not of rows"
    return ""


def _write_(own: nn.Module, plain: nn.Module) -> None:
    """Write a plain layer's weight and bias into a layer, tied, masked or plain."""
    weight, bias = cast(Tensor, plain.weight).detach(), cast("Tensor | None", plain._parameters.get("bias"))
    if parametrize.is_parametrized(own):
        own.weight = weight
    elif "weight_orig" in own._parameters:
        cast(Tensor, own.weight_orig).copy_(weight)
        own.weight = weight * cast(Tensor, own.weight_mask)  # as the mask's hook does before each call
    else:
        cast(Tensor, own.weight).copy_(weight)
    if bias is not None:
        cast(Tensor, own.bias).copy_(bias)


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: cast(Tensor, m.weight).shape for name, m in registered_layers(model).items() if has_moments(m)}


def _fit_layers_(
    small: nn.Module, runs: PairedRuns, names: Iterable[str], fitting: list[Inputs], held: list[Inputs]
) -> dict[str, tuple[float, float]]:
    """Fit one layer after the other, in the order of their calls; return the errors of those that were changed."""
    changed = {}
    for name in names:
        unseen = runs.moments(small, name, held, seed=1)
        layer = LayerToFit(small, name, runs.norms, runs.dense)
        before = layer.error(unseen)
        if before < _SAME:
            continue
        fits = layer.fits(runs.moments(small, name, fitting))
        errors = [error_of(unseen, fit) for fit in fits]
        least = min(errors)
        if least < before:
            layer.write_(fits[errors.index(least)])
            changed[name] = before, least
    return changed
