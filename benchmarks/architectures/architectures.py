"""Compacts real architectures and cuts the same networks with Torch-Pruning.

Run it with ``python -m benchmarks.architectures.architectures``.

Random rows of every network are zeroed and tied (``benchmarks/architectures/damage.py``). For torch-growl the result
records the form of each layer and the reason for it, weights and MACs, and the largest difference of outputs on fresh
inputs. Torch-Pruning is asked to remove channels that a layer does not read, one layer after another on fresh copies.
Each network and side runs in a process of its own, and an interrupted run can be resumed. ``--table`` only fills the
page.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections import Counter
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.architectures import tables
from benchmarks.harness import results, timing
from benchmarks.harness.command import keep, options
from torch_growl.errors import first_line

__all__ = ["main", "ours"]

TOLERANCE = 1e-5
LIMIT = 120.0  # seconds for Torch-Pruning to build its graph and for each of its cuts
PACKAGES = ("torchvision", "timm", "transformers", "torch-pruning")
QUICK = ("resnet18", "GPT-2", "U-Net")


def ours(name: str) -> dict[str, Any]:
    """Compact one damaged network and judge the result."""
    import torch_growl as tg
    from benchmarks.architectures.compare import difference, rounding
    from benchmarks.architectures.damage import damage_
    from benchmarks.architectures.zoo import build, fresh_inputs

    model, inputs = build(name)
    damage_(model)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)  # the forms show that nothing could be removed
        try:
            small = tg.compact(model, inputs)
        except tg.GrowlError as error:
            return {"verdict": "refused", "error": first_line(error)}
    seconds = time.perf_counter() - start
    off = max(difference(model, small, fresh_inputs(inputs, seed)) for seed in (7, 8, 9))
    layers = tg.structure_of(small).layers
    sizes = {key: tg.measure(network, inputs, latency=False) for key, network in (("dense", model), ("compact", small))}
    reasons = Counter(tables.general(layer.reason) for layer in layers if layer.reason)
    return {
        "verdict": "correct" if off <= TOLERANCE else "wrong",
        "difference": off,
        "rounding": rounding(model, fresh_inputs(inputs, 7)),
        "seconds": round(seconds, 2),
        "forms": {form: sum(layer.form == form for layer in layers) for form in ("full", "local", "none")},
        "reasons": dict(reasons.most_common(4)),
        "weights": {key: size.weights for key, size in sizes.items()},
        "macs": {key: size.macs for key, size in sizes.items()},
    }


def peer(name: str) -> dict[str, Any]:
    """Cut the same damaged network with Torch-Pruning and judge the result."""
    from benchmarks.architectures.torch_pruning_cuts import cuts

    return cuts(name, TOLERANCE, LIMIT)


SIDES = {"ours": ours, "Torch-Pruning": peer}


def in_a_process(side: str, name: str) -> dict[str, Any]:
    """Run one side on one network in a process of its own, which is ended if it takes too long."""
    context = multiprocessing.get_context("fork")  # what was imported is shared
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, side, name))
    process.start()
    sender.close()
    try:
        if not receiver.poll(12 * LIMIT):
            process.kill()
            return {"verdict": "did not finish", "error": f"ended after {12 * LIMIT:.0f} s"}
        return dict(receiver.recv())
    except EOFError:
        process.join()
        return {"verdict": "failed", "error": f"the process ended with code {process.exitcode}"}
    finally:
        process.join()


def _answer(sender: Connection, side: str, name: str) -> None:
    try:
        sender.send(SIDES[side](name))
    except Exception as error:  # of either side; it is the result
        sender.send({"verdict": "failed", "error": f"{type(error).__name__}: {first_line(error)}"})


def main(arguments: list[str] | None = None) -> None:
    """Run the jobs that are left, keep the result and write the table."""
    parser = options(__doc__)
    parser.add_argument("--table", action="store_true", help="only fill the page from the kept result")
    parser.add_argument("--only", choices=SIDES, help="measure only this side; keep the other one as it is")
    given = parser.parse_args(arguments)
    if not given.table:
        from benchmarks.architectures.zoo import ARCHITECTURES, SOURCES

        timing.one_thread()
        for package in (
            "torch_growl.networks.compaction.compactor",
            "timm",
            "torchvision",
            "transformers",
            "torch_pruning",
        ):
            import_module(package)
        kept = results.Kept(given.name or ("architectures-quick" if given.quick else "architectures"))
        before = results.load("architectures")["networks"] if given.only else {}
        found: dict[str, Any] = {}
        for name in QUICK if given.quick else ARCHITECTURES:
            source = next(key for key, builders in SOURCES.items() if name in builders)
            sides = {
                side: kept.get(f"{side} {name}", lambda s=side, n=name: in_a_process(s, n))
                if given.only in (None, side)
                else before[name][side]
                for side in SIDES
            }
            found[name] = {"source": source, **sides}
            print(f"{name}: " + ", ".join(f"{side} {result['verdict']}" for side, result in sides.items()), flush=True)
        keep(
            given, "architectures.architectures", {"tolerance": TOLERANCE, "limit": LIMIT, "networks": found}, PACKAGES
        )
        kept.done()
        if given.quick or given.name:
            return
    tables.PAGE.fill()


if __name__ == "__main__":
    main()
