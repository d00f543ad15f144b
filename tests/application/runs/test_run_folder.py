"""The run folder: created once, resumed only with the same recipe, its files whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from torch_growl.application.recipes import load_recipe
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.errors import GrowlError, RunFolderError


def test_it_is_created_and_gives_its_recipe_back(tmp_path: Path) -> None:
    recipe = load_recipe("digits", {"seed": 3})
    folder = RunFolder(tmp_path / "deep" / "run")
    folder.create(recipe)
    assert folder.recipe() == recipe


def test_a_folder_in_use_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    recipe = load_recipe("digits", {})
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="is in use by other files; choose another --out"):
        RunFolder(tmp_path).create(recipe)
    with pytest.raises(RunFolderError, match="is in use by other files"):
        RunFolder(tmp_path).create(recipe, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(RunFolderError, match="is a file, not a folder"):
        RunFolder(tmp_path / "notes.txt").create(recipe)


def test_a_run_is_resumed_only_on_request_and_with_its_own_recipe(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(load_recipe("digits", {}))
    before = folder.recipe_file.read_bytes()
    with pytest.raises(RunFolderError, match="holds a run already; continue it with --resume"):
        folder.create(load_recipe("digits", {}))
    other = load_recipe("digits", {"train.epochs": 1234})
    with pytest.raises(RunFolderError, match=r"holds a run with train.epochs = \d+, not 1234"):
        folder.create(other, resume=True)
    folder.create(load_recipe("digits", {}), resume=True)
    assert folder.recipe_file.read_bytes() == before


def test_a_reworded_description_is_no_other_recipe(tmp_path: Path) -> None:
    recipe = load_recipe("digits")
    folder = RunFolder(tmp_path / "run")
    folder.create(recipe.model_copy(update={"description": "in older words"}))
    folder.create(recipe, resume=True)
    with pytest.raises(RunFolderError, match="seed"):
        folder.create(recipe.model_copy(update={"seed": recipe.seed + 1}), resume=True)


def test_a_folder_that_is_no_run_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is not a run folder: it has no recipe.yaml"):
        RunFolder(tmp_path).recipe()
    with pytest.raises(RunFolderError, match=r"has no result.json yet"):
        RunFolder(tmp_path).result()
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"result.json is damaged"):
        RunFolder(tmp_path).result()
    with pytest.raises(GrowlError, match="stage must be 'train', 'tie', .*, got 'x'"):
        RunFolder(tmp_path).drop_from("x")


def test_two_processes_cannot_hold_one_folder(tmp_path: Path) -> None:
    folder, recipe = RunFolder(tmp_path / "run"), load_recipe("digits")
    with pytest.raises(RunFolderError, match="is not a run folder"), folder.locked():
        pass
    with folder.claimed(recipe):
        with pytest.raises(RunFolderError, match="in use by another process"), folder.locked():
            pass
        with pytest.raises(RunFolderError, match="in use by another process"), folder.claimed(recipe, resume=True):
            pass
    with folder.locked():
        pass


LEFT = {  # what a kill leaves in the first moments of a run
    "nothing but the folder": (),
    "a lock": (".lock",),
    "an empty folder": (".lock", "checkpoints/"),
    "a part of the recipe": (".lock", "checkpoints/", ".recipe.123.tmp.yaml"),
    "a part of a checkpoint": (".lock", "checkpoints/", "checkpoints/.dense.123.tmp.pt"),
}


@pytest.mark.parametrize("left", LEFT)
def test_a_run_killed_before_its_recipe_was_written_is_resumed(left: str, tmp_path: Path) -> None:
    for name in LEFT[left]:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    folder = RunFolder(tmp_path)
    with folder.claimed(load_recipe("digits"), resume=True):
        assert folder.recipe() == load_recipe("digits")
    assert {path.name for path in tmp_path.rglob("*")} == {".lock", "checkpoints", "recipe.yaml"}


def test_another_file_in_a_folder_of_the_same_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mine.pt").touch()
    with pytest.raises(RunFolderError, match="is in use by other files"):
        RunFolder(tmp_path).create(load_recipe("digits"), resume=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["checkpoints", "mine.pt"]


RECIPE = load_recipe("digits", {"dense.epochs": 2, "train.epochs": 2, "retrain.epochs": 1})


def test_checkpoints_come_back_and_damaged_ones_say_so(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    assert folder.load_checkpoint("train", RECIPE) is None
    with pytest.raises(RunFolderError, match="stage 'train' is not done yet"):
        folder.finished("train", RECIPE)
    folder.save_checkpoint("train", RECIPE, {"epoch": 1, "w": torch.arange(3.0)})
    with pytest.raises(RunFolderError, match="stage 'train' is not done yet"):
        folder.finished("train", RECIPE)
    folder.save_checkpoint("train", RECIPE, {"epoch": 2, "w": torch.arange(3.0)})
    assert torch.equal(folder.finished("train", RECIPE)["w"], torch.arange(3.0))
    path = folder.checkpoints / "train.pt"
    good = path.read_bytes()
    for data in (good[:200], good.replace(b"\0\0\x80?", b"\0\0\x81?"), b"", good + b"0"):
        assert data != good
        path.write_bytes(data)
        with pytest.raises(RunFolderError, match=r"train.pt cannot be read .*delete it to do the stage again"):
            folder.load_checkpoint("train", RECIPE)


def test_a_checkpoint_of_another_seed_recipe_or_stage_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    folder.save_checkpoint("train", RECIPE, {"epoch": 2})
    for settings in ({"seed": 5}, {"train.lr": 0.04}, {"growl.strength": 2.0}, {"model.options": {"width": 3}}):
        other = load_recipe("digits", {"dense.epochs": 2, "train.epochs": 2, "retrain.epochs": 1, **settings})
        with pytest.raises(RunFolderError, match=r"train.pt is of another stage, recipe or seed than this run's"):
            folder.load_checkpoint("train", other)
    (folder.checkpoints / "train.pt").rename(folder.checkpoints / "dense.pt")
    with pytest.raises(RunFolderError, match=r"dense.pt is of another stage"):
        folder.load_checkpoint("dense", RECIPE)


def test_metrics_after_a_checkpoint_are_dropped_on_resuming(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.trim_metrics("dense", 0, RECIPE)
    for stage, epoch in [("dense", 1), ("dense", 2), ("train", 1), ("train", 2), ("retrain", 1)]:
        folder.append_metrics({"stage": stage, "epoch": epoch})
    with open(folder.metrics_file, "a") as file:
        file.write('{"stage": "retr')  # a kill in the middle of a line
    folder.trim_metrics("train", 1, RECIPE)
    left = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    assert [(r["stage"], r["epoch"]) for r in left] == [("dense", 1), ("dense", 2), ("train", 1)]
    folder.trim_metrics("dense", 0, RECIPE)
    assert folder.metrics_file.read_bytes() == b""


@pytest.mark.parametrize(
    "line", ["[]", "3", '"train"', "null", "{}", '{"stage": [], "epoch": 1}', '{"stage": "train", "epoch": "1"}', "{"]
)
def test_metrics_with_other_json_are_refused_and_left_as_they_are(line: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append_metrics({"stage": "dense", "epoch": 1})
    folder.metrics_file.write_text(before := folder.metrics_file.read_text() + f"{line}\n")
    with pytest.raises(RunFolderError, match=r"metrics.jsonl is damaged \(.*\); do the stages again with `growl train"):
        folder.trim_metrics("dense", 1, RECIPE)
    assert folder.metrics_file.read_text() == before


def test_metrics_that_lack_an_epoch_or_have_a_changed_figure_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for epoch in (1, 2):
        folder.append_metrics({"stage": "dense", "epoch": epoch, "loss": 0.125})
    text = folder.metrics_file.read_text()
    folder.metrics_file.write_text(text.replace("0.125", "0.525", 1))
    with pytest.raises(RunFolderError, match="metrics.jsonl is damaged"):
        folder.trim_metrics("train", 0, RECIPE)
    folder.metrics_file.write_text(text[:-1])
    with pytest.raises(RunFolderError, match="must have 2 records up to epoch 0 of 'train', found 1"):
        folder.trim_metrics("train", 0, RECIPE)


def test_doing_a_stage_again_deletes_what_follows_and_then_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.checkpoints.mkdir()
    for name in ("checkpoints/train.pt", "tying.json", "checkpoints/retrain.pt", "model.safetensors", "result.json"):
        (tmp_path / name).touch()
    deleted: list[str] = []
    unlink = Path.unlink

    def noted(path: Path, missing_ok: bool = False) -> None:
        deleted.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", noted)
    folder.drop_from("retrain")
    assert deleted == [
        "result.json",
        "model.safetensors",
        "retrain.pt",
    ]  # a kill never leaves a file without its source
    assert (tmp_path / "tying.json").exists()
    assert (tmp_path / "checkpoints/train.pt").exists()
    assert not any(
        (tmp_path / name).exists() for name in ("checkpoints/retrain.pt", "model.safetensors", "result.json")
    )
