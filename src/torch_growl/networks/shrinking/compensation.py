"""Compensation: what removed and tied inputs carried goes to the rows that stay, without labels or training."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from torch_growl.errors import GrowlWarning, InvalidValueError, LayerError, users_stacklevel
from torch_growl.networks.execution import Inputs
from torch_growl.networks.layers import check_network, permanent_hooks, plain_copy, plain_model, registered_layers
from torch_growl.networks.shrinking.least_squares import LayerToFit
from torch_growl.networks.shrinking.moments import has_moments
from torch_growl.networks.shrinking.paired_runs import PairedRuns, float_outputs, output_error, split_batches

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
    """

    before: float
    after: float
    layers: dict[str, tuple[float, float]]


def compensate_(model: nn.Module, dense: nn.Module, inputs: Any) -> Compensation:
    """Fit the rows that are left to the dense network's outputs, layer by layer, by least squares.

    Zero rows stay zero and bit-equal rows stay bit-equal, so the structure is the same; biases, and the running means
    of batch normalisations that read a layer without a bias, take the means. A layer is changed where the fit errs
    less on batches that it has not seen, with the damping that errs least there.

    Args:
        model: a network with zero or bit-equal rows, without parametrizations; its weights, biases and running means
            are modified.
        dense: the network before rows were removed, of the same layers; not modified.
        inputs: at least two batches: a list, each as for :func:`torch_growl.compact`. No labels are needed. Every
            fourth is held out, of fewer than four the last. A few hundred examples are enough for most networks.

    Raises:
        InvalidTypeError: an argument has another type.
        InvalidValueError: there is one batch only, the networks have other layers, or the model is tied by
            :func:`torch_growl.tie_`.
        LayerError: a layer of the model has a prune mask or an old weight or spectral norm.

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
    for name, module in plain_model(model).named_modules():
        if parametrize.is_parametrized(module):
            raise InvalidValueError(f"layer {name!r} is parametrized (tied); untie the network first, ties stay")
        for kind in permanent_hooks(module).values():
            raise LayerError(f"layer {name!r} has {kind}; make it permanent before its rows are fitted")
    whole, small = plain_copy(dense).eval(), plain_copy(model).eval()
    if _shapes(whole) != _shapes(small):
        raise InvalidValueError("model and dense must have the same layers with weights of the same shapes")
    wanted = [float_outputs(whole, batch) for batch in held]
    before = output_error(small, wanted, held)
    layers = _fit_layers_(small, PairedRuns(whole, fitting), fitting, held)
    after = output_error(small, wanted, held)
    if not after < before:
        if before:
            warnings.warn(
                f"compensation would make the outputs worse on batches that it has not seen (error {before:.3g}, after "
                f"it {after:.3g}); nothing is changed. Give more batches",
                GrowlWarning,
                stacklevel=users_stacklevel(),
            )
        return Compensation(before, before, {})
    with torch.no_grad():
        for target, value in zip(_state(model), _state(small), strict=True):
            if not torch.equal(target, value):
                target.copy_(value)
    return Compensation(before, after, layers)


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: cast(Tensor, m.weight).shape for name, m in registered_layers(model).items() if has_moments(m)}


def _state(model: nn.Module) -> Iterable[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _fit_layers_(
    small: nn.Module, runs: PairedRuns, fitting: list[Inputs], held: list[Inputs]
) -> dict[str, tuple[float, float]]:
    """Fit one layer after the other, in the order of their calls; return the errors of those that were changed."""
    changed = {}
    for name in runs.order:
        unseen = runs.moments(small, name, held, seed=1)
        layer = LayerToFit(small, name, runs.norms)
        before = layer.error(unseen)
        if before < _SAME:
            continue
        fits = layer.fits(runs.moments(small, name, fitting))
        errors = [unseen.error(*fit) for fit in fits]
        least = min(errors)
        if least < before:
            layer.write_(fits[errors.index(least)])
            changed[name] = before, least
    return changed
