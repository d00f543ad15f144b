"""Hugging Face, plain and with a target: ``python examples/trainers/hugging_face_vit.py``.

A small vision transformer is trained on scikit-learn's handwritten digits. The lines that torch-growl adds are marked.
"""

import tempfile
from typing import Any

import torch
from before_after import Row, row, show
from sklearn.datasets import load_digits
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification
from transformers.trainer_callback import PrinterCallback

import torch_growl as tg
from torch_growl.integrations.transformers import GrowlCallback

pixels, digits = load_digits(return_X_y=True)
x, y = torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(digits)
TRAIN = 1400


def train(epochs: int, callbacks: list[Any]) -> ViTForImageClassification:
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
    images = {"image_size": 8, "patch_size": 2, "num_channels": 1}
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = ViTForImageClassification(ViTConfig(num_labels=10, **sizes, **images, **off))
    data = [{"pixel_values": image, "labels": label} for image, label in zip(x[:TRAIN], y[:TRAIN], strict=True)]
    quiet = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "dataloader_pin_memory": False}
    settings = {"learning_rate": 2e-3, "per_device_train_batch_size": 50, "lr_scheduler_type": "cosine"}
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, num_train_epochs=epochs, use_cpu=True, **settings, **quiet)
        trainer = Trainer(model, arguments, train_dataset=data, callbacks=callbacks)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return model


@torch.inference_mode()
def accuracy(model: Any) -> float:
    return 100 * float((model.eval()(pixel_values=x[TRAIN:]).logits.argmax(1) == y[TRAIN:]).float().mean())


def main(epochs: int = 12) -> list[dict[str, Any]]:
    example = {"pixel_values": x[:2]}
    rows: list[Row] = []
    plain = train(epochs, [])
    rows.append(row("plain", accuracy(plain), plain, example))
    batches = [{"pixel_values": images} for images in x[:TRAIN].split(200)]  # torch-growl
    target = tg.Target(macs=0.6, compensate=batches)  # torch-growl
    callback = GrowlCallback(target=target, leave="compact")  # torch-growl
    train(epochs, [callback])  # torch-growl
    assert callback.network is not None
    rows.append(row("0.6 of the MACs", accuracy(callback.network), callback.network, example))
    return show("Hugging Face: ViT on digits", "accuracy, %", rows)


if __name__ == "__main__":
    main()
