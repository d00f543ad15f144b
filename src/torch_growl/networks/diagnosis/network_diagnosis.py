"""A diagnosis of a network before any training: which layers can shrink, what can be reached, what a strength will do.

Nothing is trained and the network is not modified: copies are run in eval mode.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn
from torch.optim import Optimizer

from torch_growl.arguments import check_count
from torch_growl.errors import InvalidValueError
from torch_growl.html_table import html_table
from torch_growl.mathematics.owl import LambdaSequence
from torch_growl.networks.diagnosis.feasibility import Feasibility, feasibility_of
from torch_growl.networks.diagnosis.layer_diagnosis import LayerDiagnosis, diagnose_layers
from torch_growl.networks.diagnosis.self_check import SelfCheck, run_self_check
from torch_growl.networks.diagnosis.strength_effect import StrengthEffect, strength_effects
from torch_growl.networks.execution import split_inputs
from torch_growl.networks.layers import Side, check_network, choose_layers, plain_copy, plain_model

__all__ = ["Diagnosis", "doctor"]


@dataclass(frozen=True)
class Diagnosis:
    """The result of :func:`doctor`; ``str()`` shows it as a table, and so does a notebook.

    Attributes:
        layers: every module that owns parameters with two dimensions or more, in the order of registration.
        weights: elements of all of the network's parameters.
        macs: multiply-adds of the network at batch 1.
        feasibility: the least and the most that a target can ask for, and the layers that hold the least.
        check: the self-check; None if it was not asked for.
        effects: the effect of a strength on every penalised layer; empty if none was given.
        steps: the steps of the training that they are for.
    """

    layers: tuple[LayerDiagnosis, ...]
    weights: int
    macs: int
    feasibility: Feasibility = field(default_factory=Feasibility)
    check: SelfCheck | None = None
    effects: tuple[StrengthEffect, ...] = ()
    steps: int = 0

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
        table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([*table, "", *self.outlook()])

    def _repr_html_(self) -> str:
        titles, *lines = self.cells()
        caption = f"{self.weights:,} weights, {self.macs:,} MACs"
        return html_table(titles, lines, caption=caption, text_columns=_TEXTS, notes=self.outlook())

    def outlook(self) -> list[str]:
        """The lines on what can be reached: the least and the most, the effect of a strength, the self-check."""
        lines = self.feasibility.lines()
        if self.effects:
            width = max(len("layer"), *(len(effect.layer) for effect in self.effects))
            lines += ["", f"{'layer':<{width}}  {'R':>8}  in {self.steps:,} steps with this strength"]
            lines += [
                f"{effect.layer:<{width}}  {effect.exponent:>8.3g}  {effect.verdict(self.steps)}"
                for effect in self.effects
            ]
        if self.check is not None:
            lines += ["", *self.check.lines()]
        return lines


_TITLES = ("layer", "type", "penalised", "rows", "weights", "MACs", "form", "½ saves", "½ saves MACs", "reason")
_TEXTS = (0, 1, 2, 6, 9)  # columns of words


def doctor(
    model: nn.Module,
    example_inputs: Any,
    *,
    side: Side = "input",
    layers: Iterable[str] | None = None,
    min_rows: int = 4,
    latency: bool = False,
    check: bool = False,
    strength: float | None = None,
    sequence: LambdaSequence | None = None,
    optimizer: Optimizer | float | None = None,
    steps: int | None = None,
) -> Diagnosis:
    """Report before any training which layers can be pruned and tied, why the others cannot, and what can be reached.

    Beside the layers, it shows the least that a :class:`torch_growl.Target` can ask for in every measure, and the
    layers that hold it. With a strength, it shows what that will do in a training: the exponent R of the method.

    Args:
        model: the network; not modified, because a copy is run.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones, on the network's device.
        side: the side whose rows are penalised, ``"input"`` or ``"output"``.
        layers: patterns of the layers to penalise, as for ``GrOWL``; None: its default.
        min_rows: the least number of rows that stay in a layer, as for ``GrOWL``.
        latency: also time the dense and the smallest network, in eager PyTorch at batch 1.
        check: also set half of the rows to zero at random, compact, and compare outputs and size, twice.
        strength: with ``optimizer`` and ``steps``: show what this strength of the scale-free form does.
        sequence: the shape of λ for that, as for ``GrOWL``.
        optimizer: the one that will train the network, or the learning rate of SGD without momentum. One that divides
            by the size of the gradient, such as Adam, needs gradients: call ``backward()`` on a loss once before.
        steps: the optimizer steps of the whole training.

    Raises:
        LayerError: a name in ``layers`` matches no layer, or one that is not eligible.
        InvalidTypeError: ``model`` is not a module.
        InvalidValueError: the network cannot be run on the example inputs, one of strength, optimizer and steps is
            given without the others, or the length of the optimizer's steps is not known.
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
    check_count("min_rows", min_rows)
    given = [value is not None for value in (strength, optimizer, steps)]
    if any(given) and not all(given):
        raise InvalidValueError("strength, optimizer and steps go together: all or none of them")
    inputs = split_inputs(example_inputs)
    patterns = None if layers is None else list(layers)
    network = plain_copy(model).eval()
    found, weights, macs = diagnose_layers(model, network, inputs, side, patterns)
    pressed = [info.name for info in choose_layers(model, patterns, side, last=True)]
    if side == "output":
        feasibility = Feasibility(min_rows=min_rows, obstacle="compact() removes inputs, and the rows are outputs")
    else:
        feasibility = feasibility_of(network, example_inputs, found, pressed, min_rows=min_rows, latency=latency)
    effects: tuple[StrengthEffect, ...] = ()
    if strength is not None and optimizer is not None and steps is not None:
        effects = strength_effects(
            plain_model(model), strength, optimizer, steps, layers=patterns, side=side, sequence=sequence,
            min_rows=min_rows,
        )  # fmt: skip
    checked = run_self_check(network, example_inputs, pressed if side == "input" else []) if check else None
    return Diagnosis(tuple(found), weights, macs, feasibility, checked, effects, steps or 0)
