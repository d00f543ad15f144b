"""FSDP2 under torchrun, plain and with a target: ``torchrun --nproc-per-node 2 examples/trainers/fsdp2_digits.py``.

The lines that torch-growl adds are marked. Every process trains on its share of the data. The data are scikit-learn's
handwritten digits, as images.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from before_after import Row, row, show
from sklearn.datasets import load_digits
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard

import torch_growl as tg

pixels, digits = load_digits(return_X_y=True)
x, y = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(digits)
TRAIN, BATCH = 1400, 50


def build_model() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))


def train(epochs: int, target: tg.Target | None = None) -> nn.Module:
    torch.manual_seed(0)
    rank, world = dist.get_rank(), dist.get_world_size()
    model = build_model()
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer)
    fully_shard(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    if target is not None:
        growl = tg.GrOWL(model, target=target, example_inputs=x[:8])  # torch-growl
        growl.attach(optimizer, steps=epochs * (TRAIN // BATCH))  # torch-growl
    for _ in range(epochs):
        order = torch.randperm(TRAIN)  # the same on every process
        for start in range(0, TRAIN, BATCH):
            mine = order[start : start + BATCH][rank::world]
            nn.functional.cross_entropy(model(x[mine]), y[mine]).backward()
            optimizer.step()
            optimizer.zero_grad()
    whole = build_model()  # on every process; with cpu_offload=True, torch gathers the weights on the first one only
    whole.load_state_dict(get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))
    return whole if target is None else tg.compact(whole, x[:8])  # torch-growl


def accuracy(model: nn.Module) -> float:
    with torch.inference_mode():
        return 100 * float((model.eval()(x[TRAIN:]).argmax(1) == y[TRAIN:]).float().mean())


def main(epochs: int = 15) -> list[dict[str, Any]]:
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    rows: list[Row] = []
    for name, target in (("plain", None), ("a quarter of the MACs", tg.Target(macs=0.25))):
        model = train(epochs, target)
        rows.append(row(name, accuracy(model), model, x[:8]))
    return (
        show(f"FSDP2 on {dist.get_world_size()} processes: digits", "accuracy, %", rows) if dist.get_rank() == 0 else []
    )


if __name__ == "__main__":
    main()
    dist.destroy_process_group()
