"""A recipe for a network of one's own, after a look over it: its layers, what can be left of it, how long it trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import IterableDataset

from torch_growl.application.authoring.explanation import explained
from torch_growl.application.data import batches, steps_in
from torch_growl.application.recipes import recipe_of
from torch_growl.application.runs import Run, RunFolder
from torch_growl.errors import InvalidValueError
from torch_growl.networks.diagnosis import Diagnosis, doctor
from torch_growl.networks.execution import call

__all__ = ["Proposal", "propose"]

_STRENGTH = 1.5  # tg.GrOWL's default, for which R is shown
_LONG_ENOUGH = 8  # R by which most rows that a strength removes are gone: docs/own-training.md
_STEPS = 2000  # of a training with a target, at least: docs/targets.md
_MOST_EPOCHS, _MOST_STEPS = 100, 200  # of a training; of an epoch of iterable data
_HALF, _ROOM = 0.5, 1.5  # what a target asks for, and over the least that can be left where that is more
_ATTENTION = (nn.LayerNorm, nn.Embedding, nn.MultiheadAttention)


@dataclass(frozen=True)
class Proposal:
    """A recipe as text, and what it was made from.

    Attributes:
        name: the recipe's.
        text: YAML with comments.
        diagnosis: of the network.
        trained: whether the network is taken to be trained.
    """

    name: str
    text: str
    diagnosis: Diagnosis
    trained: bool


def propose(
    model: str,
    data: str,
    *,
    task: str = "classification",
    data_dir: Path | None = None,
    trained: bool | None = None,
    seed: int = 0,
) -> Proposal:
    """Look over a network and its data, and write a recipe that makes the network smaller.

    Args:
        model: ``package.module:function`` that builds the network, or a built-in one.
        data: ``package.module:function`` that returns the datasets, or a built-in one.
        task: as in a recipe.
        data_dir: the folder of the data, if they need one.
        trained: whether the network comes with trained weights, so that it is not trained before the penalty; None: for
            a classification, see whether it is much better than the most frequent class.
        seed: of the network's initial weights.

    Raises:
        GrowlError: network, data or task cannot be used together, or no layer of the network can be made smaller.
    """
    fields: dict[str, Any] = {
        "name": model.partition(":")[0].partition(".")[0],
        "description": f"{model} made smaller, on {data}",
        "seed": seed,
        "task": task,
        "data": {"name": data},
        "model": {"name": model},
    }
    if task == "classification":
        del fields["task"]
    untrained = {"epochs": 1, "lr": 1.0}
    draft = {**fields, "dense": untrained, "train": untrained, "retrain": untrained}
    run = Run(RunFolder(Path("no run")), recipe_of(draft, where="growl init"), data_dir=data_dir)
    run.check_task()
    network = run.network().to(run.device)
    trained = _is_trained(run, network) if trained is None else trained
    look = _Look(run, network, trained)
    fields |= look.fields()
    recipe_of(fields, where="growl init")  # every field is checked
    return Proposal(fields["name"], explained(fields, look.notes(), look.head()), look.diagnosis, trained)


class _Look:
    """The features of a network that matter for its recipe, and the fields and comments that follow from them."""

    def __init__(self, run: Run, network: nn.Module, trained: bool) -> None:
        self.trained = trained
        self.names = (run.recipe.model.name, run.recipe.data.name)
        self.attention = any(isinstance(module, _ATTENTION) for module in network.modules())
        self.phase = _phase(self.attention, trained)
        train: Any = run.splits.train
        length = len(train) if hasattr(train, "__len__") else None
        wanted = 128 if length is None else max(8, min(128, 2 ** int(math.log2(max(length / 20, 8)))))
        reading = run.reading
        self.data: dict[str, Any] = {"name": self.names[1]}
        if isinstance(train, IterableDataset):  # perhaps without an end
            found = sum(1 for _ in islice(batches(train, wanted, drop_last=True, reading=reading), _MOST_STEPS))
            if found == _MOST_STEPS:
                self.data["steps_per_epoch"] = _MOST_STEPS
                reading = replace(reading, steps_per_epoch=_MOST_STEPS)
        self.batch, self.steps = steps_in(train, wanted, reading)
        self.epochs = _epochs(self.steps)
        self.diagnosis = self._diagnosed(run, network)
        if obstacle := self.diagnosis.feasibility.obstacle:
            raise InvalidValueError(f"no layer of {self.names[0]!r} can be made smaller: {obstacle}")
        self.layers = self._layers(run)

    def _diagnosed(self, run: Run, network: nn.Module) -> Diagnosis:
        """Diagnose the network with gradients of one batch, on which the steps of AdamW depend."""
        found = next(iter(batches(run.splits.train, self.batch, run.recipe.seed, reading=run.reading)))
        batch = run.task.read(found).to(run.device)
        network.train()
        run.task.loss(run.task.output(call(network, batch.inputs)), batch.labels).backward()
        parameters = [each for each in network.parameters() if each.requires_grad]
        optimizer: Any = torch.optim.AdamW(parameters, lr=self.phase["lr"])
        if not self.attention:
            optimizer = torch.optim.SGD(parameters, lr=self.phase["lr"], momentum=0.9)
        example = run.task.read(found).to(run.device).example_inputs
        return doctor(
            network, example, check=True, strength=_STRENGTH, optimizer=optimizer, steps=self.epochs * self.steps
        )

    def _layers(self, run: Run) -> list[str]:
        """The layers that a target removes rows of, as the penalty chooses them."""
        fields = run.recipe.model_dump(exclude_unset=True) | {"target": {"weights": 0.999}, "growl": {}}
        return list(Run(run.folder, recipe_of(fields, where="growl init")).layers)

    # ── the recipe ──────────────────────────────────────────────────────────────────────────────────────────────

    def fields(self) -> dict[str, Any]:
        """The fields that follow from the look."""
        half = max(1, self.epochs // 2)
        return {
            "data": self.data,
            "dense": {"epochs": 0 if self.trained else self.epochs, "batch_size": self.batch, **self.phase},
            "train": {"epochs": self.epochs, "batch_size": self.batch, **self.phase, "start": "dense"},
            "target": {self._measure[0]: self._measure[1]},
            "growl": {"layers": self.layers},
            "tying": {"method": "affinity", "preference": 0.8},
            "retrain": {"epochs": half, "batch_size": self.batch, **self.phase},
        }

    @property
    def _measure(self) -> tuple[str, float]:
        """The measure that is asked for, and the share that is to be left."""
        for of in ("macs", "weights"):
            for each in self.diagnosis.feasibility.measures:
                least = each.least / each.dense
                if each.of == of and least < 1:
                    return of, _HALF if least * _ROOM < _HALF else round((1 + least) / 2, 3)
        raise InvalidValueError(
            f"no layer of {self.names[0]!r} can be made smaller: with the fewest rows it has as many weights and MACs "
            "as before; growl doctor shows what holds every layer"
        )

    # ── the comments ────────────────────────────────────────────────────────────────────────────────────────────

    def head(self) -> list[str]:
        """The lines at the top: how to run it, the layers, what can be left."""
        model, data = self.names
        lines = [
            f"A recipe for {model} on {data}, written by `growl init` after a look over the network.",
            "Run it in this folder with `growl run` and this file's name. Every field is a proposal: settings that",
            "your network is known to train well with are better than these.",
            "",
            f"The network has {self.diagnosis.weights:,} weights and {self.diagnosis.macs:,} multiply-adds for one "
            "example. Its layers:",
        ]
        for layer in self.diagnosis.layers:
            share = f"{layer.weight_share:.0%} of the weights, {layer.mac_share:.0%} of the MACs"
            name = f"{layer.name or '(root)'} ({layer.type_name}, {share})"
            if layer.name in self.layers:
                lines.append(f"  {name}: {layer.n_rows} rows, penalised")
            else:
                lines.append(f"  {name}: left as it is: {layer.reason or 'its rows are not removed'}")
        return [*lines, "", *self.diagnosis.feasibility.lines(), *self._checked()]

    def _checked(self) -> Sequence[str]:
        return () if self.diagnosis.check is None else ("", *self.diagnosis.check.lines())

    def notes(self) -> dict[str, list[str]]:
        """Further comments on fields."""
        of, share = self._measure
        (reach,) = (each for each in self.diagnosis.feasibility.measures if each.of == of)
        total = self.epochs * self.steps
        dense = "The network comes with trained weights, so it is not trained before." if self.trained else (
            "The network is trained from its initial weights first. If build returns trained weights: 0 epochs here, "
            "and a tenth of the learning rate (growl init --trained)."
        )  # fmt: skip
        return {
            "target": [
                f"At least {reach.least / reach.dense:.1%} of the {of} can be left; {share:.1%} are asked for. "
                "accuracy_drop: 1 in its place looks for the smallest network that loses at most a point."
            ],
            "dense": [dense],
            "train.epochs": [
                f"{self.epochs} epochs of {self.steps:,} steps are {total:,} steps. A target is reached in 20 steps "
                "or more, and more steps give a better network.",
                *self._on_strength(total),
            ],
            "growl.layers": ["Why other layers are left out is said at the top."],
            "tying": [
                "Tied inputs are summed before a smaller product. They pay where inputs carry the same information, as "
                "neighbouring pixels do; method: none prunes only."
            ],
        }

    def _on_strength(self, total: int) -> list[str]:
        """The exponent R of every layer, for those who give a strength in place of the target."""
        shown = sorted(self.diagnosis.effects, key=lambda each: -each.exponent)
        if not shown:
            return []
        least = shown[-1]
        lines = [
            f"With growl.strength: {_STRENGTH} in place of the target, the exponent R of this training would be "
            + ", ".join(f"{each.exponent:.2g} in {each.layer or '(root)'}" for each in shown[:8])
            + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
            + " (growl doctor; below 1 a strength has no effect)."
        ]
        if 0 < least.exponent < _LONG_ENOUGH:
            wanted = math.ceil(_LONG_ENOUGH / least.exponent * total / self.steps)
            lines.append(f"R = {_LONG_ENOUGH}, long enough for a strength, needs {wanted:,} epochs in {least.layer}.")
        return lines


def _phase(attention: bool, trained: bool) -> dict[str, Any]:
    """Optimizer and learning rate: AdamW for networks with attention or embeddings, SGD for others."""
    if attention:
        return {"optimizer": "adamw", "lr": 1e-4 if trained else 1e-3, "weight_decay": 0.01, "schedule": "cosine"}
    return {"optimizer": "sgd", "lr": 0.01 if trained else 0.05, "weight_decay": 5e-4, "schedule": "cosine"}


def _epochs(steps: int) -> int:
    return max(2, min(_MOST_EPOCHS, math.ceil(_STEPS / steps)), math.ceil(20 / steps))


@torch.inference_mode()
def _is_trained(run: Run, network: nn.Module) -> bool:
    """Tell whether a classifier is much better than the most frequent class on some validation examples."""
    if run.recipe.task != "classification":
        return False
    sums, classes = torch.zeros(2, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
    network.eval()
    for found in islice(batches(run.splits.validation, 64, reading=run.reading), 8):
        batch = run.task.read(found).to(run.device)
        sums += run.task.sums(run.task.output(call(network, batch.inputs)), batch.labels).cpu()
        classes = torch.cat([classes, batch.labels.flatten().cpu()])
    frequent = int(classes.bincount().max()) / len(classes)
    return run.task.score(sums) > min(2 * frequent, (1 + frequent) / 2)
