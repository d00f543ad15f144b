"""Statistics of sharded optimizer states: a formula gets the numbers of whole tensors, once sums are known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from tests.support.fake_processes import playing
from torch_growl.networks.sharding import pending_length


def test_a_formula_gets_means_and_norms_of_whole_tensors() -> None:
    def formula(group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> Tensor:
        return group["lr"] * (state["a"].mean(dtype=torch.float64) + state["b"].norm(torch.float64)) / weight.numel()

    with playing(0, 2):
        mesh = init_device_mesh("cpu", (2,))
        here = {key: torch.full((2, 3), value) for key, value in (("a", 2.0), ("b", 3.0))}
        state = {key: DTensor.from_local(value, mesh, [Shard(0)], run_check=False) for key, value in here.items()}
        pending = pending_length(formula, {"lr": 0.5}, {**state, "step": 7}, state["a"])
        assert [part.values.tolist() for part in pending.parts] == [[12.0], [54.0]]
        assert [part.dims for part in pending.parts] == [(0,), (0,)]
        doubled = [2 * part.values for part in pending.parts]  # the other process has the same
    assert pending.value(doubled) == 0.5 * (2.0 + 108.0**0.5) / 12
