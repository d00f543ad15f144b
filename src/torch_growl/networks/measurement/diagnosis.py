"""A dry run before any training: which layers can be worked on, which not and why, and what they could save.

Nothing is trained and the network is not touched: a copy is run in eval mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from torch_growl.errors import InvalidTypeError, InvalidValueError, first_line
from torch_growl.networks.compaction import fixed_modules
from torch_growl.networks.execution import batch_of, call, exact_arithmetic, split_inputs
from torch_growl.networks.layers import (
    Side,
    choose_layers,
    clean_name,
    default_layers,
    inspect_layers,
    kind_of,
    plain_copy,
)
from torch_growl.networks.wiring import Wiring, wiring_of

__all__ = ["Diagnosis", "LayerDiagnosis", "doctor"]


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer.

    Attributes:
        name: its dotted name.
        type_name: the name of its type.
        eligible: whether its rows may be penalised and tied.
        chosen: whether it would be, with the ``layers`` that were given.
        reason: why it is not eligible, or not chosen; else empty.
        n_rows: rows; 0 when not eligible.
        row_length: weights in a row; 0 when not eligible.
        weights: elements of its own parameters.
        bytes: of them.
        macs: multiply-adds of its calls at batch 1; 0 for a type that is not registered.
        weight_share: its part of the network's weights, 0..1.
        mac_share: its part of the network's multiply-adds, 0..1.
        form: ``"full"``: rows removed take the producer's output channels with them; ``"local"``: only its own inputs
            go; ``"none"``: not eligible, or rows of outputs.
        producer: the layer whose output channels would go; empty for another form.
        form_reason: why the form is not full.
        half_saves_weights: weights that go with half of the rows, in the layer and its producer.
        half_saves_macs: multiply-adds that go with them.
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
    """What :func:`doctor` found; ``str()`` shows it as a table.

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
        """The table as text, titles first; a line for each layer."""
        return [
            list(_TITLES),
            *(
                [
                    layer.name or "(root)",
                    layer.type_name,
                    "yes" if layer.chosen else "if asked" if layer.eligible else "no",
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


_TITLES = ("layer", "type", "work on", "rows", "weights", "MACs", "form", "½ saves", "½ saves MACs", "why not")


def doctor(
    model: nn.Module, example_inputs: Any, *, side: Side = "input", layers: Iterable[str] | None = None
) -> Diagnosis:
    """Say before any training which layers can be made smaller, why not the others, and what it could save.

    Args:
        model: the network; not modified, a copy is run.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones, on the network's device.
        side: which side's rows are meant.
        layers: what would be worked on, as for ``GrOWL``; None: its default.

    Raises:
        LayerError: a name in ``layers`` matches no layer, or one that is not eligible.
        InvalidValueError: the network cannot be run on the example.
        CompactionError: it cannot be copied.
    """
    if not isinstance(model, nn.Module):
        raise InvalidTypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    inputs = split_inputs(example_inputs)
    infos = {info.name: info for info in inspect_layers(model, side)}
    left_out: Mapping[str, str] = default_layers(list(infos.values())) if layers is None else {}
    chosen = None if layers is None else {info.name for info in choose_layers(model, layers, side)}
    network = plain_copy(model).eval()
    devices = [tensor.device for tensor in network.parameters() if tensor.is_cuda]
    with torch.random.fork_rng(devices=devices):
        macs, total = _count(network, batch_of(inputs, 1))
        with torch.no_grad(), exact_arithmetic(network):
            wiring = wiring_of(network, *inputs, fixed_modules(network))
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
            reason = f"left out unless asked for: {left_out[name]}" if name in left_out else "not among layers"
        producer = producers.get(name, "") if eligible and side == "input" else ""
        rows, length = (info.n_rows, info.row_length) if info is not None and eligible else (0, 0)
        half, mine, saved_macs = rows // 2, 0, 0
        if half and side == "input":
            mine, saved_macs = half * length, macs.get(name, 0) * half // rows
            if producer:  # the producer keeps its share of channels, with its bias
                made = network.get_submodule(producer)
                mine += sum(p.numel() for p in made.parameters(recurse=False)) * half // rows
                saved_macs += macs.get(producer, 0) * half // rows
        form = "none" if not eligible or side == "output" else "full" if producer else "local"
        why = "" if form != "local" else _why_local(name, wiring)
        if eligible and side == "output":
            why = "compact() works on inputs; equal rows of outputs save storage only"
        count = sum(p.numel() for p in own)
        found.append(
            LayerDiagnosis(
                name, type(module).__name__, eligible, picked, reason, rows, length, count,
                sum(p.numel() * p.element_size() for p in own), macs.get(name, 0), count / max(weights, 1),
                macs.get(name, 0) / max(total, 1), form, producer, why, mine, saved_macs,
            )
        )  # fmt: skip
    return Diagnosis(tuple(found), weights, total)


def _why_local(name: str, wiring: Wiring) -> str:
    """Why the channels that a layer reads must all be made."""
    if name not in wiring.inputs:
        return wiring.reasons.get(name, "")
    held = next((wiring.why[c] for c in wiring.inputs[name].tolist() if c in wiring.why), "")
    return (
        f"its inputs must all be made: {held}" if held else "its inputs are the network's, or meet a tensor that stays"
    )


def _count(network: nn.Module, batch: Any) -> tuple[dict[str, int], int]:
    macs: dict[str, int] = {}
    handles = []
    for name, module in network.named_modules():
        kind = kind_of(module)
        if kind is not None:

            def hook(module: nn.Module, args: Any, output: Tensor, name: str = name, kind: Any = kind) -> None:
                macs[name] = macs.get(name, 0) + kind.macs(module, args[0], output)

            handles.append(module.register_forward_hook(hook))
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            call(network, batch)
    except Exception as error:
        raise InvalidValueError(f"the network cannot be run on the example inputs: {first_line(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    return macs, max(counter.get_total_flops() // 2, sum(macs.values()))
