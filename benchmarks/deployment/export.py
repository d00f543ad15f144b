"""Times the forms of a sum of tied inputs in ONNX, and whole networks in onnxruntime.

Run it with ``python -m benchmarks.deployment.export``.

Timed on one thread, in turn, each call on an input of its own: every form of :mod:`benchmarks.deployment.export_forms`
alone, and dense networks beside their compact ones as ``export_onnx`` writes them. Counted: the file, and what
onnxruntime keeps once it has folded constants (its optimized model, saved). Tried: whether the sums are right with two
threads, where few groups have many members.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper

from benchmarks.deployment.export_forms import FORMS, model
from benchmarks.harness import timing
from benchmarks.harness.command import keep, options
from benchmarks.harness.verdicts import judge, show, show_rows
from benchmarks.training_step.subjects import NETWORKS, build
from torch_growl import compact, export_executorch, export_onnx, export_program

__all__ = ["main", "one_form", "one_network", "shape_of", "targets"]

# inputs, of which so many are kept, in so many groups; shape of what follows the channels; batch sizes
SUMS = (
    (784, 340, 33, (), (1, 32, 256)),
    (300, 230, 40, (), (1, 32, 256)),
    (512, 512, 400, (), (1, 32, 256)),
    (64, 60, 40, (16, 16), (1, 32)),
    (512, 400, 200, (4, 4), (1, 32, 256)),
    (512, 512, 200, (8, 8), (1, 32)),
)
CHOSEN = {"linear": "pairs", "convolution": "by size, in place"}
ROUNDS = 40
THREADED = (784, 600, 7, (), (512,))
TRIES = 100  # calls with two threads


def some_groups(inputs: int, kept: int, count: int) -> list[list[int]]:
    """Return groups of random members, none of them empty."""
    rng = np.random.default_rng(0)
    chosen = rng.permutation(inputs)[:kept]
    group = np.concatenate([np.arange(count), rng.integers(0, count, kept - count)])
    return [sorted(int(i) for i in chosen[group == number]) for number in range(count)]


def session(path: Path, threads: int = 1, optimized: Path | None = None) -> onnxruntime.InferenceSession:
    """Open an ONNX file in onnxruntime on the CPU with all optimizations."""
    given = onnxruntime.SessionOptions()
    given.intra_op_num_threads, given.inter_op_num_threads = threads, 1
    given.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    given.log_severity_level = 3
    if optimized is not None:
        given.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(str(path), given, providers=["CPUExecutionProvider"])


def constants(path: Path) -> int:
    """Return the bytes of the constants of an ONNX file."""
    return sum(numpy_helper.to_array(value).nbytes for value in onnx.load(path).graph.initializer)


def one_form(sums: tuple[int, int, int, tuple[int, ...], tuple[int, ...]], rounds: int) -> dict[str, Any]:
    """Measure every form on one shape: times by batch size, and sizes."""
    inputs, kept, count, rest, batches = sums
    groups = some_groups(inputs, kept, count)
    shape = (inputs, *rest)
    sessions, sizes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMS:
            path, optimized = Path(folder) / "sum.onnx", Path(folder) / "optimized.onnx"
            path.write_bytes(model(form, groups, shape))
            sessions[form] = session(path, 1, optimized)
            nodes = len(onnx.load(optimized).graph.node)
            sizes[form] = {"file": path.stat().st_size, "folded": constants(optimized), "nodes": nodes}
    times = {}
    for batch in batches:

        def fresh(rng: np.random.Generator, batch: int = batch) -> Any:
            return rng.standard_normal((batch, *shape), dtype=np.float32)

        calls = {form: (lambda x, run=ready.run: run(None, {"x": x})) for form, ready in sessions.items()}
        times[str(batch)] = timing.side_by_side(calls, fresh, rounds=rounds)
    return {
        "inputs": inputs,
        "kept": kept,
        "groups": count,
        "rest": list(rest),
        "kind": "convolution" if rest else "linear",
        "sizes": sizes,
        "times": times,
    }


def wrong_with_threads(tries: int) -> dict[str, Any]:
    """Count wrong answers with two threads, form by form, on whole numbers, whose sums are exact."""
    inputs, kept, count, rest, (batch,) = THREADED
    groups = some_groups(inputs, kept, count)
    rng = np.random.default_rng(0)
    wrong = {}
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMS:
            path = Path(folder) / "sum.onnx"
            path.write_bytes(model(form, groups, (inputs, *rest)))
            ready, wrong[form] = session(path, 2), 0
            for _ in range(tries):
                x = rng.integers(-8, 8, (batch, inputs, *rest)).astype(np.float32)
                wanted = np.stack([x[:, members].sum(1) for members in groups], 1)
                wrong[form] += not np.array_equal(ready.run(None, {"x": x})[0], wanted)
    return {"inputs": inputs, "kept": kept, "groups": count, "batch": batch, "tries": tries, "wrong": wrong}


def one_network(name: str, rounds: int) -> dict[str, Any]:
    """Measure one network in three formats, dense and compact; half its rows are zero, the others equal in eights."""
    torch.manual_seed(0)
    dense = build(name, "pruned and tied").eval()
    shape = NETWORKS[name][1]
    example = torch.randn(2, *shape)
    small = compact(dense, example)
    files: dict[str, Any] = {}
    times = {}
    with tempfile.TemporaryDirectory() as folder:
        sessions = {}
        for label, network in (("dense", dense), ("compact", small)):
            path, optimized = Path(folder) / "network.onnx", Path(folder) / "optimized.onnx"
            written = export_onnx(network, example, path)
            sessions[label] = session(path, 1, optimized)
            files[label] = {
                "onnx": {"bytes": written.bytes, "difference": written.difference},
                "folded": constants(optimized),
                "state": sum(value.nbytes for value in network.state_dict().values()),
            }
            for kind, write in (("pt2", export_program), ("pte", export_executorch)):
                done = write(network, example, Path(folder) / f"network.{kind}")
                files[label][kind] = {"bytes": done.bytes, "difference": done.difference}
        for batch in (1, 32):

            def fresh(rng: np.random.Generator, batch: int = batch) -> Any:
                return rng.standard_normal((batch, *shape), dtype=np.float32)

            calls = {
                label: (lambda x, ready=ready: ready.run(None, {ready.get_inputs()[0].name: x}))
                for label, ready in sessions.items()
            }
            times[str(batch)] = timing.side_by_side(calls, fresh, rounds=rounds)
    return {"network": name, "files": files, "times": times}


def targets(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare the ratios with their targets."""
    against, folded = {}, {}
    threads = data["threads"]
    for case in data["sums"]:
        ours = CHOSEN[case["kind"]]
        right = [form for form in FORMS if form not in (ours, "ScatterND", "0/1 matrix")]
        for batch, times in case["times"].items():
            best = min(times[form]["median"] for form in right)
            against[f"{shape_of(case)}, batch {batch}"] = times[ours]["median"] / best
    for case in data["networks"]:
        for label, files in case["files"].items():
            folded[f"{case['network']}, {label}"] = files["folded"] / files["state"]
    faults = {form: float(threads["wrong"][form]) for form in CHOSEN.values()}
    return [
        judge("time of the chosen form, against the best but ScatterND and the matrix", 1.5, against),
        judge("wrong answers of the chosen form with two threads", 0.0, faults),
        judge("constants that onnxruntime keeps after folding, against the network's state", 1.1, folded),
    ]


def shape_of(case: dict[str, Any]) -> str:
    """Return the short form of a shape."""
    rest = "".join(f" × {size}" for size in case["rest"])
    return f"{case['inputs']}{rest}, {case['kept']} → {case['groups']}"


def _print(data: dict[str, Any]) -> None:
    for case in data["sums"]:
        rows = [
            [
                form,
                *(f"{times[form]['median']:,.0f}" for times in case["times"].values()),
                *(f"{case['sizes'][form][key]:,}" for key in ("file", "folded", "nodes")),
            ]
            for form in FORMS
        ]
        head = [
            "form",
            *(f"batch {batch}, µs" for batch in case["times"]),
            "file",
            "folded",
            "nodes",
            "wrong, 2 threads",
        ]
        show_rows(shape_of(case), head, rows)
    threads = data["threads"]
    rows = [[form, f"{count} of {threads['tries']}"] for form, count in threads["wrong"].items()]
    show_rows("two threads", ["form", "wrong"], rows)
    rows = [
        [
            f"{case['network']}, {label}",
            *(f"{case['times'][batch][label]['median']:,.0f}" for batch in case["times"]),
            f"{case['files'][label]['state']:,}",
            *(f"{case['files'][label][kind]['bytes']:,}" for kind in ("onnx", "pt2", "pte")),
            f"{case['files'][label]['folded']:,}",
            f"{max(case['files'][label][kind]['difference'] for kind in ('onnx', 'pt2', 'pte')):.0e}",
        ]
        for case in data["networks"]
        for label in case["files"]
    ]
    head = ["network", "batch 1, µs", "batch 32, µs", "state", "onnx", "pt2", "pte", "folded", "difference"]
    show_rows("whole networks in onnxruntime, bytes of every format", head, rows)


def main(arguments: list[str] | None = None) -> None:
    """Run both parts."""
    given = options(__doc__).parse_args(arguments)
    timing.one_thread()
    few = given.quick
    data: dict[str, Any] = {
        "unit": "µs",
        "sums": [one_form(sums, 3 if few else ROUNDS) for sums in (SUMS[:1] if few else SUMS)],
        "threads": wrong_with_threads(3 if few else TRIES),
        "networks": [one_network(name, 3 if few else ROUNDS) for name in (list(NETWORKS)[:1] if few else NETWORKS)],
    }
    _print(data)
    data["targets"] = targets(data)
    show(data["targets"])
    keep(given, "deployment.export", data, packages=("onnx", "onnxscript", "onnxruntime", "executorch"))


if __name__ == "__main__":
    main()
