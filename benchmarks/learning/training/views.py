"""Fixed random crops of every CIFAR-10 image with a teacher's answers, so that a large teacher runs just once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.learning.training.fitting import Bfloat16
from torch_growl.application.data.cifar10 import cropped
from torch_growl.application.data.splits import TensorSplit

__all__ = ["Views", "answers_to"]


class Views(TensorSplit):
    """A training split whose images are seen in a few fixed crops, mirrored or not.

    Args:
        split: uint8 images ``(n, 3, h, w)``; its transform, without chance, makes the network's input of a crop.
        count: crops of each image.
        padding: pixels of black at each side.
        seed: of where the crops lie.
        logits: a teacher's answers, ``(count, n, classes)``; None: they are not asked for. With them, ``batch`` gives
            for every example its class and the teacher's answers to this very crop, ``(b, 1 + classes)``.
    """

    def __init__(
        self, split: TensorSplit, count: int, padding: int = 4, seed: int = 0, logits: Tensor | None = None
    ) -> None:
        super().__init__(split.x, split.y, split.transform)
        self.padding, self.logits = padding, logits
        generator = torch.Generator().manual_seed(seed)
        shape = (count, len(split))
        self.top, self.left = torch.randint(0, 2 * padding + 1, (2, *shape), generator=generator)
        self.mirrored = torch.randint(0, 2, shape, generator=generator, dtype=torch.bool)
        if logits is not None and logits.shape[:2] != shape:
            raise ValueError(f"answers to {tuple(logits.shape[:2])} crops and images were given, not to {shape}")

    def view(self, which: Tensor, indices: Tensor) -> Tensor:
        """Return the network's input for some examples, each in one of its crops; both ``(b,)``."""
        places = (part[which, indices] for part in (self.top, self.left, self.mirrored))
        x = cropped(self.x[indices], self.padding, *places)
        return x if self.transform is None else self.transform(x, None)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return a batch as :meth:`TensorSplit.batch` does; the crop of each example is random."""
        if generator is None:
            return super().batch(indices)
        which = torch.randint(len(self.top), (len(indices),), generator=generator)
        x, y = self.view(which, indices), self.y[indices]
        return x, y if self.logits is None else torch.cat([y[:, None].float(), self.logits[which, indices]], dim=1)


@torch.inference_mode()
def answers_to(views: Views, teacher: nn.Module, size: int = 500) -> Tensor:
    """Return the outputs of a network, in bfloat16, for every crop: ``(count, n, classes)``."""
    network = Bfloat16(teacher)
    found = []
    for which in range(len(views.top)):
        parts = torch.arange(len(views)).split(size)
        found.append(torch.cat([network(views.view(torch.full_like(part, which), part)) for part in parts]))
        print(f"teacher: {which + 1} of {len(views.top)} crops", flush=True)
    return torch.stack(found).clone()
