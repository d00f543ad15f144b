"""Recovery in Hugging Face's Trainer: all of it resumed bit-equal, distillation against a loss written by hand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import torch_growl as tg
from tests.support.tiny_gpt import network, trained, trainer
from torch_growl.errors import InvalidValueError

pytestmark = [
    pytest.mark.slow,  # importing transformers and its Trainer takes seconds
    pytest.mark.filterwarnings("ignore"),  # theirs
]


def equal(a: Any, b: Any) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def callback(**given: Any) -> Any:
    from torch_growl.integrations.transformers import GrowlCallback

    return GrowlCallback(**{"target": tg.Target(macs=0.6), "leave": "compact", "tie": 0.5, **given})


def test_a_training_with_every_recovery_is_resumed_bit_equal(tmp_path: Path) -> None:
    given = {"distill": 0.5, "distill_features": 1.0, "average": 0.8, "recalibrate": True, "min_rows": 2}
    first, folder = callback(**given), tmp_path / "whole"
    whole = trained(folder, [first])
    for step in (6, 20):
        shutil.copytree(folder / f"checkpoint-{step}", tmp_path / f"checkpoint-{step}")
        used = callback(**given)
        resumed = trained(tmp_path, [used], step, save_strategy="no")
        assert equal(resumed.model, whole.model)
        assert equal(used.network, first.network)
    assert not whole.model._forward_hooks
    last = load_file(folder / "checkpoint-24" / "model.safetensors")["transformer.wpe.weight"]
    assert not torch.equal(whole.model.transformer.wpe.weight, last), "the average replaces the last weights"


DISTILLED: dict[str, dict[str, Any]] = {
    "plain": {},
    "gradient accumulation": {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
    "bf16": {"bf16": True},
    "gradient checkpointing": {"gradient_checkpointing": True},
}


@pytest.mark.parametrize("option", DISTILLED)
def test_distillation_is_that_of_a_loss_written_by_hand(tmp_path: Path, option: str) -> None:
    from transformers import Trainer

    teacher = network().eval()
    torch.nn.init.normal_(teacher.transformer.wte.weight)

    class ByHand(Trainer):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            output = model(**inputs, num_items_in_batch=num_items_in_batch)
            with torch.no_grad():
                wanted = torch.nn.functional.softmax(teacher(**inputs).logits / 3, dim=-1)
            softened = torch.nn.functional.cross_entropy(output.logits.transpose(1, 2) / 3, wanted.transpose(1, 2))
            return 0.6 * output.loss + 0.4 * 9 * softened / self.current_gradient_accumulation_steps

    settings = {"steps": 4, "save_strategy": "no", "optim": "sgd", "learning_rate": 0.1, **DISTILLED[option]}
    used = callback(
        target=None, strength=0.0, tie=None, leave="regularized", distill=0.4, temperature=3.0, teacher=teacher
    )
    found = trained(tmp_path, [used], **settings).model
    expected = trained(tmp_path, [], kind=ByHand, **settings).model
    close = 1e-3 if option == "bf16" else 1e-5
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=close, atol=close)
    if option == "plain":
        plain = trained(tmp_path, [], **settings).model
        assert not torch.allclose(found.lm_head.weight, plain.lm_head.weight, atol=1e-3)


PLAIN = {"target": None, "strength": 0.0, "tie": None, "leave": "regularized", "distill": 0.5}


def losses(made: Any) -> list[float]:
    return [each["loss"] for each in made.state.log_history if "loss" in each]


def test_a_training_after_an_exception_has_its_own_loss(tmp_path: Path) -> None:
    from transformers import TrainerCallback

    class Stop(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *args: Any, **given: Any) -> None:
            raise KeyboardInterrupt

    teacher = network()
    torch.nn.init.normal_(teacher.transformer.wte.weight)
    settings = {"steps": 2, "save_strategy": "no", "logging_steps": 1}
    used = callback(**PLAIN, teacher=teacher)
    fresh = losses(trained(tmp_path, [used], **settings))
    plain = losses(trained(tmp_path, [], **settings))
    assert fresh != plain
    for wanted, callbacks in ((plain, []), (fresh, [used])):
        first = trainer(tmp_path, [callback(**PLAIN, teacher=teacher), Stop()], **settings)
        with pytest.raises(KeyboardInterrupt):
            first.train()
        again = trainer(tmp_path, callbacks, **settings)
        again.model = again.model_wrapped = first.model
        again.train()
        assert losses(again) == wanted
        assert len(first.model._forward_hooks) == (0 if callbacks else 1)
        assert "compute_loss" not in vars(again)


def test_a_loss_that_the_trainer_computes_itself_is_refused(tmp_path: Path) -> None:
    from transformers import Trainer

    def of(output: Any, labels: Any = None, num_items_in_batch: Any = None) -> Any:
        return output.logits.square().mean()

    class Own(Trainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **given: Any) -> Any:
            output = model(**inputs)
            return (of(output), output) if return_outputs else of(output)

    for settings in ({"kind": Own}, {"kind": lambda *a, **k: Trainer(*a, compute_loss_func=of, **k)}):
        with pytest.raises(InvalidValueError, match="compute_loss"):
            trained(tmp_path, [callback(**PLAIN)], steps=1, save_strategy="no", **settings)
