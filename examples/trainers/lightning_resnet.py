"""Lightning, plain and with a target: ``python examples/trainers/lightning_resnet.py DATA WEIGHTS``.

ResNet-20 with its published weights (akamaster/pytorch_resnet_cifar10) is trained on with images of CIFAR-10. The
lines that torch-growl adds are marked.
"""

import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from before_after import Row, row, show
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import torch_growl as tg
from torch_growl.application.data.datasets import load_cifar10
from torch_growl.application.models.residual import resnet_cifar
from torch_growl.integrations.lightning import GrowlCallback

warnings.filterwarnings("ignore", module="lightning")  # of few workers
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Classifier(LightningModule):  # type: ignore[misc]
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.example_input_array = torch.randn(2, 3, 32, 32)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.network(x)
        return found

    def training_step(self, batch: Any, number: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def train(weights: Path, loader: Any, epochs: int, callbacks: list[Any]) -> nn.Module:
    seed_everything(0, verbose=False)
    module = Classifier(resnet_cifar(depth=20, weights=weights))
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    Trainer(max_epochs=epochs, accelerator="cpu", callbacks=callbacks, **quiet).fit(module, loader)
    return module


@torch.inference_mode()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    model.eval()
    found = torch.cat([model(batch).argmax(1) for batch in x.split(250)])
    return 100 * float((found == y).float().mean())


def main(
    data: str, weights: str, epochs: int = 2, images: int = 1200, tested: int = 1000, size: int = 64
) -> list[dict[str, Any]]:
    splits = load_cifar10(Path(data), normalize="channels")
    assert splits.test.transform is not None
    x, y = splits.test.transform(splits.train.x[:images], None), splits.train.y[:images]
    test_x, test_y = splits.test.transform(splits.test.x[:tested], None), splits.test.y[:tested]
    loader = DataLoader(TensorDataset(x, y), batch_size=size, shuffle=True)
    rows: list[Row] = []
    plain = train(Path(weights), loader, epochs, [])
    rows.append(row("plain", accuracy(plain, test_x, test_y), plain, test_x[:2]))
    target = tg.Target(macs=0.75, compensate=list(x[:640].chunk(5)))  # torch-growl
    callback = GrowlCallback(target=target, leave="compact")  # torch-growl
    train(Path(weights), loader, epochs, [callback])  # torch-growl
    assert callback.network is not None
    rows.append(row("¾ of the MACs", accuracy(callback.network, test_x, test_y), callback.network, test_x[:2]))
    return show("Lightning: ResNet-20 on CIFAR-10", "accuracy, %", rows)


if __name__ == "__main__":
    main(*sys.argv[1:3])
