"""A diagnosis of a network before any training: the layers that can be pruned and tied, the reasons, the savings.

Nothing is trained and the network is not modified: a copy is run in eval mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from torch_growl.networks.compaction import fixed_modules
from torch_growl.networks.execution import Inputs, batch_of, exact_arithmetic, split_inputs
from torch_growl.networks.layers import (
    Side,
    check_network,
    choose_layers,
    clean_name,
    default_layers,
    inspect_layers,
    kind_of,
    plain_copy,
)
from torch_growl.networks.measurement.counts import layer_macs
from torch_growl.networks.wiring import Wiring, wiring_of

__all__ = ["Diagnosis", "LayerDiagnosis", "doctor", "recorded_run"]


@dataclass(frozen=True)
class LayerDiagnosis:
    """The diagnosis of one layer.

    Attributes:
        name: its dotted name.
        type_name: the name of its type.
        eligible: whether its rows may be penalised and tied.
        chosen: whether the given ``layers`` (or the default) include it.
        reason: why it is not eligible, or not chosen; otherwise empty.
        n_rows: number of rows; 0 if it is not eligible.
        row_length: weights in a row; 0 if it is not eligible.
        weights: elements of its own parameters.
        bytes: size of its own parameters.
        macs: multiply-adds of its calls at batch 1; 0 for a type that is not registered.
        weight_share: its share of the network's weights, in [0, 1].
        mac_share: its share of the network's multiply-adds, in [0, 1].
        form: ``"full"``: removing its rows also removes output channels of the layer before it; ``"local"``: only its
            own inputs are removed; ``"none"``: it is not eligible, or the rows are those of outputs.
        producer: the layer whose output channels are removed with its rows; empty for the other forms.
        form_reason: why the form is not full.
        half_saves_weights: weights saved in the layer and its producer if half of the rows are removed.
        half_saves_macs: multiply-adds saved if half of the rows are removed.
    """

    name: str
    type_name: str
    eligible: bool
    chosen: bool
    reason: str
    n_rows: int
    row_length: int
    weights: int
    bytes: int
    macs: int
    weight_share: float
    mac_share: float
    form: str
    producer: str
    form_reason: str
    half_saves_weights: int
    half_saves_macs: int


@dataclass(frozen=True)
class Diagnosis:
    """The result of :func:`doctor`; ``str()`` shows it as a table.

    Attributes:
        layers: every module that owns parameters with two dimensions or more, in the order of registration.
        weights: elements of all of the network's parameters.
        macs: multiply-adds of the network at batch 1.
    """

    layers: tuple[LayerDiagnosis, ...]
    weights: int
    macs: int

    def to_records(self) -> list[dict[str, Any]]:
        """One dict for each layer, for JSON or a data frame."""
        return [asdict(layer) for layer in self.layers]

    def cells(self) -> list[list[str]]:
        """The cells of the table as text: the titles, then one line for each layer."""
        return [
            list(_TITLES),
            *(
                [
                    layer.name or "(root)",
                    layer.type_name,
                    "yes" if layer.chosen else "if named" if layer.eligible else "no",
                    f"{layer.n_rows} x {layer.row_length}" if layer.eligible else "",
                    f"{layer.weight_share:.1%}",
                    f"{layer.mac_share:.1%}",
                    layer.form,
                    f"{layer.half_saves_weights:,}",
                    f"{layer.half_saves_macs:,}",
                    "; ".join(text for text in (layer.reason, layer.form_reason) if text),
                ]
                for layer in self.layers
            ),
        ]

    def __str__(self) -> str:
        lines = self.cells()
        widths = [max(len(line[column]) for line in lines) for column in range(len(_TITLES))]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


_TITLES = ("layer", "type", "penalised", "rows", "weights", "MACs", "form", "½ saves", "½ saves MACs", "reason")


def doctor(
    model: nn.Module, example_inputs: Any, *, side: Side = "input", layers: Iterable[str] | None = None
) -> Diagnosis:
    """Report before any training which layers can be pruned and tied, why the others cannot, and the possible savings.

    Args:
        model: the network; not modified, because a copy is run.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones, on the network's device.
        side: the side whose rows are penalised, ``"input"`` or ``"output"``.
        layers: patterns of the layers to penalise, as for ``GrOWL``; None: its default.

    Raises:
        LayerError: a name in ``layers`` matches no layer, or one that is not eligible.
        InvalidTypeError: ``model`` is not a module.
        InvalidValueError: the network cannot be run on the example inputs.
        CompactionError: the network cannot be copied.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> for layer in tg.doctor(model, torch.randn(3, 6)).layers:
        ...     print(layer.name, layer.form, layer.producer, layer.half_saves_weights)
        0 local  24
        2 full 0 36
    """
    check_network("model", model)
    inputs = split_inputs(example_inputs)
    infos = {info.name: info for info in inspect_layers(model, side)}
    left_out: Mapping[str, str] = default_layers(list(infos.values())) if layers is None else {}
    chosen = None if layers is None else {info.name for info in choose_layers(model, layers, side)}
    network = plain_copy(model).eval()
    macs, total, wiring = recorded_run(network, inputs)
    producers = {link.consumer: name for name, links in wiring.links.items() for link in links}
    weights = sum(p.numel() for p in network.parameters())
    found = []
    for name, module in network.named_modules():
        own = [p for p in module._parameters.values() if p is not None]
        if not own or (kind_of(module) is None and all(p.ndim < 2 for p in own)):
            continue
        info = infos.get(clean_name(name))
        reason = f"unsupported type {type(module).__name__}: its weights are kept as they are"
        if info is not None and info.kind is not None:
            reason = info.reason
        eligible = not reason
        picked = eligible and (name in chosen if chosen is not None else name not in left_out)
        if eligible and not picked:
            reason = f"left out by default: {left_out[name]}" if name in left_out else "not among the given layers"
        producer = producers.get(name, "") if eligible and side == "input" else ""
        rows, length = (info.n_rows, info.row_length) if info is not None and eligible else (0, 0)
        saved_weights, saved_macs = 0, 0
        if rows and side == "input":
            saved_weights, saved_macs = _half_saves(network, name, producer, rows, length, macs)
        form = "none" if not eligible or side == "output" else "full" if producer else "local"
        form_reason = _why_local(name, wiring) if form == "local" else ""
        if eligible and side == "output":
            form_reason = "compact() removes inputs; equal rows of outputs save storage only"
        count = sum(p.numel() for p in own)
        found.append(
            LayerDiagnosis(
                name, type(module).__name__, eligible, picked, reason, rows, length, count,
                sum(p.numel() * p.element_size() for p in own), macs.get(name, 0), count / max(weights, 1),
                macs.get(name, 0) / max(total, 1), form, producer, form_reason, saved_weights, saved_macs,
            )
        )  # fmt: skip
    return Diagnosis(tuple(found), weights, total)


def recorded_run(network: nn.Module, inputs: Inputs) -> tuple[dict[str, int], int, Wiring]:
    """Run a network for its multiply-adds, by layer and in all, and for its wiring; the random state stays as it is.

    Args:
        network: in eval mode, a plain copy; not modified.
        inputs: an example.

    Raises:
        InvalidValueError: the network cannot be run on it.
    """
    devices = [tensor.device for tensor in network.parameters() if tensor.is_cuda]
    with torch.random.fork_rng(devices=devices):
        macs, total = layer_macs(network, batch_of(inputs, 1))
        with torch.no_grad(), exact_arithmetic(network):
            return macs, total, wiring_of(network, [inputs], fixed_modules(network))


def _half_saves(
    network: nn.Module, name: str, producer: str, rows: int, length: int, macs: Mapping[str, int]
) -> tuple[int, int]:
    """The weights and multiply-adds saved if half of a layer's rows are removed, with its producer's channels."""
    half = rows // 2
    weights, saved_macs = half * length, macs.get(name, 0) * half // rows
    if producer:  # its channels are removed in the same proportion, with their biases
        made = network.get_submodule(producer)
        weights += sum(p.numel() for p in made.parameters(recurse=False)) * half // rows
        saved_macs += macs.get(producer, 0) * half // rows
    return weights, saved_macs


def _why_local(name: str, wiring: Wiring) -> str:
    """The reason why none of the channels that a layer reads can be removed where they are made."""
    if name not in wiring.inputs:
        return wiring.reasons.get(name, "")
    kept = next((wiring.why[c] for c in wiring.inputs[name].tolist() if c in wiring.why), "")
    if kept:
        return f"its input channels must all be kept: {kept}"
    return "its inputs are the network's, or are combined with a tensor that is kept"
