"""Weights whose rows cannot be read and scaled in place are refused by the layer's name, with what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import torch_growl as tg
from tests.support.fake_processes import playing
from torch_growl.errors import LayerError
from torch_growl.networks.layers import LayerKind, register_layer, row_norms, rows_of, scale_rows_
from torch_growl.networks.layers.inspection import inspect_layers


def _returned(weight: Tensor) -> Tensor:
    weight.untyped_storage().resize_(0)
    return weight


WEIGHTS: dict[str, tuple[Callable[[], Tensor], str]] = {
    "flat": (
        lambda: torch.randn(64),
        r"weight has shape \(64,\) where its type has 2 dimensions \(FSDP1 keeps weights",
    ),
    "scalar": (lambda: torch.randn(()), "where its type has 2 dimensions"),
    "a dimension more": (lambda: torch.randn(8, 8, 1), "where its type has 2 dimensions"),
    "given back": (lambda: _returned(torch.randn(8, 8)), "weight's memory was given back"),
    "expanded": (lambda: torch.randn(8, 1).expand(8, 8), "share memory; give it a weight.clone()"),
    "overlapping": (lambda: torch.randn(20).as_strided((8, 8), (1, 1)), "share memory"),
    "sparse": (lambda: torch.randn(8, 8).to_sparse(), "not dense"),
    "float8": (lambda: torch.randn(8, 8).to(torch.float8_e4m3fn), "it must be float16, bfloat16, float32 or float64"),
    "complex": (lambda: torch.randn(8, 8, dtype=torch.complex64), "not floating point"),
    "empty": (lambda: torch.empty(0, 8), "weight is empty"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_that_is_not_what_its_layer_says_is_refused_by_name(name: str) -> None:
    make, words = WEIGHTS[name]
    layer = nn.Linear(8, 8)
    layer.weight = nn.Parameter(make())
    network = nn.Sequential(layer, nn.ReLU(), nn.Linear(8, 3))
    for build in (lambda: tg.GrOWL(network, layers=["0"]), lambda: tg.find_tying(network, ["0"])):
        with pytest.raises(LayerError, match=f"layer '0' .Linear. is not eligible: .*{words}"):
            build()


def test_unfinished_sums_of_distributed_tensors_are_refused_by_name() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial

    with playing(0, 2):
        network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3))
        growl = tg.GrOWL(network, layers=["0"])
        mesh = init_device_mesh("cpu", (2,))
        partial = DTensor.from_local(network[0].weight.detach(), mesh, [Partial()], run_check=False)
        network[0].weight = nn.Parameter(partial)
        with pytest.raises(LayerError, match="'0' can no longer be penalised: weight is a DTensor with placement P"):
            growl.prox_(0.1)
        assert "must be sharded or replicated" in tg.GrOWL(network).left_out["0"]
        with pytest.raises(LayerError, match="'0'.*DTensor"):
            tg.find_tying(network, ["0"])


SHARDS = """
import sys, torch, torch.distributed as dist, torch_growl as tg
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP
rank, store, early = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "early"
dist.init_process_group("gloo", store=dist.FileStore(store, 2), rank=rank, world_size=2)
torch.manual_seed(1)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
if early:
    growl = tg.GrOWL(model)
wrapped = FSDP(model, use_orig_params=True, device_id=torch.device("cpu"))
optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
try:
    (growl if early else tg.GrOWL(wrapped)).attach(optimizer)
    wrapped(torch.randn(32, 64)).square().mean().backward()
    optimizer.step()
except tg.GrowlError as error:
    print("refused:", error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["early", "late"])
def test_shards_of_fsdp_are_refused_by_name(when: str, tmp_path: Path) -> None:
    """``when``: GrOWL is built before the network is wrapped, or after."""
    arguments = [str(tmp_path / "store"), when]
    ranks = [
        subprocess.Popen([sys.executable, "-c", SHARDS, str(rank), *arguments], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for rank in ranks:
        said = rank.communicate(timeout=120)[0]
        assert rank.returncode == 0, said
        assert "refused:" in said
        assert "'0'" in said or "is wrapped in FullyShardedDataParallel (FSDP1)" in said
        assert "torch.distributed.fsdp.fully_shard (FSDP2)" in said


class Gain(nn.Module):
    """A layer of its own: one weight for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def _kind(blocks: Callable[[nn.Module, Tensor, str], Tensor]) -> LayerKind:
    return LayerKind(blocks, -1, lambda module: 1, lambda module, i, o: Gain(o), lambda module, x, y: y.numel())


def test_rows_of_one_weight_have_its_size_as_norm_and_are_pruned() -> None:
    register_layer(Gain, _kind(lambda module, weight, side: weight.unsqueeze(0)))
    gain = Gain(7)
    sizes = gain.weight.detach().abs()
    assert rows_of(gain).shape == (7, 1)
    assert torch.equal(row_norms(gain), sizes)
    tg.GrOWL(nn.Sequential(gain), 1.0, tg.lasso(), layers=["0"], form="paper", min_rows=1).prox_(0.3)
    torch.testing.assert_close(gain.weight.detach().abs(), (sizes - 0.3).clamp_min(0))
    scale_rows_(gain, torch.zeros(7))
    assert not gain.weight.any()


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        (lambda module, weight, side: weight, "no view of the whole weight"),
        (lambda module, weight, side: weight.clone().unsqueeze(0), "no view of the whole weight"),
        (lambda module, weight, side: weight[1:].unsqueeze(0), "no view of the whole weight"),
        (lambda module, weight, side: weight.as_strided((1, 7), (7, 2)), "read outside of the weight"),
        (lambda module, weight, side: weight.view(2, 7), "has no input rows: shape"),
    ],
)
def test_a_registered_type_whose_blocks_are_not_its_weight_is_refused(blocks: object, words: str) -> None:
    register_layer(Gain, _kind(blocks))  # type: ignore[arg-type]
    gain = Gain(7)
    gain.weight = nn.Parameter(torch.randn(20)[:7])  # memory goes on behind it
    (info,) = inspect_layers(nn.Sequential(gain))
    assert words in info.reason
