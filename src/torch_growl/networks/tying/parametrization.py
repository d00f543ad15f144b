"""Tying enforced while a network trains: a parametrization whose only trained parameter is the centroids.

Tied rows are equal by construction, pruned rows zero. A group of s rows with common value c is stored as √s · c: the
gradient of √s · c is the sum over the group divided by √s, so a plain SGD step on it, momentum and weight decay
included, *is* a step on every row followed by averaging the group (the paper's stage (ii)). Adam's steps are not
linear in the gradient: with Adam the rows stay tied too, but its steps are not claimed to be those of the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from torch_growl.arguments import check_type
from torch_growl.errors import LayerError
from torch_growl.networks.layers import (
    Side,
    check_network,
    clean_name,
    inspect_layers,
    make_plain_,
    matching,
    outside_inference_mode,
    plain_model,
    plain_save_pretrained_,
    row_norms,
    rows_of,
    warn_on_save_pretrained_,
    write_rows_,
)
from torch_growl.networks.sharding import is_sharded
from torch_growl.networks.tying.averaging import SharedRows, average_after_, stop_averaging
from torch_growl.networks.tying.tying import LayerTying, Tying

__all__ = ["TiedRows", "tie_", "untie_"]

_PRETRAINED = (
    "tied weights are stored as parametrizations, which from_pretrained does not know: every tied layer loads as "
    "random weights; use untie_(copy.deepcopy(model)).save_pretrained(folder), or compact() and save()"
)


class TiedRows(nn.Module):
    """The parametrization that maps centroids ``(n_groups, row_length)`` to the layer's weight.

    Its buffers are ``labels`` (int64 ``(n_rows,)``, −1 pruned) and ``root`` (``(n_groups, 1)``, √group size); they
    are in the state_dict, so that a checkpoint contains the tying.
    """

    labels: Tensor
    root: Tensor

    def __init__(self, layer: nn.Module, tying: LayerTying) -> None:
        super().__init__()
        weight = cast(Tensor, layer.weight)
        sizes = torch.tensor(tying.partition.sizes, dtype=torch.float64)
        self.register_buffer("labels", tying.partition.tensor(weight.device))
        self.register_buffer("root", sizes.sqrt().to(weight).unsqueeze(1))
        self.side: Side = tying.side
        self._shape = weight.shape
        last = torch.channels_last
        self._channels_last = (
            weight.ndim == 4 and weight.is_contiguous(memory_format=last) and not weight.is_contiguous()
        )
        # The layer defines the rows of its weight; inside a tuple it does not become a submodule of its own part.
        self._layer = (layer,)

    def forward(self, centroids: Tensor) -> Tensor:
        """The layer's weight; the rows of a group are bit-equal, pruned rows are exactly zero."""
        values = torch.cat([centroids / self.root, centroids.new_zeros(1, centroids.shape[1])])
        rows = values[self.labels]  # label −1 is the last row, zero
        layout = torch.channels_last if self._channels_last else torch.contiguous_format
        weight = torch.empty(self._shape, dtype=rows.dtype, device=rows.device, memory_format=layout)
        write_rows_(self._layer[0], rows, self.side, weight)
        return weight

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The centroids of a weight: √s times the mean of every group's rows, summed in float64."""
        return self.sums(weight).to(weight.dtype).contiguous()

    def sums(self, weight: Tensor) -> Tensor:
        """Each group's sum of rows divided by √s, float64 ``(n_groups, row_length)``; of weights or of momenta."""
        rows = rows_of(self._layer[0], self.side, weight).double()
        total = rows.new_zeros(len(self.root) + 1, rows.shape[1])
        total.index_add_(0, self.labels.masked_fill(self.labels < 0, len(self.root)), rows)
        return total[:-1] / self.root.double()


def tie_(model: nn.Module, tying: Tying, optimizer: Optimizer | None = None) -> nn.Module:
    """Enforce a tying: from now on only centroids are trained, and pruned rows stay zero.

    Every group is set to the mean of its rows. Tied layers are torch parametrizations: the trained parameter is
    ``layer.parametrizations.weight.original`` and ``layer.weight`` is computed from it.

    Args:
        model: the network; modified in place and returned.
        tying: the tying, from :func:`torch_growl.find_tying`; layers that it does not name are left as they are.
        optimizer: one that trains the network already. Parameters keep their identity but change shape: SGD's momentum
            is converted exactly, the state of any other optimizer is cleared for the tied layers. If none is given,
            build the optimizer afterwards. Needed for a weight that is spread over processes (FSDP2, tensor parallel):
            it stays a parameter, and its tied rows are averaged after every step of the optimizer, which with SGD is
            the same training.

    Raises:
        InvalidTypeError: ``model`` or ``tying`` is of the wrong type.
        LayerError: a layer is unknown, not eligible, has another number of rows, has NaN or infinite weights, or is
            spread over processes and no optimizer is given, or one that averages its rows already; nothing is changed
            then.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(5, 2))
        >>> rows = [[3.0, 4.0], [3.1, 4.0], [0.0, 0.0], [4.0, -3.0], [4.0, -3.1]]  # one for each input
        >>> model[0].weight.data = torch.tensor(rows).T
        >>> tying = tg.find_tying(model, ["0"], preference=0.9)
        >>> _ = tg.tie_(model, tying)
        >>> [tuple(parameter.shape) for parameter in model.parameters()]  # the bias, and 2 centroids for 5 rows
        [(2,), (2, 2)]
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> for _ in range(3):
        ...     model(torch.randn(8, 5)).square().mean().backward()
        ...     optimizer.step()
        >>> tying["0"].partition.holds(model[0].weight.T)
        True
    """
    check_network("model", model)
    check_type("tying", tying, Tying)
    todo, spread = [], []
    for layer in tying:
        infos = inspect_layers(model, layer.side)
        info = next(info for info in matching(layer.name, infos) if info.name == layer.name)
        if not info.eligible:
            raise LayerError(f"layer {layer.name!r} ({info.type_name}) cannot be tied: {info.reason}")
        if (info.n_rows, info.row_length) != (layer.partition.n_rows, layer.row_length):
            raise LayerError(
                f"layer {layer.name!r} has {info.n_rows} rows of {info.row_length}, the tying "
                f"{layer.partition.n_rows} of {layer.row_length}: it was made for another network"
            )
        if not bool(torch.isfinite(row_norms(info.module, layer.side)).all()):
            raise LayerError(f"layer {layer.name!r} has NaN or infinite weights; it cannot be tied")
        if is_sharded(info.module.weight):
            spread.append(SharedRows(layer.name, info.module, layer.partition, layer.side))
            continue
        with outside_inference_mode():
            todo.append((info.module, TiedRows(info.module, layer)))
    average_after_(model, spread, optimizer)
    with outside_inference_mode():
        for module, tied in todo:
            parametrize.register_parametrization(module, "weight", tied)
            if optimizer is not None:
                _carry_state(optimizer, _parts(module).original, tied.right_inverse)
    if todo:
        warn_on_save_pretrained_(model, _PRETRAINED)
    return model


def _parts(module: nn.Module) -> parametrize.ParametrizationList:
    return cast(parametrize.ParametrizationList, cast(nn.ModuleDict, module.parametrizations)["weight"])


@torch.no_grad()
def _carry_state(optimizer: Optimizer, parameter: Tensor, carry: Callable[[Tensor], Tensor]) -> None:
    state = optimizer.state.get(parameter)
    if not state:
        return
    momentum = state.get("momentum_buffer")
    if set(state) <= {"momentum_buffer"}:
        if isinstance(momentum, Tensor):
            state["momentum_buffer"] = carry(momentum)
    else:  # second moments are not linear in the gradient, so they restart from zero
        optimizer.state.pop(parameter)


def untie_(model: nn.Module, optimizer: Optimizer | None = None) -> nn.Module:
    """Make tied layers plain again; the weights stay exactly as they are, equal rows included.

    Args:
        model: a network that :func:`tie_` changed; modified in place and returned. Other parametrizations stay.
        optimizer: as for :func:`tie_`.

    Raises:
        LayerError: no layer is tied.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> model[0].weight.data = torch.tensor([[4.0, 4.5, 0.0, 5.0], [4.0, 4.5, 0.0, -5.0]])  # rows are its columns
        >>> _ = tg.tie_(model, tg.find_tying(model, ["0"], preference=0.8))
        >>> [name for name, _ in model.named_parameters()]
        ['0.bias', '0.parametrizations.weight.original']
        >>> _ = tg.untie_(model)
        >>> model[0].weight.round(decimals=3).tolist()  # rows 0 and 1 were similar: now they are equal
        [[4.25, 4.25, 0.0, 5.0], [4.25, 4.25, 0.0, -5.0]]
    """
    tied = list(tied_layers(check_network("model", model)).items())
    if not stop_averaging(model, optimizer) and not tied:
        raise LayerError(
            "no layer of this network is tied: there is nothing to untie (of a network that is spread over processes, "
            "give the optimizer that was given to tie_)"
        )
    with outside_inference_mode():
        for _, (module, part) in tied:
            original = _parts(module).original
            make_plain_(module, "weight")
            if optimizer is not None:
                _carry_state(optimizer, original, part)
    plain_save_pretrained_(model)
    return model


def tied_layers(model: nn.Module) -> dict[str, tuple[nn.Module, TiedRows]]:
    """The tied layers of a network by name, each with its parametrization."""
    found = {}
    for name, module in plain_model(model).named_modules():
        if parametrize.is_parametrized(module, "weight"):
            parts = _parts(module)
            if len(parts) == 1 and isinstance(parts[0], TiedRows):
                found[clean_name(name)] = (module, parts[0])
    return found
