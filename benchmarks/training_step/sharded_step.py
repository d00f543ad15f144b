"""Times GrOWL's part of a training step of 50 million weights that FSDP2 shards over two processes.

Run it with ``python -m benchmarks.training_step.sharded_step``.

Both processes share this machine and exchange by gloo. Counted beside it: the collectives of a step and the numbers
that they add up, for each way of sharding; and for Llama 3 70B on 64 devices, whose weights are on the meta device: the
same step, with everything but the weights' values.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from benchmarks.harness import results
from benchmarks.harness.command import keep, options
from benchmarks.harness.markdown import markdown
from benchmarks.harness.pages import DOCS, Page, where_measured
from torch_growl import GrOWL
from torch_growl.networks.layers import shard_rows
from torch_growl.networks.sharding import part_of, summed

__all__ = ["PAGE", "exchanged", "llama", "main", "training_steps"]

WIDTH, DEPTH, BATCH = 4096, 3, 128  # 50 million weights; examples of each process
STEPS = 14
LLAMA = {"q": (8192, 8192), "k": (1024, 8192), "v": (1024, 8192), "o": (8192, 8192)}
LLAMA |= {"gate": (28672, 8192), "up": (28672, 8192), "down": (8192, 28672)}
BLOCKS, DEVICES = 80, 64


def perceptron(width: int) -> nn.Sequential:
    layers = [part for _ in range(DEPTH) for part in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(width, 10))


@contextmanager
def counted() -> Iterator[list[int]]:
    """The numbers that each ``all_reduce`` inside adds up."""
    sent: list[int] = []
    plain = dist.all_reduce

    def noted(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sent.append(tensor.numel())
        return plain(tensor, *args, **kwargs)

    dist.all_reduce = noted
    try:
        yield sent
    finally:
        dist.all_reduce = plain


def training_steps(rank: int, store: str, width: int, steps: int) -> dict[str, Any]:
    """Train on two processes; returns the seconds of whole steps, and of the penalty in them."""
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(store, 2), rank=rank, world_size=2)
    torch.manual_seed(0)
    model = perceptron(width)
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    fully_shard(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    growl = GrOWL(model)
    marks: list[float] = []
    optimizer.register_step_post_hook(lambda *_: marks.append(time.perf_counter()))
    growl.attach(optimizer)
    optimizer.register_step_post_hook(lambda *_: marks.append(time.perf_counter()))
    whole: list[float] = []
    for _ in range(steps + 1):
        x, y = torch.randn(BATCH, width), torch.randint(10, (BATCH,))
        dist.barrier()
        start = time.perf_counter()
        nn.functional.cross_entropy(model(x), y).backward()
        with counted() as sent:
            optimizer.step()
        optimizer.zero_grad()
        whole.append(time.perf_counter() - start)
    dist.destroy_process_group()
    taken = [end - begun for begun, end in zip(marks[::2], marks[1::2], strict=True)]
    pairs = list(zip(whole, taken, strict=True))[1:]
    return {
        "weights": sum(p.numel() for p in model.parameters()),
        "processes": 2,
        "batch": BATCH,
        "rows": sum(len(rows) for rows in growl.state_dict()["dead"].values()),
        "collectives": len(sent),
        "bytes": 8 * sum(sent),
        "seconds": {"whole": [round(each, 4) for each, _ in pairs], "penalty": [round(each, 4) for _, each in pairs]},
        "ratio": round(statistics.median(each / (each - own) for each, own in pairs), 4),
    }


def exchanged(width: int) -> list[dict[str, Any]]:
    """Count what one step sends, for each way of sharding; this process plays one of four."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
    from torch.testing._internal.distributed.fake_pg import FakeStore

    def tensor_parallel(model: nn.Module, mesh: Any) -> None:
        parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel(), "4": ColwiseParallel()})

    def both(model: nn.Module) -> None:
        mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "model"))
        tensor_parallel(model, mesh["model"])
        fully_shard(model, mesh=mesh["data"])

    def copies(model: nn.Module) -> None:
        fully_shard(model, mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=("copies", "shards")))

    ways: dict[str, Callable[[nn.Module], object]] = {
        "DistributedDataParallel": nn.parallel.DistributedDataParallel,
        "FSDP2": fully_shard,
        "FSDP2, copies of the shards (HSDP)": copies,
        "tensor parallel": lambda model: tensor_parallel(model, init_device_mesh("cpu", (4,))),
        "FSDP2 × tensor parallel": both,
    }
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=4)
    found = []
    for optimizer in ("SGD", "AdamW"):
        for name, shard in ways.items():
            model = perceptron(width)
            shard(model)
            growl, own = GrOWL(model), getattr(torch.optim, optimizer)(model.parameters(), lr=0.01)
            for p in model.parameters():
                p.grad = torch.ones_like(p)
            own.step()
            growl.attach(own)
            with counted() as sent:
                own.step()
            rows = sum(len(each) for each in growl.state_dict()["dead"].values())
            found.append(
                {"way": name, "optimizer": optimizer, "rows": rows, "collectives": len(sent), "bytes": 8 * sum(sent)}
            )
    dist.destroy_process_group()
    return found


def llama(blocks: int) -> dict[str, Any]:
    """Count and time what a step adds to Llama 3 70B on 64 devices, all but the passes over the weights."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor
    from torch.testing._internal.distributed.fake_pg import FakeStore

    from torch_growl.mathematics.owl import prox_kernel, step_kernel

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=DEVICES)
    mesh = init_device_mesh("cpu", (DEVICES,))
    parts, weights, local, offsets = [], 0, 0, [0]
    for _ in range(blocks):
        for outputs, inputs in LLAMA.values():
            layer = nn.Linear(inputs, outputs, bias=False, device="meta")
            layer.weight = nn.Parameter(distribute_tensor(layer.weight.detach(), mesh, [Shard(0)], src_data_rank=None))
            shard = shard_rows(layer)
            assert shard is not None
            weights, local = weights + layer.weight.numel(), local + shard.local.numel()
            offsets.append(offsets[-1] + shard.layout.n_rows)
            parts.append(part_of(shard, torch.rand(shard.layout.n_rows, dtype=torch.float64)))
    with counted() as sent:
        squares = torch.cat(summed(parts))
    dist.destroy_process_group()
    norms, rows = squares.sqrt().numpy(), offsets[-1]
    lam = np.concatenate([np.linspace(1, 0.85, n) for n in np.diff(offsets)])
    places = np.concatenate([np.arange(n, dtype=np.int32) for n in np.diff(offsets)])
    seconds = []
    for _ in range(4):
        space = prox_kernel.workspace.of(max(np.diff(offsets)))
        scale, rates = np.empty(rows), np.full(len(offsets) - 1, 1e-4)
        dead, floored = np.zeros(rows, dtype=np.bool_), np.zeros(len(offsets) - 1, dtype=np.bool_)
        start = time.perf_counter()
        step_kernel.shrink(norms.copy(), lam, np.array(offsets), rates, True, 4, dead, places, scale, floored, space)
        seconds.append(time.perf_counter() - start)
    return {
        "blocks": blocks,
        "devices": DEVICES,
        "layers": len(parts),
        "weights": weights,
        "of each": local,
        "rows": rows,
        "collectives": len(sent),
        "bytes": 8 * sum(sent),
        "fsdp bytes": 3 * 2 * weights,  # gathered twice and reduced once, in bfloat16
        "prox seconds": min(seconds[1:]),
    }


def table() -> str:
    """Return the tables of the kept result."""
    data = results.load("sharded_step")
    ways: dict[str, list[dict[str, Any]]] = {}
    for found in data["exchanged"]:
        ways.setdefault(found["way"], []).append(found)
    rows = [
        [way, *(text for f in found for text in (str(f["collectives"]), f"{f['bytes']:,}"))]
        for way, found in ways.items()
    ]
    one, big = data["step"], data["llama"]
    counts = markdown(["sharding", "SGD: collectives", "bytes", "AdamW: collectives", "bytes"], rows)
    whole, own = (statistics.median(one["seconds"][name]) for name in ("whole", "penalty"))
    says = (
        f"The network of the table has {data['exchanged'][0]['rows']:,} penalised rows. On two processes of this "
        f"machine, a training step of FSDP2 with {one['weights'] / 1e6:.1f} million weights and {one['batch']} "
        f"examples on each process takes {whole:.2f} s, of which the penalty takes {own:.3f} s, the wait for the "
        f"other process included: {one['ratio']:.3f} times as long as without it (medians of "
        f"{len(one['seconds']['whole'])} steps)."
    )
    large = (
        f"Llama 3 70B on {big['devices']} devices, its weights on the meta device: {big['layers']} penalised layers, "
        f"{big['weights'] / 1e9:.1f} billion weights, {big['rows']:,} rows. A step sends {big['collectives']} "
        f"collective of {big['bytes'] / 1e6:.0f} MB, where FSDP2 itself gathers and reduces "
        f"{big['fsdp bytes'] / 1e9:.0f} GB. The operator on the norms of all rows takes {big['prox seconds']:.2f} s on "
        f"one CPU thread, and each device reads its {big['of each'] / 1e9:.2f} billion weights twice and writes them "
        "once."
    )
    return "\n\n".join([counts, says, large, where_measured(data)])


PAGE = Page(DOCS / "sharded.md", {"sharded-step": table})


def main(arguments: list[str] | None = None) -> None:
    """Measure, keep the result and fill the page."""
    parser = options(__doc__)
    parser.add_argument("--rank", type=int, help="used by the command itself")
    parser.add_argument("--store", help="used by the command itself")
    given = parser.parse_args(arguments)
    width, steps = (64, 2) if given.quick else (WIDTH, STEPS)
    if given.rank is not None:
        results.write(Path(f"{given.store}-{given.rank}"), training_steps(given.rank, given.store, width, steps))
        return
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        call = [sys.executable, "-m", "benchmarks.training_step.sharded_step", "--store", store]
        ranks = [
            subprocess.Popen([*call, "--rank", str(rank), *(["--quick"] if given.quick else [])]) for rank in range(2)
        ]
        assert [rank.wait() for rank in ranks] == [0, 0]
        step = results.read(Path(f"{store}-0"))
    data = {"step": step, "exchanged": exchanged(min(width, 512)), "llama": llama(2 if given.quick else BLOCKS)}
    print(step, data["llama"])
    keep(given, "training_step.sharded_step", data)
    if results.exists("sharded_step") and not given.quick:
        PAGE.fill()


if __name__ == "__main__":
    main()
