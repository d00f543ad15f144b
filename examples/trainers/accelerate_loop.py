"""A loop with Accelerate, plain and with a target: ``python examples/trainers/accelerate_loop.py``.

The lines that torch-growl adds are marked. ``accelerate launch`` runs it on several processes. The data are
scikit-learn's handwritten digits, as images.
"""

from typing import Any

import torch
from accelerate import Accelerator
from before_after import Row, row, show
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import torch_growl as tg

pixels, digits = load_digits(return_X_y=True)
x, y = torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(digits)
TRAIN = 1400


def build_model() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(64, 10)),
    )


def train(epochs: int, target: tg.Target | None = None) -> nn.Module:
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True)
    model = build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    loader = DataLoader(TensorDataset(x[:TRAIN], y[:TRAIN]), batch_size=50, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    if target is not None:
        growl = tg.GrOWL(model, target=target, example_inputs=x[:8])  # torch-growl
        growl.attach(optimizer, steps=epochs * len(loader))  # torch-growl
        accelerator.register_for_checkpointing(growl)  # torch-growl
    for _ in range(epochs):
        for images, labels in loader:
            accelerator.backward(nn.functional.cross_entropy(model(images), labels))
            optimizer.step()
            optimizer.zero_grad()
    plain: nn.Module = accelerator.unwrap_model(model)
    return plain if target is None else tg.compact(plain, x[:8])  # torch-growl


def accuracy(model: nn.Module) -> float:
    with torch.inference_mode():
        return 100 * float((model.eval()(x[TRAIN:]).argmax(1) == y[TRAIN:]).float().mean())


def main(epochs: int = 10) -> list[dict[str, Any]]:
    rows: list[Row] = []
    quarter = tg.Target(macs=0.25, compensate=list(x[:TRAIN].split(200)))  # torch-growl
    for name, target in (("plain", None), ("a quarter of the MACs", quarter)):
        model = train(epochs, target)
        rows.append(row(name, accuracy(model), model, x[:8]))
    return show("Accelerate: convolutions on digits", "accuracy, %", rows)


if __name__ == "__main__":
    main()
