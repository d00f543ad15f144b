"""Segmentation: the pixels of odd and of even digits in noise: ``growl run examples/tasks/segmentation.yaml``.

Pictures are made of scikit-learn's handwritten digits. The network returns a dict, as those of torchvision do.
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

SIZE = 16
BACKGROUND, ODD, EVEN = range(3)


def data(pictures: int = 1500) -> dict[str, TensorDataset]:
    """Pictures of one digit each on a background of noise, with the class of every pixel."""
    found = load_digits()
    x, y = pictures_of(torch.tensor(found.images / 16, dtype=torch.float32), torch.tensor(found.target))
    return {"train": TensorDataset(x[:pictures], y[:pictures]), "test": TensorDataset(x[-297:], y[-297:])}


def pictures_of(digits: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Put each digit at a random place; returns pictures ``(n, 1, 16, 16)`` and classes ``(n, 16, 16)``."""
    generator = torch.Generator().manual_seed(0)
    x = 0.2 * torch.randn(len(digits), 1, SIZE, SIZE, generator=generator)
    y = torch.full((len(digits), SIZE, SIZE), BACKGROUND)
    places = torch.randint(SIZE - 8 + 1, (len(digits), 2), generator=generator).tolist()
    for i, (top, left) in enumerate(places):
        inside = (i, slice(top, top + 8), slice(left, left + 8))
        x[i, 0, top : top + 8, left : left + 8] += digits[i]
        y[inside] = torch.where(digits[i] > 0.3, ODD if numbers[i] % 2 else EVEN, BACKGROUND)
    return x, y


class Network(nn.Module):
    """Features of the whole picture at half its size, and of its pixels at full size."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(width, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.wide = nn.Sequential(nn.Conv2d(width, width, 5, padding=2), nn.BatchNorm2d(width), nn.ReLU())
        self.last = nn.Conv2d(2 * width, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x: ``(n, 1, h, w)``; returns logits ``(n, 3, h, w)`` as ``out``."""
        fine = self.first(x)
        coarse = F.interpolate(self.wide(self.down(fine)), scale_factor=2.0)
        return {"out": self.last(torch.cat([fine, coarse], dim=1))}
