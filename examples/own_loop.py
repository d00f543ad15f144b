"""Train, tie and compact a network in your own loop, and measure it: ``python examples/own_loop.py``."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import torch_growl as tg


def build_model() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 200), nn.ReLU(), nn.BatchNorm1d(200), nn.Linear(200, 64), nn.ReLU(), nn.Linear(64, 10)
    )


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    model.train()
    for epoch in range(epochs):
        for batch in torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch)).split(64):
            if len(batch) < 2:  # BatchNorm cannot train on one example
                continue
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()


def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    with torch.inference_mode():
        return float((model(x).argmax(1) == y).float().mean())


def main(epochs: int = 40) -> None:
    torch.manual_seed(0)
    pixels, digits = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(digits)
    model = build_model()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    growl = tg.GrOWL(model, strength=1.5)
    handle = growl.attach(optimizer)
    train(model, optimizer, x[:1400], y[:1400], epochs)
    handle.remove()
    print(f"with the penalty: {100 * accuracy(model, x[1400:], y[1400:]):.1f} %, nonzero rows {growl.nonzero()}")

    tying = tg.find_tying(model, growl.layers, preference=0.6)
    tg.tie_(model, tying)
    train(model, torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9), x[:1400], y[:1400], epochs // 2)
    print(
        f"tied, retrained: {100 * accuracy(model, x[1400:], y[1400:]):.1f} %, {tying.compression():.1f}x fewer weights"
    )

    small = tg.compact(model, x[:8])
    print(f"compact: {100 * accuracy(small, x[1400:], y[1400:]):.1f} %")
    print(tg.measure(small, x[:8]))


if __name__ == "__main__":
    main()
