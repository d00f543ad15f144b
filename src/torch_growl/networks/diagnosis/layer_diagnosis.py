"""The diagnosis of every layer: whether it can be pruned and tied, what it would save, and why it cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from torch_growl.networks.execution import Inputs
from torch_growl.networks.layers import (
    Side,
    choose_layers,
    clean_name,
    default_layers,
    inspect_layers,
    kind_of,
)
from torch_growl.networks.measurement import recorded_run
from torch_growl.networks.wiring import Wiring

__all__ = ["LayerDiagnosis", "diagnose_layers"]


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


def diagnose_layers(
    model: nn.Module, network: nn.Module, inputs: Inputs, side: Side, layers: Iterable[str] | None
) -> tuple[list[LayerDiagnosis], int, int]:
    """Describe every module of a network that owns parameters with two dimensions or more.

    Args:
        model: the network.
        network: a plain copy of it in eval mode.
        inputs: an example.
        side, layers: as for :func:`torch_growl.doctor`.

    Returns:
        The layers, the network's weights, and its multiply-adds.
    """
    infos = {info.name: info for info in inspect_layers(model, side)}
    left_out: Mapping[str, str] = default_layers(list(infos.values())) if layers is None else {}
    chosen = None if layers is None else {info.name for info in choose_layers(model, layers, side)}
    macs, total, _, wiring = recorded_run(network, inputs)
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
    return found, weights, total


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
