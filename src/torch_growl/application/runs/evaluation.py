"""Evaluation of a run: its networks are read from files, tested, measured and compared, which gives ``result.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from torch_growl.application.data import batches
from torch_growl.application.reports import collapse, loss_note
from torch_growl.application.runs.environment import environment_record
from torch_growl.application.runs.run import Run
from torch_growl.application.tasks import ACCURACY
from torch_growl.application.training import evaluate
from torch_growl.errors import GrowlError
from torch_growl.networks.compaction import structure_of
from torch_growl.networks.execution import call, difference, tensors_in
from torch_growl.networks.layers import rows_of
from torch_growl.networks.measurement import Comparison, compare_latency, layer_costs, measure
from torch_growl.networks.storage import packed_bytes
from torch_growl.networks.tying import tie_, untie_

__all__ = ["compare_run", "dense_file_bytes", "make_result"]

_ROUNDING = 1e-4  # difference of outputs, as a part of their size
_TIMING = 1.05  # of a target of latency: times differ from call to call


def make_result(run: Run) -> dict[str, Any]:
    """Test the network of every stage, measure dense and compact network, and check the guarantees.

    Raises:
        GrowlError: rows of a group are not equal, a pruned row is not zero, or the compact network in float32 has
            other outputs than the retrained one; each would be a bug of torch-growl.
    """
    recipe, folder, test = run.recipe, run.folder, run.splits.test
    tying = run.tying()
    dense, regularized, retrained = run.trained("dense"), run.trained("train"), run.trained("retrain")
    tied = untie_(tie_(run.grouped(), tying)) if len(tying) else run.grouped()
    small = run.compacted().eval().to(run.device)
    for layer in tying:
        if not layer.partition.holds(rows_of(retrained.get_submodule(layer.name), layer.side)):
            raise GrowlError(f"layer {layer.name!r}: the retrained rows differ from the tying; please report this")
    agreement = _compare(run, retrained, small)
    if agreement.fault and recipe.compact.dtype == "float32":  # other types round the weights, so outputs may differ
        raise GrowlError(
            f"the compact and the retrained network differ on {agreement.differing} of {agreement.predictions} "
            f"predictions for the test examples: {agreement.fault}; please report this"
        )

    example = run.example()
    latency = _latency_ms(compare_run(run, dense, small))
    dense, small = dense.cpu(), small.cpu()
    before, after = measure(dense, example, latency=False), measure(small, example, latency=False)
    sizes: dict[str, float] = {
        "weights": after.weights,
        "macs": after.macs,
        "bytes": after.bytes,
        "file_bytes": folder.model_file.stat().st_size,
    }
    stages = {name: folder.finished(name, recipe)["seconds"] for name in recipe.trainings}
    splits = run.splits
    cuts = structure_of(small)
    stored = after.bytes - after.index_bytes + packed_bytes(cuts)
    score = {
        "dense": evaluate(dense.to(run.device), test, run.device, **run.testing),
        "regularized": evaluate(regularized, test, run.device, **run.testing),
        "tied": evaluate(tied, test, run.device, **run.testing),
        "retrained": agreement.retrained,
        "compact": agreement.compact,
    }
    metric = run.task.metric
    fall = (
        collapse(folder.records("train", recipe.train.epochs, recipe), metric)
        if recipe.penalised and recipe.accuracy_drop is None
        else ""
    )
    return {
        "schema": 2,
        "recipe": recipe.name,
        "recipe_description": recipe.description,
        "seed": recipe.seed,
        "dataset": {
            "name": splits.name,
            **{part: _length(getattr(splits, part)) for part in ("train", "validation", "test")},
            "pixel_shape": splits.pixel_shape,
        },
        "model": recipe.model.name,
        "epochs": {name: phase.epochs for name, phase in recipe.trainings.items()},
        "task": recipe.task,
        "metric": metric.to_dict(),
        "score": score,
        **({"accuracy": score} if metric == ACCURACY else {}),
        "notes": [note for note in (fall, loss_note(score, recipe, metric)) if note],
        "target": _target_record(run, small, sizes),
        "layers": tying.records(),
        "sparsity": tying.sparsity,
        "sharing": tying.sharing,
        "compression": {
            "layers": tying.compression(chain=recipe.tying.chain),
            "network": before.bytes / stored,
            "file": dense_file_bytes(dense.cpu()) / folder.model_file.stat().st_size,
        },
        "file_dtype": recipe.compact.dtype,
        "file_bytes": {"dense": dense_file_bytes(dense), "compact": folder.model_file.stat().st_size},
        "parameters": {"dense": before.weights, "compact": after.weights},
        "bytes": {"dense": before.bytes, "compact": stored},
        "bytes_held": {"dense": before.bytes, "compact": after.bytes},
        "macs": {"dense": before.macs, "compact": after.macs},
        "measure": {"dense": before.to_dict(), "compact": after.to_dict()},
        "latency_ms": latency,
        "cuts": cuts.to_records(),
        "layer_costs": _layer_costs(dense, small, example),
        "checks": {"rows_bit_equal": True, "pruned_rows_zero": True, **agreement.checks},
        "seconds": stages,
        "environment": environment_record(run.device),
    }


@dataclass
class _Agreement:
    """The metric of the retrained and of the compact network, and where their outputs differ."""

    retrained: float = 0.0
    compact: float = 0.0
    predictions: int = 0
    differing: int = 0
    fault: str = ""
    decides: bool = True

    @property
    def checks(self) -> dict[str, Any]:
        """The fields of ``checks`` in ``result.json``; outputs that are no decisions always differ by rounding."""
        if self.decides:
            return {"predictions_differ": self.differing}
        return {"outputs_differ_beyond_rounding": bool(self.fault)}


@torch.inference_mode()
def _compare(run: Run, retrained: nn.Module, small: nn.Module) -> _Agreement:
    """Test two networks on the same batches. Predictions that differ by rounding alone, as in a tie, are no fault."""
    task = run.task
    found = _Agreement(decides=task.decides)
    sums = [torch.zeros(()), torch.zeros(())]
    for given in batches(run.splits.test, run.testing["size"], reading=run.reading):
        batch = task.read(given).to(run.device)
        expected, got = (task.output(call(model, batch.inputs)) for model in (retrained, small))
        sums = [
            total + task.sums(output, batch.labels).cpu() for total, output in zip(sums, (expected, got), strict=True)
        ]
        differ = task.predicted(expected) != task.predicted(got)
        found.predictions += differ.numel()
        found.differing += int(differ.sum()) if task.decides else 0
        if bool(differ.any()) and not found.fault:
            pairs = zip(tensors_in(expected), tensors_in(got), strict=True)
            found.fault = next(
                (text for (path, a), (_, b) in pairs if (text := difference(path, b, a, _ROUNDING).fault)), ""
            )
    found.retrained, found.compact = task.score(sums[0]), task.score(sums[1])
    return found


def _layer_costs(dense: nn.Module, small: nn.Module, example: Any) -> list[dict[str, Any]]:
    """The weights and multiply-adds of every layer before and after, in the dense network's order."""
    before, after = layer_costs(dense, example), layer_costs(small, example)
    return [
        {
            "name": name,
            "type": cost.type_name,
            "weights": {"dense": cost.weights, "compact": after[name].weights if name in after else 0},
            "macs": {"dense": cost.macs, "compact": after[name].macs if name in after else 0},
        }
        for name, cost in before.items()
    ]


def _length(split: Any) -> int | None:
    return len(split) if hasattr(split, "__len__") else None


def _target_record(run: Run, small: nn.Module, sizes: dict[str, float]) -> dict[str, Any] | None:
    """Compare what is left, before tying and of the compact network, with the target; None without one.

    A latency is timed again here, and reached within 5 %.
    """
    if run.recipe.target is None:
        return None
    trained = run.folder.records("train", run.recipe.train.epochs, run.recipe)[-1]["target"]
    of, asked, pruned, dense = (trained[name] for name in ("of", "asked", "left", "dense"))
    held = "every layer keeps its growl.min_rows largest rows, and what other layers need of it; train longer, or"
    if of == "accuracy_drop":
        asked, metric = run.recipe.accuracy_drop, run.task.metric
        dense = run.validation_score(run.trained("dense"))
        pruned, left = (metric.lost(dense, run.validation_score(each)) for each in (run.trained("train"), small))
        held = trained["why"] or "train longer, or"
    elif of == "latency_ms":
        left = _timed(run, small)
    else:
        left = sizes[of]
    most = asked * (_TIMING if of == "latency_ms" else 1)
    why = None
    if pruned > most:
        why = f"pruning ended with {pruned:,.6g} {of}: {held} ask for less"
    elif left > most:
        why = "tying took more than it saves: choose fewer or no ties (tying.method: none)"
    record = {"of": of, "asked": asked, "left": left, "reached": left <= most, "why": why}
    return record | {"pruned": pruned, "dense": dense}


def _timed(run: Run, small: nn.Module) -> float:
    """Time the compact network at the batch and in the runtime of a target of latency."""
    target = run.recipe.target or {}
    dense = run.trained("dense")
    batch, runtime = target.get("batch", 1), target.get("runtime", "eager")
    found = compare_run(run, dense, small, batch_sizes=[batch], runtimes=[runtime])[0]
    if found.compact_ms is None:
        raise GrowlError(f"the compact network cannot be timed in {runtime} at batch size {batch}: {found.note}")
    return found.compact_ms


def compare_run(
    run: Run,
    dense: nn.Module,
    small: nn.Module,
    *,
    batch_sizes: Sequence[int] | None = None,
    runtimes: Sequence[str] = ("eager",),
    threads: int | None = None,
    repeats: int | None = None,
) -> list[Comparison]:
    """Time the dense and the compact network on the run's device, for ``result.json`` and for ``growl bench``.

    Args:
        run: its example, device and recipe are used.
        dense: its dense network; moved to the device.
        small: its compact network; moved to the device.
        batch_sizes: None: the recipe's ``measure.batch_sizes``.
        runtimes: as for :func:`compare_latency`.
        threads: None: torch's current number.
        repeats: None: the recipe's ``measure.repeats``.
    """
    return compare_latency(
        dense.to(run.device),
        small.to(run.device),
        pytree.tree_map_only(Tensor, lambda value: value.to(run.device), run.example()),
        batch_sizes=run.recipe.measure.batch_sizes if batch_sizes is None else batch_sizes,
        runtimes=runtimes,
        threads=threads,
        repeats=run.recipe.measure.repeats if repeats is None else repeats,
    )


def _latency_ms(found: Sequence[Comparison]) -> dict[str, dict[str, float]]:
    """Milliseconds by network and batch size."""
    times: dict[str, dict[str, float]] = {"dense": {}, "compact": {}}
    for each in found:
        if each.dense_ms is None or each.compact_ms is None:
            raise GrowlError(f"the networks cannot be timed at batch size {each.batch}: {each.note}")
        times["dense"][str(each.batch)] = each.dense_ms
        times["compact"][str(each.batch)] = each.compact_ms
    return times


def dense_file_bytes(model: nn.Module) -> int:
    """Compute the size in bytes of a dense network's state as a safetensors file."""
    return len(to_bytes({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}))
