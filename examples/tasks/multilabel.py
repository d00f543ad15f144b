"""Several labels for each digit: ``growl run examples/tasks/multilabel.yaml``.

The data are scikit-learn's handwritten digits. Examples are dicts: ``labels``, and inputs by name.
"""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Dataset

PROPERTIES = {
    "even": {0, 2, 4, 6, 8},
    "above four": {5, 6, 7, 8, 9},
    "prime": {2, 3, 5, 7},
    "with a loop": {0, 6, 8, 9},
    "square": {0, 1, 4, 9},
}


class Digits(Dataset[dict[str, Any]]):
    """Digits with a label for each property, 0 or 1."""

    def __init__(self, images: Tensor, digits: list[int]) -> None:
        self.images = images
        self.labels = torch.tensor([[digit in members for members in PROPERTIES.values()] for digit in digits]).float()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixels": self.images[index], "labels": self.labels[index]}


def data() -> dict[str, Digits]:
    """The digits in the order of scikit-learn: the last 360, of other writers, are the test set."""
    found = load_digits()
    images, digits = torch.tensor(found.data / 16, dtype=torch.float32), found.target.tolist()
    return {"train": Digits(images[:-360], digits[:-360]), "test": Digits(images[-360:], digits[-360:])}


class Network(nn.Module):
    """Two hidden layers, and a logit for each property."""

    def __init__(self, hidden: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, len(PROPERTIES))
        )

    def forward(self, *, pixels: Tensor) -> Tensor:
        """pixels: ``(n, 64)``; returns logits ``(n, 5)``."""
        found: Tensor = self.layers(pixels)
        return found
