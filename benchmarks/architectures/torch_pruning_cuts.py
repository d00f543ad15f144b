"""Lets Torch-Pruning remove channels that no layer reads and compares the outputs.

There are two requests for each layer, both on a copy of the damaged network: *agreed* names only the zero rows that are
zero in every layer with as many rows, *own* names all zero rows of the layer. The dependency graph removes a channel
from all layers that read it at once, so an own request may change the outputs if other layers read the channel.
"""

from __future__ import annotations

import copy
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from benchmarks.architectures.compare import difference, leaves
from benchmarks.architectures.damage import damage_, damaged_layers
from benchmarks.architectures.zoo import build, fresh_inputs
from torch_growl.errors import first_line
from torch_growl.networks.execution.example_inputs import call, split_inputs
from torch_growl.networks.layers import kind_of, rows_of

__all__ = ["cuts"]

LAYERS = 5
VERDICTS = ("refused", "correct", "wrong", "failed", "did not finish")  # from good to bad


def cuts(name: str, tolerance: float, limit: float) -> dict[str, Any]:
    """Return the verdict on every request, and the worst one of each kind of request.

    Args:
        name: of the network.
        tolerance: how far outputs may differ, as a part of the largest.
        limit: seconds of processor time for a request, its graph included.
    """
    model, inputs = build(name)
    damage_(model)
    rows = {key: (rows_of(module).detach() == 0).all(dim=1) for key, module in damaged_layers(model).items()}
    agreed: dict[int, Tensor] = {}
    for zero in rows.values():
        agreed[len(zero)] = agreed.get(len(zero), torch.ones(len(zero), dtype=torch.bool)) & zero
    able = [key for key in _cuttable(model, inputs) if bool(agreed[len(rows[key])].any())]
    chosen = [able[len(able) * i // LAYERS] for i in range(LAYERS)] if len(able) > LAYERS else able
    tried: list[dict[str, Any]] = []
    for key in chosen:
        for request, zero in (("agreed", agreed[len(rows[key])]), ("own", rows[key])):
            index = zero.nonzero().flatten().tolist()
            tried.append({"layer": key, "request": request, **_cut(model, inputs, key, index, tolerance, limit)})
            if tried[-1]["verdict"] == "did not finish" or tried[-1].get("stage") == "graph":  # it gets no better
                return _judged(tried)
    return _judged(tried)


def _judged(tried: list[dict[str, Any]]) -> dict[str, Any]:
    worst = {
        # A refusal is no fault: rows behind a flatten belong to all channels, and none would be left.
        request: max((t["verdict"] for t in tried if t["request"] == request), key=VERDICTS.index, default="not tried")
        for request in ("agreed", "own")
    }
    worst["own"] = worst["agreed"] if worst["own"] == "not tried" else worst["own"]
    return {"verdict": worst["agreed"], "own": worst["own"], "tried": tried}


def _cuttable(model: nn.Module, inputs: Any) -> list[str]:
    """Return the ungrouped layers of types that both tools know and that do not read the network's inputs."""
    given = {x.data_ptr() for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor)}
    names = {module: key for key, module in damaged_layers(model).items()}
    found = []

    def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if names[module] not in found and arguments[0].data_ptr() not in given:
            found.append(names[module])

    known = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    handles = [
        module.register_forward_pre_hook(note)
        for module in names
        if isinstance(module, known) and kind_of(module).groups(module) == 1
    ]
    with torch.no_grad():
        call(model, split_inputs(inputs))
    for handle in handles:
        handle.remove()
    return found


def _cut(model: nn.Module, inputs: Any, key: str, index: list[int], tolerance: float, limit: float) -> dict[str, Any]:
    import torch_pruning as tp

    small = copy.deepcopy(model)
    start, stage = time.process_time(), "graph"
    try:
        with _at_most(limit), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            example = list(inputs) if isinstance(inputs, tuple) else inputs
            graph = tp.DependencyGraph().build_dependency(small, example, output_transform=leaves, verbose=False)
            stage = "cut"
            layer = small.get_submodule(key)
            way = tp.prune_linear_in_channels if isinstance(layer, nn.Linear) else tp.prune_conv_in_channels
            group = graph.get_pruning_group(layer, way, idxs=index)
            if not graph.check_pruning_group(group):
                return {"verdict": "refused", "stage": stage, "error": "no channel would be left"}
            group.prune()
            stage = "run"
            off = max(difference(model, small, fresh_inputs(inputs, seed)) for seed in (7, 8, 9))
    except _TooLong:
        return {"verdict": "did not finish", "stage": stage, "error": f"{limit:.0f} s of processor time"}
    except Exception as error:  # whatever it raises
        return {"verdict": "failed", "stage": stage, "error": f"{type(error).__name__}: {first_line(error)}"[:200]}
    seconds = round(time.process_time() - start, 2)
    return {"verdict": "correct" if off <= tolerance else "wrong", "difference": off, "seconds": seconds}


class _TooLong(BaseException):
    """The processor time is used up; not an Exception, so that the tool does not catch it."""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise after so much processor time; wall-clock time would depend on other processes of the machine."""

    def stop(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
