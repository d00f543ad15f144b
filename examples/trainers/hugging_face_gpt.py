"""Hugging Face, plain and with a target: ``python examples/trainers/hugging_face_gpt.py``.

A small GPT-2 is trained on the letters of the text that ``help("topics")`` shows, which comes with Python. The lines
that torch-growl adds are marked.
"""

import math
import tempfile
from pydoc_data.topics import topics
from typing import Any

import torch
from before_after import Row, row, show
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

import torch_growl as tg
from torch_growl.integrations.transformers import GrowlCallback, from_pretrained, save_pretrained

LENGTH = 64
TEXT = "".join(topics[name] for name in sorted(topics))
LETTERS = sorted(set(TEXT))


def pieces() -> list[dict[str, torch.Tensor]]:
    ids = torch.tensor([LETTERS.index(letter) for letter in TEXT])
    return [{"input_ids": piece, "labels": piece} for piece in ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)]


def train(data: Any, steps: int, callbacks: list[Any]) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_embd": 64, "n_head": 4, "n_positions": LENGTH, "vocab_size": len(LETTERS)}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, resid_pdrop=0.0, attn_pdrop=0.0))
    quiet = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "dataloader_pin_memory": False}
    settings = {"learning_rate": 3e-3, "per_device_train_batch_size": 32, "lr_scheduler_type": "cosine"}
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, max_steps=steps, use_cpu=True, **settings, **quiet)
        trainer = Trainer(model, arguments, train_dataset=data, callbacks=callbacks)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return model


@torch.inference_mode()
def bits(model: Any, data: list[dict[str, torch.Tensor]]) -> float:
    """The loss on letters that were not trained on, in bits a letter."""
    ids = torch.stack([piece["input_ids"] for piece in data])
    return float(model.eval()(input_ids=ids, labels=ids).loss) / math.log(2)


def main(steps: int = 300, tested: int = 200) -> list[dict[str, Any]]:
    data = pieces()
    train_set, test_set = data[:-tested], data[-tested:]
    example = {"input_ids": test_set[0]["input_ids"][None]}
    rows: list[Row] = []
    plain = train(train_set, steps, [])
    rows.append(row("plain", bits(plain, test_set), plain, example))
    texts = torch.stack([piece["input_ids"] for piece in train_set[:640]])  # torch-growl
    batches = [{"input_ids": ids} for ids in texts.split(80)]  # torch-growl
    target = tg.Target(macs=0.6, compensate=batches)  # torch-growl
    callback = GrowlCallback(target=target, leave="compact")  # torch-growl
    train(train_set, steps, [callback])  # torch-growl
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(callback.network, folder)  # torch-growl
        small = from_pretrained(folder)  # torch-growl
    rows.append(row("0.6 of the MACs", bits(small, test_set), small, example))
    return show("Hugging Face: GPT-2 on Python's help", "bits a letter", rows)


if __name__ == "__main__":
    main()
