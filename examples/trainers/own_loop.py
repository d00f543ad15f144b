"""A loop of your own, plain and with a target: ``python examples/trainers/own_loop.py``.

The lines that torch-growl adds are marked. The data are scikit-learn's handwritten digits.
"""

from typing import Any

import torch
from before_after import Row, row, show
from sklearn.datasets import load_digits
from torch import nn

import torch_growl as tg

pixels, digits = load_digits(return_X_y=True)
x, y = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(digits)
TRAIN, BATCH = 1400, 50


def train(epochs: int, target: tg.Target | None = None) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.BatchNorm1d(128), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    if target is not None:
        growl = tg.GrOWL(model, target=target, example_inputs=x[:8])  # torch-growl
        growl.attach(optimizer, steps=epochs * (TRAIN // BATCH))  # torch-growl
    for epoch in range(epochs):
        for batch in torch.randperm(TRAIN, generator=torch.Generator().manual_seed(epoch)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return model if target is None else tg.compact(model, x[:8])  # torch-growl


def accuracy(model: nn.Module) -> float:
    with torch.inference_mode():
        return 100 * float((model.eval()(x[TRAIN:]).argmax(1) == y[TRAIN:]).float().mean())


def main(epochs: int = 40) -> list[dict[str, Any]]:
    rows: list[Row] = []
    quarter = tg.Target(macs=0.25, compensate=list(x[:TRAIN].split(200)))  # torch-growl
    for name, target in (("plain", None), ("a quarter of the MACs", quarter)):
        model = train(epochs, target)
        rows.append(row(name, accuracy(model), model, x[:8]))
    return show("Own loop: perceptron on digits", "accuracy, %", rows)


if __name__ == "__main__":
    main()
