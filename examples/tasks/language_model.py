"""A language model of letters on Python's own documentation: ``growl run examples/tasks/language-model.yaml``.

The text is what ``help("topics")`` shows, which comes with Python. The training set is an endless stream, examples are
dicts in transformers' convention (``input_ids``, whose next tokens are the labels), and the network returns an object
with ``logits``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import IterableDataset

LENGTH = 64  # letters in an example
TEXT = "".join(topics[name] for name in sorted(topics))
LETTERS = sorted(set(TEXT))


class Stream(IterableDataset[dict[str, Tensor]]):
    """Pieces of a text from random places, without end; other ones in every epoch."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take a number of the epoch; it is the seed of the places."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(self.epoch)
        while True:
            start = int(torch.randint(len(self.tokens) - LENGTH, (1,), generator=generator))
            yield {"input_ids": self.tokens[start : start + LENGTH]}


def data() -> dict[str, Any]:
    """Four fifths of the text for training, the rest for validation and test."""
    tokens = torch.tensor([LETTERS.index(letter) for letter in TEXT])
    train, rest = tokens[: len(tokens) * 4 // 5], tokens[len(tokens) * 4 // 5 :]
    pieces = [{"input_ids": piece} for piece in rest[: len(rest) // LENGTH * LENGTH].view(-1, LENGTH)]
    return {"train": Stream(train), "validation": pieces[:300], "test": pieces[300:900]}


@dataclass
class Output:
    """The network's output, with the field that transformers' have."""

    logits: Tensor


class Block(nn.Module):
    """Attention to the letters before, then two linear layers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: ``(n, length, width)``."""
        h = self.norm1(x)
        q, k, v = (
            layer(h).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.out(attended)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Network(nn.Module):
    """A small transformer."""

    def __init__(self, width: int = 64, heads: int = 4, blocks: int = 2) -> None:
        super().__init__()
        self.letters, self.places = nn.Embedding(len(LETTERS), width), nn.Embedding(LENGTH, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, len(LETTERS))

    def forward(self, *, input_ids: Tensor) -> Output:
        """input_ids: ``(n, length)``."""
        x = self.letters(input_ids) + self.places(torch.arange(input_ids.shape[1], device=input_ids.device))
        for block in self.blocks:
            x = block(x)
        return Output(self.head(self.norm(x)))
