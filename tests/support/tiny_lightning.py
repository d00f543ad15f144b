"""A small LightningModule, with one optimizer or two, its data, and a training of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.support.small_mlp import mlp, two_of


class Module(LightningModule):  # type: ignore[misc]
    """The small perceptron; its learning rate falls."""

    def __init__(self, optimizer: str = "SGD") -> None:
        super().__init__()
        self.model = mlp()
        self.optimizer = optimizer
        self.example_input_array = torch.randn(4, 10, generator=torch.Generator().manual_seed(1))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.model(x)
        return found

    def training_step(self, batch: Any, number: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        if self.optimizer == "AdamW":
            return torch.optim.AdamW(self.parameters(), lr=0.01)
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.5, total_iters=5)]


class TwoOptimizers(Module):
    """The first layer is trained by one optimizer, the others by another; their steps are made by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, number: int) -> None:  # type: ignore[override]
        for each in self.optimizers():
            each.zero_grad()
        self.manual_backward(nn.functional.cross_entropy(self(batch[0]), batch[1]))
        for each in self.optimizers():
            each.step()

    def configure_optimizers(self) -> Any:
        first = list(self.model.fc1.parameters())
        others = [p for name, p in self.model.named_parameters() if not name.startswith("fc1")]
        return torch.optim.SGD(first, lr=0.1), torch.optim.AdamW(others, lr=0.01)


def loader(batches: int = 4) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*two_of(10, 16 * batches, seed=3)), batch_size=16)


def trained(
    folder: Path,
    callbacks: list[Any],
    module: LightningModule | None = None,
    *,
    epochs: int = 6,
    resume: Path | None = None,
    **settings: Any,
) -> Trainer:
    """The Trainer after training on the CPU, 4 steps an epoch; it writes a checkpoint after each if it is asked to."""
    quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    given = {"max_epochs": epochs, "enable_checkpointing": False, "default_root_dir": folder, **quiet, **settings}
    trainer = Trainer(callbacks=callbacks, **given)
    trainer.fit(Module() if module is None else module, loader(), ckpt_path=resume)
    return trainer


def checkpoints(folder: Path) -> Any:
    """A callback that keeps the checkpoint of every epoch, ``0.ckpt`` after the first."""
    from lightning.pytorch.callbacks import ModelCheckpoint

    return ModelCheckpoint(folder, filename="{epoch}", auto_insert_metric_name=False, save_top_k=-1)
