"""The sweep: complete runs, each trained from the weights of the previous one; resumed, and nothing overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from torch_growl.application.recipes import Recipe, load_recipe
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.stages import do_stages
from torch_growl.application.runs.sweep import Sweep, parse_strengths
from torch_growl.errors import GrowlError

STRENGTHS = (1.0, 8.0)


def recipe() -> Recipe:
    few = {"dense.epochs": 2, "train.epochs": 4, "retrain.epochs": 1, "measure.repeats": 3, "threads": 1}
    tying = {"method": "affinity", "preference": 0.5, "max_ratio": 1.0}
    plain = {"data.options": {}, "model.options": {}, "tying": tying, "retrain.form": "tied"}
    return load_recipe("digits", {**few, **plain})


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    sweep = Sweep(tmp_path_factory.mktemp("sweep") / "path", recipe(), STRENGTHS)
    sweep.run()
    return sweep


@pytest.mark.slow
def test_every_point_is_a_whole_run_and_the_path_is_warm(swept: Sweep) -> None:
    points = json.loads(swept.result_file.read_text(encoding="utf-8"))["points"]
    assert [point["strength"] for point in points] == list(STRENGTHS)
    assert points[1]["compression"]["network"] > points[0]["compression"]["network"] > 0.9
    assert swept.picture_file.read_bytes().startswith(b"\x89PNG")
    first, second = (Run(swept.folder(s)) for s in STRENGTHS)
    for run in (first, second):
        assert {"model.safetensors", "result.json", "report.html"} <= {p.name for p in run.folder.path.iterdir()}
        assert "the runs of the sweep" in run.folder.report_file.read_text(encoding="utf-8")
    given = second.folder.given_weights(second.recipe)
    assert all(torch.equal(given[key], value) for key, value in first.trained("train").state_dict().items())
    dense = (run.trained("dense").state_dict() for run in (first, second))
    assert all(torch.equal(a, b) for a, b in zip(*(state.values() for state in dense), strict=True))
    stages = [json.loads(line)["stage"] for line in second.folder.metrics_file.read_text("utf-8").splitlines()]
    assert stages == ["dense"] * 2 + ["train"] * 4 + ["retrain"]


def test_the_strengths_of_a_sweep_are_in_place_of_a_target(tmp_path: Path) -> None:
    aimed = load_recipe("digits", {"target": {"macs": 0.5}})
    found = Sweep(tmp_path, aimed, STRENGTHS).recipe_at(8.0)
    assert found.growl is not None
    assert (found.target, found.growl.strength) == (None, 8.0)


@pytest.mark.slow
def test_resuming_does_nothing_twice_and_without_it_the_folder_is_left_alone(swept: Sweep) -> None:
    made = {path: path.stat().st_mtime_ns for path in swept.path.rglob("model.safetensors")}
    with pytest.raises(GrowlError, match="in use"):
        Sweep(swept.path, recipe(), STRENGTHS).run()
    with pytest.raises(GrowlError, match="same strengths"):
        Sweep(swept.path, recipe(), (1.0, 9.0)).run(resume=True)
    with pytest.raises(GrowlError, match="seed"):
        Sweep(swept.path, recipe().model_copy(update={"seed": 5}), STRENGTHS).run(resume=True)
    Sweep(swept.path, recipe(), STRENGTHS).run(resume=True)
    assert {path: path.stat().st_mtime_ns for path in swept.path.rglob("model.safetensors")} == made


@pytest.mark.parametrize("strengths", [(1.0,), (2.0, 1.0), (0.0, 1.0), (1.0, float("nan"))])
def test_strengths_that_do_not_rise_are_refused(tmp_path: Path, strengths: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="rising"):
        Sweep(tmp_path / "path", recipe(), strengths)
    assert not (tmp_path / "path").exists()


def test_a_recipe_without_a_penalty_and_strengths_that_are_no_numbers(tmp_path: Path) -> None:
    with pytest.raises(GrowlError, match="no penalty"):
        Sweep(tmp_path / "path", load_recipe("digits", {"growl.strength": 0}), STRENGTHS)
    with pytest.raises(GrowlError, match="numbers"):
        parse_strengths("1,two")


def test_training_from_given_weights_needs_them(tmp_path: Path) -> None:
    from torch_growl.application.runs.run_folder import RunFolder

    chosen = load_recipe("digits", {"train.start": "given", "dense.epochs": 0, "threads": 1})
    folder = RunFolder(tmp_path / "run")
    folder.create(chosen)
    with pytest.raises(GrowlError, match="no weights to start from"):
        do_stages(Run(folder))
