"""GrowlCallback in Hugging Face's Trainer: resumed bit-equal, every option of a table, refusals, folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import torch_growl as tg
from tests.support.tiny_gpt import network, texts, trained
from torch_growl.errors import FileFormatError, InvalidTypeError, InvalidValueError

pytestmark = [
    pytest.mark.slow,  # importing transformers and its Trainer takes seconds
    pytest.mark.filterwarnings("ignore"),  # theirs
]
PHASES = {"free": 2, "shrinking": 6, "holding": 14, "tied": 20}  # of 24 steps, tied from the 18th on
RISING = {"warm-up": 2, "penalised": 8}


def equal(a: Any, b: Any) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def callback(**given: Any) -> Any:
    from torch_growl.integrations.transformers import GrowlCallback

    return GrowlCallback(**{"target": tg.Target(macs=0.6), "leave": "compact", "tie": 0.5, **given})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    folder, used = tmp_path_factory.mktemp("gpt"), callback(min_rows=2)
    return folder, trained(folder, [used]), used


@pytest.fixture(scope="module")
def rising(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    folder = tmp_path_factory.mktemp("rising")
    used = callback(target=None, strength=20.0, leave="regularized", tie=None, warmup=0.5)
    return folder, trained(folder, [used], steps=12, save_steps=2), used


@pytest.mark.parametrize("phase", PHASES)
def test_a_training_stopped_in_a_phase_and_resumed_ends_bit_equal(
    uninterrupted: tuple[Path, Any, Any], tmp_path: Path, phase: str
) -> None:
    folder, whole, _ = uninterrupted
    step = PHASES[phase]
    shutil.copytree(folder / f"checkpoint-{step}", tmp_path / f"checkpoint-{step}")  # a folder that moved
    used = callback(min_rows=2)
    resumed = trained(tmp_path, [used], step, save_strategy="no")
    assert equal(resumed.model, whole.model)
    assert used.phases.tying == uninterrupted[2].phases.tying
    assert equal(used.network, uninterrupted[2].network)


@pytest.mark.parametrize("phase", RISING)
def test_a_strength_that_rises_is_resumed_bit_equal(rising: tuple[Path, Any, Any], tmp_path: Path, phase: str) -> None:
    folder, whole, used = rising
    shutil.copytree(folder / f"checkpoint-{RISING[phase]}", tmp_path / f"checkpoint-{RISING[phase]}")
    again = callback(target=None, strength=20.0, leave="regularized", tie=None, warmup=0.5)
    resumed = trained(tmp_path, [again], RISING[phase], steps=12, save_strategy="no")
    assert used.network is whole.model
    assert equal(resumed.model, whole.model)
    assert not equal(whole.model, network())
    shutil.copytree(folder / f"checkpoint-{RISING[phase]}", tmp_path / "other" / f"checkpoint-{RISING[phase]}")
    assert not equal(trained(tmp_path / "other", [], RISING[phase], steps=12, save_strategy="no").model, whole.model)


def test_strength_zero_changes_nothing(tmp_path: Path) -> None:
    plain = trained(tmp_path, [], steps=6, save_strategy="no")
    penalised = trained(
        tmp_path,
        [callback(target=None, strength=0.0, leave="compact", tie=None)],
        steps=6,
        save_strategy="no",
    )
    assert equal(plain.model, penalised.model)


def test_the_network_left_is_smaller_tied_and_gives_the_same_outputs(uninterrupted: tuple[Path, Any, Any]) -> None:
    _, whole, used = uninterrupted
    ids = torch.arange(8)[None]
    assert used.phases.tying is not None
    for layer in used.phases.tying:
        weight = whole.model.get_submodule(layer.name).weight  # Conv1D: rows are rows
        assert layer.partition.holds(weight)
    dense, small = (
        tg.measure(network(), {"input_ids": ids}, latency=False),
        tg.measure(used.network, {"input_ids": ids}, latency=False),
    )
    assert small.macs <= 0.6 * dense.macs
    expected = whole.model.eval()(ids).logits
    torch.testing.assert_close(used.network.eval()(ids).logits, expected, rtol=1e-4, atol=1e-5)
    assert whole.optimizer.optimizer._optimizer_step_post_hooks == {}


def test_the_log_has_rows_and_what_is_left(uninterrupted: tuple[Path, Any, Any], tmp_path: Path) -> None:
    from transformers import TrainerCallback

    seen = []

    class After(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
            seen.append(dict(logs))

    trained(tmp_path, [callback(tie=None, leave="regularized"), After()], save_strategy="no")
    for lines in (uninterrupted[1].state.log_history, seen):
        first, second = lines[0], lines[1]
        assert {"loss", "growl/rows", "growl/left"} <= set(first)
        assert second["growl/rows"] < first["growl/rows"]
        assert second["growl/left"] <= 0.6 < first["growl/left"]
        assert (first["growl/reached"], second["growl/reached"]) == (0, 1)
    assert uninterrupted[1].state.log_history[3]["growl/groups"] > 0


def averaged() -> Any:
    from transformers import TrainerCallback

    class Ema(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.model = torch.optim.swa_utils.AveragedModel(
                given["model"], multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
            )

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.model.update_parameters(given["model"])

    return Ema()


OPTIONS: dict[str, dict[str, Any]] = {
    "gradient accumulation": {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
    "bf16": {"bf16": True},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "torch_compile": {"torch_compile": True, "torch_compile_backend": "eager"},
    "fused": {"optim": "adamw_torch_fused"},
    "adafactor": {"optim": "adafactor"},
    "label smoothing": {"label_smoothing_factor": 0.1},
    "EMA": {},
    "8 bits": {"optim": "adamw_torch_8bit"},
}


@pytest.fixture
def _uncompiled() -> Iterator[None]:
    """torchao's optimizers compile their step for every shape, which takes a minute."""
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.mark.usefixtures("_uncompiled")
@pytest.mark.parametrize("option", [name for name in OPTIONS if name != "torch_compile"])
def test_the_target_is_reached_with(option: str, tmp_path: Path) -> None:
    reached(option, tmp_path)


def test_the_target_is_reached_with_torch_compile_and_a_teacher(tmp_path: Path) -> None:
    calls, teacher = [], network()
    teacher.register_forward_hook(lambda module, args, output: calls.append(module.training))
    reached("torch_compile", tmp_path, distill=0.5, teacher=teacher)
    assert calls == [False] * 20
    torch._dynamo.reset()


def reached(option: str, folder: Path, **given: Any) -> None:
    used, ema = callback(min_rows=2, **given), averaged()
    made = trained(folder, [used, ema], steps=20, save_strategy="no", **OPTIONS[option])
    ids = torch.arange(8)[None]
    dense, small = (
        tg.measure(network(), {"input_ids": ids}, latency=False),
        tg.measure(used.network, {"input_ids": ids}, latency=False),
    )
    assert small.macs <= 0.6 * dense.macs
    with torch.no_grad():
        expected = type(made.model).forward(made.model.eval(), ids).logits  # without accelerate's mixed precision
        torch.testing.assert_close(used.network.eval()(ids).logits, expected, rtol=1e-3, atol=1e-4)
    assert "forward" not in vars(used.network)
    if option == "EMA":
        used.average_(ema.model)
        average = tg.compact(ema.model.module, {"input_ids": ids})
        assert tg.measure(average, {"input_ids": ids}, latency=False).macs <= 0.6 * dense.macs


REFUSED = {
    "label_smoothing_factor": ({"label_smoothing_factor": 0.1}, 24),
    "DataParallel": ({"n_gpu": 2}, 24),
    "load_best_model_at_end": ({"load_best_model_at_end": True}, 24),
    "DeepSpeed": ({"deepspeed": "ds.json"}, 24),
    "fsdp": ({"fsdp": ["full_shard"]}, 24),
    "max_steps": ({}, 0),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_not_served_is_refused_by_name(said: str) -> None:
    given, steps = REFUSED[said]
    served = {"load_best_model_at_end": False, "deepspeed": None, "fsdp": [], "label_smoothing_factor": 0, "n_gpu": 1}
    args = SimpleNamespace(**{**served, **given})
    with pytest.raises(InvalidValueError, match=said):
        callback(distill=0.5).on_train_begin(args, SimpleNamespace(max_steps=steps, global_step=0), None)


def test_data_without_examples_asks_for_them(tmp_path: Path) -> None:
    from torch_growl.integrations.transformers import _examples

    with pytest.raises(InvalidValueError, match="example_inputs"):
        _examples(SimpleNamespace(dataset=iter(()), collate_fn=list), None)
    with pytest.raises(InvalidTypeError, match="list, not named inputs"):
        _examples(SimpleNamespace(dataset=texts(2), collate_fn=list), None)


# ── folders ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def folder(uninterrupted: tuple[Path, Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torch_growl.integrations.transformers import save_pretrained

    path = tmp_path_factory.mktemp("small") / "folder"
    save_pretrained(uninterrupted[2].network, path)
    return path


def test_a_folder_gives_the_network_back(uninterrupted: tuple[Path, Any, Any], folder: Path) -> None:
    from torch_growl.integrations.transformers import from_pretrained

    small = uninterrupted[2].network.eval()
    drawn = torch.get_rng_state()
    back = from_pretrained(folder)
    assert torch.equal(drawn, torch.get_rng_state())
    assert type(back) is type(small)
    assert equal(back, small)
    ids = torch.arange(4)[None]
    asked = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(back.generate(ids, **asked), small.generate(ids, **asked))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    small.config.save_pretrained(folder.parent / "dense")
    dense = json.loads((folder.parent / "dense" / "config.json").read_text("utf-8"))
    assert {**dense, "architectures": ["GPT2LMHeadModel"], "dtype": "float32"} == config
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "generation_config.json",
        "growl.safetensors",
        "model.safetensors.index.json",
    ]


def test_a_network_of_bfloat16_comes_back_as_one(folder: Path, tmp_path: Path) -> None:
    from torch_growl.integrations.transformers import from_pretrained, save_pretrained

    small = from_pretrained(folder)
    given = small.config.dtype
    save_pretrained(small.bfloat16(), tmp_path / "bfloat16")
    assert small.config.dtype == given  # the user's own stays
    back = from_pretrained(tmp_path / "bfloat16")
    ids = torch.arange(4)[None]
    assert back.dtype == torch.bfloat16
    assert torch.equal(back(ids).logits, small(ids).logits)


def test_their_from_pretrained_names_ours_and_makes_no_random_weights(folder: Path) -> None:
    from transformers import AutoModel, AutoModelForCausalLM

    for kind in (AutoModel, AutoModelForCausalLM):
        with pytest.raises(OSError, match=r"load it with torch_growl\.integrations\.transformers\.from_pretrained"):
            kind.from_pretrained(folder)


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "pytorch_model.bin"],
)
def test_folders_with_weights_of_theirs_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    from torch_growl.integrations.transformers import from_pretrained, save_pretrained

    (tmp_path / name).write_text("{}", "utf-8")
    with pytest.raises(InvalidValueError, match=f"holds {name}, .*choose another folder, or delete"):
        save_pretrained(network(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    shutil.copytree(folder, tmp_path / "ours")
    save_pretrained(from_pretrained(folder), tmp_path / "ours")


def test_folders_and_networks_of_other_kinds_are_refused(folder: Path, tmp_path: Path) -> None:
    from torch_growl.integrations.transformers import from_pretrained, save_pretrained

    with pytest.raises(FileFormatError, match=r"growl\.safetensors"):
        from_pretrained(tmp_path)
    with pytest.raises(InvalidTypeError, match="PreTrainedModel"):
        save_pretrained(torch.nn.Linear(2, 2), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    shutil.copytree(folder, tmp_path / "own")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (tmp_path / "own" / "config.json").write_text(json.dumps({**config, "architectures": ["MyGPT"]}), "utf-8")
    with pytest.raises(InvalidValueError, match="'MyGPT'"):
        from_pretrained(tmp_path / "own")
    assert from_pretrained(tmp_path / "own", cls=type(network())) is not None
    (tmp_path / "own" / "config.json").write_text("{", "utf-8")
    with pytest.raises(FileFormatError, match=r"config\.json cannot be read"):
        from_pretrained(tmp_path / "own")


@pytest.mark.parametrize(
    "names", [["GPT2LMHeadModel", "GPT2Model"], [3], "GPT2LMHeadModel", {"a": 1}, ["GPT2Config"], ["BertModel"]]
)
def test_a_malformed_config_is_a_file_format_error(folder: Path, tmp_path: Path, names: Any) -> None:
    from torch_growl.integrations.transformers import from_pretrained

    shutil.copytree(folder, tmp_path / "own")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (tmp_path / "own" / "config.json").write_text(json.dumps({**config, "architectures": names}), "utf-8")
    with pytest.raises(FileFormatError, match=r"config\.json"):
        from_pretrained(tmp_path / "own")


@pytest.mark.parametrize("cls", [3, "GPT2LMHeadModel", torch.nn.Linear])
def test_a_class_that_is_none_of_theirs_is_refused(folder: Path, cls: Any) -> None:
    from torch_growl.integrations.transformers import from_pretrained

    with pytest.raises(InvalidTypeError, match="cls must be a class of networks"):
        from_pretrained(folder, cls=cls)
