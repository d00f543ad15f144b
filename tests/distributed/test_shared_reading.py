"""Several processes share the examples of a batch, and the batches of a test, and end where one process does."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from tests.distributed.test_runs import launched
from tests.support.processes import on_processes
from torch_growl.application.data import Place
from torch_growl.application.recipes import Phase
from torch_growl.application.tasks import build_task
from torch_growl.application.training import Trainer, accelerator_for, evaluate


class Examples(Dataset[Any]):
    """Examples in float64 that are read one by one; possibly with random numbers."""

    def __init__(self, *, noise: float = 0) -> None:
        self.x = torch.randn(50, 6, generator=torch.Generator().manual_seed(1)).double()
        self.read: list[int] = []
        self._noise = noise

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.read.append(index)
        moved = self._noise * torch.rand(6, dtype=torch.float64) if self._noise else 0
        return self.x[index] + moved, (self.x[index, 0] > 0).long()


def trained(data: Examples, accelerator: Accelerator) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    logged: list[dict[str, Any]] = []
    phase = Phase(epochs=2, lr=0.1, batch_size=15)
    made = Trainer("dense", phase, 0, accelerator, lambda state: None, logged.append, lambda *_: None, ("0",))
    made.fit(model, data, TensorDataset(data.x, (data.x[:, 0] > 0).long()))
    return logged


@on_processes(2)
def test_a_training_reads_its_examples_or_whole_batches_and_is_that_of_one_process(rank: int, world: int) -> None:
    for noise, read in ((0.0, 2 * 3 * (7, 8)[rank] + 2 * 3), (0.5, 2 * 3 * 15 + 2 * 3)):  # three more to see what draws
        data = Examples(noise=noise)
        with launched(rank, world, {}):
            together = trained(data, accelerator_for("cpu", "no"))
        assert len(data.read) == read
        alone = trained(Examples(noise=noise), accelerator_for("cpu", "no"))
        for key in ("loss", "train_score", "validation_score"):
            torch.testing.assert_close([each[key] for each in together], [each[key] for each in alone])


@on_processes(3)
def test_a_score_is_that_of_one_process_bit_for_bit_and_each_batch_is_read_once(rank: int, world: int) -> None:
    torch.manual_seed(0)
    model, task, data = nn.Linear(6, 1).double(), build_task("regression"), Examples()
    how: dict[str, Any] = {"device": torch.device("cpu"), "task": task, "size": 7}
    found = evaluate(model, data, place=Place(rank, world), **how)
    read: list[Any] = [None] * world
    dist.all_gather_object(read, data.read)
    assert sorted(index for own in read for index in own) == list(range(50))
    assert found == evaluate(model, data, **how)
