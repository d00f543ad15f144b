"""Keeps CIFAR-10 on one device as uint8 images, which are cropped, mirrored and normalised there."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_growl.application.data.splits import TensorSplit

__all__ = ["DeviceSplit", "standardised"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def standardised(x: Tensor) -> Tensor:
    """Normalise each uint8 image ``(b, 3, h, w)`` to mean 0 and deviation 1, as TensorFlow does."""
    x = x.to(torch.float32) / 255
    spread, centre = torch.std_mean(x, dim=(1, 2, 3), correction=0, keepdim=True)
    return (x - centre) / spread.clamp_min(1 / (255 * x[0].numel() ** 0.5))


class DeviceSplit(TensorSplit):
    """A split of uint8 images on a device, with batches in channels-last format.

    Args:
        split: images ``(n, 3, 32, 32)``, uint8.
        device: where to.
        padding: pixels of black at each side for random crops, with mirroring; 0: images as they are.
        channels: normalised by channel, as the pretrained networks want it; else each image by its own pixels.
    """

    def __init__(self, split: TensorSplit, device: torch.device, padding: int = 0, channels: bool = False) -> None:
        super().__init__(split.x.to(device), split.y.to(device))
        self.padding = padding
        self.by_channel = [torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (MEAN, STD)] if channels else None

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return a batch as :meth:`TensorSplit.batch` does; random numbers are drawn on the CPU for every device."""
        chosen = indices.to(self.x.device, non_blocking=True)
        x = self.x[chosen]
        if self.padding and generator is not None:
            x = self._augmented(x, generator)
        if self.by_channel is None:
            x = standardised(x)
        else:
            x = (x.to(torch.float32) / 255 - self.by_channel[0]) / self.by_channel[1]
        return x.contiguous(memory_format=torch.channels_last), self.y[chosen]

    def _augmented(self, x: Tensor, generator: torch.Generator) -> Tensor:
        n, size, device = len(x), x.shape[-1], x.device
        offsets = torch.randint(2 * self.padding + 1, (2, n), generator=generator).to(device, non_blocking=True)
        mirrored = torch.rand(n, generator=generator).to(device, non_blocking=True) < 0.5
        span = torch.arange(size, device=device)
        rows, columns = offsets[0, :, None] + span, offsets[1, :, None] + span
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        padded = torch.nn.functional.pad(x, (self.padding,) * 4)
        each = torch.arange(n, device=device)[:, None, None, None]
        planes = torch.arange(3, device=device)[None, :, None, None]
        return padded[each, planes, rows[:, None, :, None], columns[:, None, None, :]]
