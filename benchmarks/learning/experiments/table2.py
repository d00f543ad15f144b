"""Reproduces the paper's Table 2, VGG-16 on CIFAR-10, and adds rows of our own.

Run it with ``python -m benchmarks.learning.experiments.table2 --data DIR`` on a GPU.

Images are kept on the GPU; the network is channels last, computes in bfloat16, and is compiled until it is tied or
compact (every such network would compile anew). The paper's six rows have its settings, epochs and strengths, those of
the built-in recipes. The other rows are GrOWL in its scale-free form with a training that is usual today: at its
default strength, and with a strength that rises until the compact network has a quarter of the MACs; the compact
network is trained with distillation from the dense one. A call runs for ``--minutes`` and stops; the next one resumes
from the last epoch (a rising path starts again). ``--epochs`` is a share of all epochs. Several processes can share the
rows, each with its own ``--only``. On a CPU an epoch takes a quarter of an hour, so ``--cpu`` is needed.
"""

from __future__ import annotations

import argparse
import copy
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

import torch_growl as tg
from benchmarks.harness import results
from benchmarks.harness.command import keep, options, workplace
from benchmarks.learning.training.counting import compacted, matrices, ratio
from benchmarks.learning.training.fitting import Bfloat16, Fit, file_name, keep_state, state_of
from benchmarks.learning.training.on_device import DeviceSplit
from benchmarks.learning.training.resuming import fit_resumed
from benchmarks.learning.training.rising import Rise, press
from torch_growl.application.data.datasets import load_cifar10
from torch_growl.application.data.splits import TensorSplit
from torch_growl.application.models.convolutional import vgg16
from torch_growl.application.recipes import Phase, load_recipe
from torch_growl.application.training.scores import evaluate
from torch_growl.mathematics.owl.sequences import sequence_from_dict

__all__ = ["ROWS", "main"]

PAPER = {
    "none": "none",
    "weight decay": "weight-decay",
    "group lasso": "group-lasso",
    "group lasso + l2": "group-lasso-l2",
    "GrOWL": "growl",
    "GrOWL + l2": "growl-l2",
}
OURS: dict[str, Rise | None] = {  # None: the strength is the default's
    "GrOWL as it comes": None,
    "GrOWL, a quarter of the MACs": Rise(4.05, "macs", growth=1.04),
}
ROWS = (*PAPER, *OURS)
SEEDS = 5
DENSE, PRESS = Fit(200, 0.2, 5e-4, batch_size=512), Fit(160, 0.2, 5e-4, batch_size=512)
COMPACT = Fit(400, 0.1, 5e-4, distill=0.5, batch_size=512)
KEEP_EVERY = 10  # seconds: an epoch takes one, and so would writing it down


class OutOfTime(Exception):
    """The minutes of this call are over; everything up to the last epoch is kept."""


@dataclass
class Bench:
    """What every row uses: data on the device, the folder of checkpoints, the deadline."""

    device: torch.device
    train: DeviceSplit
    validation: DeviceSplit
    test: DeviceSplit
    work: Path
    deadline: float
    share: float
    width: float
    compiled: bool

    def network(self, seed: int) -> nn.Module:
        """Return a fresh network."""
        torch.manual_seed(seed)
        return vgg16(width=self.width).to(self.device).to(memory_format=torch.channels_last)

    def fitted(
        self,
        name: str,
        model: nn.Module,
        how: Fit,
        seed: int,
        growl: tg.GrOWL | None = None,
        every: int = 1,
        teacher: nn.Module | None = None,
        compiled: bool = True,
    ) -> nn.Module:
        """Train one phase, or resume it."""
        kept_at = time.monotonic()

        def keeps(epoch: int) -> bool:
            now = time.monotonic()
            return epoch == how.epochs or now >= min(kept_at + KEEP_EVERY, self.deadline)

        def after_kept(epoch: int, loss: float) -> None:
            nonlocal kept_at
            kept_at = time.monotonic()
            if kept_at > self.deadline and epoch < how.epochs:
                raise OutOfTime(f"{name}: {epoch} of {how.epochs} epochs")

        def wrap(network: nn.Module) -> nn.Module:
            if time.monotonic() > self.deadline:
                raise OutOfTime(name)
            return self.fast(network, compiled)

        path = self.work / f"{name}.pt"
        settings: dict[str, Any] = {"growl": growl, "every": every, "teacher": teacher}
        return fit_resumed(
            path, model, self.train, how, seed, wrap=wrap, keeps=keeps, after_kept=after_kept, **settings
        )

    def fast(self, model: nn.Module, compiled: bool = True) -> nn.Module:
        """Wrap a network: bfloat16, and compiled on a GPU."""
        wrapped = Bfloat16(model)
        if compiled and self.compiled:
            wrapped.compile()
        return wrapped

    def settings(self, phase: Phase) -> Fit:
        """Return a recipe's phase with its epochs and steps times the share."""
        epochs = max(1, round(phase.epochs * self.share)) if phase.epochs else 0
        step = max(1, round(phase.step_size * self.share))
        return Fit(epochs, phase.lr, phase.weight_decay, schedule="step", step_epochs=step, gamma=phase.gamma)

    def where(self) -> str:
        """Return the device's name."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"

    def scores(self, model: nn.Module) -> dict[str, float]:
        """Return the accuracy in float32."""
        model.eval()
        return {
            "validation": evaluate(model, self.validation, self.device),
            "test": evaluate(model, self.test, self.device),
        }


def paper_row(row: str, seed: int, bench: Bench) -> dict[str, Any]:
    """Run a row with the paper's settings; sizes are counted in the paper's way and in ours."""
    recipe = load_recipe(f"vgg16-cifar10-{PAPER[row]}", {})
    settings = recipe.growl
    assert settings is not None
    slug = f"{PAPER[row]}-{seed}"
    model = bench.network(seed)
    growl = None
    if settings.strength and recipe.train.epochs:
        overrides = {
            key: {
                name: sequence_from_dict(value) if name == "sequence" else value
                for name, value in override.model_dump(exclude_none=True).items()
            }
            for key, override in settings.overrides.items()
        }
        sequence = sequence_from_dict(settings.sequence.model_dump(exclude_none=True))
        growl = tg.GrOWL(
            model, settings.strength, sequence, layers=settings.layers, overrides=overrides, form=settings.form
        )
        how = bench.settings(recipe.train)
    else:
        how = bench.settings(recipe.dense)
    steps = len(bench.train) // how.batch_size
    bench.fitted(slug, model, how, seed, growl, every=steps)
    found: dict[str, Any] = {"trained": bench.scores(model)}
    tying = tg.find_tying(
        copy.deepcopy(model).cpu(),
        settings.layers,
        preference=recipe.tying.preference,
        max_ratio=recipe.tying.max_ratio,
    )
    tg.tie_(model, tying)
    bench.fitted(f"{slug}-tied", model, bench.settings(recipe.retrain), seed + 100, compiled=False)
    tg.untie_(model)
    found["paper"] = {"compression": tying.compression(chain=True), "sparsity": tying.sparsity}
    return found | _sizes(bench, model, compacted_on_cpu(model, tying), seed)


def our_row(row: str, seed: int, bench: Bench) -> dict[str, Any]:
    """Train with GrOWL, at one strength or a rising one, and train the compact network with distillation."""
    rise = OURS[row]
    dense_fit, press_fit, compact_fit = (
        replace(how, epochs=max(1, round(how.epochs * bench.share))) for how in (DENSE, PRESS, COMPACT)
    )
    dense = bench.network(seed)
    slug = file_name(f"{row}-{seed}")
    bench.fitted(f"{slug}-dense", dense, dense_fit, seed)
    found: dict[str, Any] = {"dense": bench.scores(dense)}
    model = copy.deepcopy(dense)
    growl = tg.GrOWL(model)
    if rise is None:
        bench.fitted(f"{slug}-pressed", model, press_fit, seed + 50, growl, every=5)
    else:
        path = bench.work / f"{slug}-pressed.pt"
        state = state_of(path)
        if state is None:
            passed = press(model, growl, bench.train, press_fit, rise, seed + 50, bench.fast(model))
            state = {"model": model.state_dict(), "growl": growl.state_dict(), "passed": passed}
            keep_state(path, state)
        model.load_state_dict(state["model"])
        growl.load_state_dict(state["growl"])
        found["path"] = state["passed"]
    found |= {"trained": bench.scores(model), "strength": growl.strength, "nonzero": growl.nonzero()}
    found["floored"] = sorted(growl.floored)
    small = compacted_on_cpu(model.eval(), None).to(bench.device).to(memory_format=torch.channels_last)
    teacher = bench.fast(dense.eval()).eval()
    bench.fitted(f"{slug}-compact", small, compact_fit, seed + 100, teacher=teacher, compiled=False)
    found["paper"] = {"compression": matrices(dense) / matrices(small)}
    return found | _sizes(bench, small, copy.deepcopy(small).cpu(), seed)


def compacted_on_cpu(model: nn.Module, tying: tg.Tying | None) -> nn.Module:
    """Return the compact network on the CPU."""
    plain = copy.deepcopy(model).cpu()
    return compacted(plain if tying is None else tg.tie_(plain, tying), torch.zeros(2, 3, 32, 32))


def _sizes(bench: Bench, model: nn.Module, small: nn.Module, seed: int) -> dict[str, Any]:
    example = torch.zeros(2, 3, 32, 32)
    before, after = (
        tg.measure(network, example, latency=False) for network in (vgg16(width=bench.width).eval(), small)
    )
    return {
        **bench.scores(model),
        "weights": [before.weights, after.weights],
        "macs": [before.macs, after.macs],
        **ratio(vgg16(width=bench.width).eval(), small, example),
    }


def prepared(given: argparse.Namespace) -> Bench:
    """Load the data onto the device."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    splits = load_cifar10(given.data, limit=512 if given.quick else None)
    train, validation, test = (cast(TensorSplit, part) for part in (splits.train, splits.validation, splits.test))
    if given.quick:
        validation, test = (TensorSplit(part.x[:100], part.y[:100]) for part in (validation, test))
    return Bench(
        device,
        DeviceSplit(train, device, padding=2),
        DeviceSplit(validation, device),
        DeviceSplit(test, device),
        given.work,
        time.monotonic() + 60 * given.minutes,
        1 / 400 if given.quick else given.epochs,
        0.125 if given.quick else 1.0,
        device.type == "cuda",
    )


def work_off(left: dict[tuple[str, int], Path], bench: Bench) -> None:
    """Run the jobs that are left; each one is kept when it is done.

    Raises:
        OutOfTime: the minutes are over.
    """
    for (row, seed), path in left.items():
        started = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", tg.GrowlWarning)
            found = (paper_row if row in PAPER else our_row)(row, seed, bench)
        found = {"row": row, "seed": seed, **found, "device": bench.where(), "commit": results.commit()}
        found["share"] = bench.share
        found |= {"torch": torch.__version__, "seconds": time.monotonic() - started}
        results.write(path, found)
        print(found, flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Run jobs until the minutes are over or none is left; then keep the result."""
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/learning/table2"))
    parser.add_argument("--minutes", type=float, default=8.5, help="begin no further epoch after so many minutes")
    parser.add_argument("--epochs", type=float, default=1.0, help="share of the paper's epochs to train")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", choices=ROWS, action="append", help="run only these rows")
    parser.add_argument("--cpu", action="store_true", help="run on the CPU if there is no GPU")
    given = parser.parse_args(arguments)
    given.work = workplace(given)
    seeds = range(1 if given.quick else given.seeds)
    paths = {
        (row, seed): given.work / f"{row.replace(' ', '-')}-{seed}.json" for seed in seeds for row in given.only or ROWS
    }
    left = {job: path for job, path in paths.items() if not path.is_file()}
    if left:
        if not torch.cuda.is_available() and not (given.cpu or given.quick):
            parser.error(
                "there is no CUDA device, and a CPU needs a quarter of an hour for an epoch; --cpu runs it on the CPU"
            )
        try:
            work_off(left, prepared(given))
        except OutOfTime as stop:
            print(f"stopped at {stop}; the same command goes on")
            return
    if given.only:
        print("these rows are done; without --only the result is kept once all are")
        return
    done = [results.read(path) for path in paths.values()]
    keep(given, "learning.experiments.table2", {"epochs": given.epochs, "seeds": given.seeds, "jobs": done})


if __name__ == "__main__":
    main()
