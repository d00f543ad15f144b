"""A very small GPT-2, its data, and a training of it by Hugging Face's Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def network() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": 24, "n_positions": 16}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).train()


def texts(count: int = 64) -> list[dict[str, torch.Tensor]]:
    """Sequences in which every second token repeats the one before it."""
    ids = torch.randint(24, (count, 8), generator=torch.Generator().manual_seed(0)).repeat_interleave(2, dim=1)
    return [{"input_ids": row, "labels": row} for row in ids]


def trainer(
    folder: Path, callbacks: list[Any], *, steps: int = 24, save_steps: int = 2, kind: Any = None, **settings: Any
) -> Any:
    """A Trainer on the CPU that saves often and prints nothing; the learning rate falls, there is dropout."""
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_callback import PrinterCallback

    quiet = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False}
    given = {"per_device_train_batch_size": 8, "learning_rate": 3e-3, "logging_steps": 6, "save_steps": save_steps}
    arguments = TrainingArguments(str(folder), max_steps=steps, **{**quiet, **given, **settings})
    made = (kind or Trainer)(network(), arguments, train_dataset=texts(), callbacks=callbacks)
    made.remove_callback(PrinterCallback)
    return made


def trained(folder: Path, callbacks: list[Any], resume: int | None = None, **settings: Any) -> Any:
    """The Trainer after training, from the start or from the checkpoint of a step in another folder's name."""
    made = trainer(folder, callbacks, **settings)
    made.train(resume_from_checkpoint=None if resume is None else str(folder / f"checkpoint-{resume}"))
    return made
