"""Regression: the progress of diabetes from ten measurements: ``growl run examples/tasks/regression.yaml``.

The data are scikit-learn's diabetes set, 442 patients; nothing is downloaded. Examples are tuples.
"""

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.utils.data import TensorDataset

MEAN, SPREAD = 150.0, 75.0  # of the labels, about


def data() -> dict[str, TensorDataset]:
    """Patients of the training and the test set; the test set is every fifth."""
    found = load_diabetes()
    x, y = (torch.tensor(values, dtype=torch.float32) for values in (20 * found.data, found.target))
    test = torch.arange(len(x)) % 5 == 0
    return {"train": TensorDataset(x[~test], y[~test]), "test": TensorDataset(x[test], y[test])}


class Network(nn.Module):
    """Two hidden layers; the output is on the scale of the labels."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(10, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: ``(n, 10)``; returns ``(n,)``."""
        predicted: Tensor = self.layers(x).squeeze(1)
        return MEAN + SPREAD * predicted
