"""Studies: workers share one storage, a trial that was left is continued, hopeless ones are stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from tests.support.small_study import SPACE, make, study, trials
from torch_growl.application.recipes import load_recipe
from torch_growl.application.studies.space import Range
from torch_growl.application.studies.study import Study
from torch_growl.errors import GrowlError, InvalidValueError

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna._experimental.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:no zero rows and no bit-equal rows"),  # of a mutation that draws at random
]


class Stop(BaseException):
    """Ends a worker as a kill does: nothing is told to Optuna."""


class Killing:
    """A watcher that ends the worker at its n-th epoch."""

    def __init__(self, at: int) -> None:
        self.left = at

    def stage(self, name: str, epochs: int, epoch: int) -> None: ...

    def step(self, epoch: int, step: int, steps: int, loss: float) -> None: ...

    def compiling(self, busy: bool) -> None: ...

    def epoch(self, record: dict[str, Any], score: str) -> None:
        self.left -= 1
        if not self.left:
            raise Stop


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, dict[str, Any]]:
    worker = study(tmp_path_factory.mktemp("study") / "whole")
    return worker, worker.run()


@pytest.mark.slow
def test_a_study_has_run_folders_a_front_and_a_report(whole: tuple[Study, dict[str, Any]]) -> None:
    worker, outcome = whole
    assert [state for _, state, _, _ in trials(worker)] == ["COMPLETE"] * 3
    assert outcome["trials"] == {"complete": 3, "pruned": 0, "failed": 0}
    assert outcome["front"]
    strengths = {params["growl.strength"] for _, _, params, _ in trials(worker)}
    assert len(strengths) == 3
    for point in outcome["points"]:
        folder = worker.folder / point["run"]
        result = json.loads((folder / "result.json").read_text("utf-8"))
        assert point["compression"] == pytest.approx(result["compression"]["network"])
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
        assert point["score"] == records[-1]["validation_score"]
    assert (worker.folder / "study.html").is_file()


@pytest.mark.slow
def test_a_worker_that_is_stopped_at_any_moment_and_started_again_ends_the_same(
    whole: tuple[Study, dict[str, Any]], tmp_path: Path
) -> None:
    for at in (1, 4, 5, 6):  # epochs: 2 of the dense network, then 3 and 1 of each trial
        with pytest.raises(Stop):
            study(tmp_path, watcher=Killing(at)).run()
    worker = study(tmp_path)
    outcome = worker.run()
    assert trials(worker) == trials(whole[0])
    assert outcome == whole[1]


@pytest.mark.slow
def test_a_worker_in_another_folder_adds_to_the_study_and_leaves_a_running_trial_to_its_owner(
    whole: tuple[Study, dict[str, Any]], tmp_path: Path
) -> None:
    journal = tmp_path / "shared.journal"
    with pytest.raises(Stop):
        study(tmp_path / "one", journal, watcher=Killing(4)).run()  # in its first trial
    other = study(tmp_path / "two", journal, trials=2)
    outcome = other.run()
    assert [state for _, state, _, _ in trials(other)] == ["RUNNING", "COMPLETE"]
    assert outcome["points"][0]["run"] == "trial-0001"
    assert not (tmp_path / "two" / "trial-0000").exists()
    outcome = study(tmp_path / "one", journal, trials=2).run()
    assert [state for _, state, _, _ in trials(other)] == ["COMPLETE", "COMPLETE"]
    assert [point["run"] for point in outcome["points"]] == ["trial-0000", ""]
    assert trials(other)[0] == trials(whole[0])[0]


@pytest.mark.slow
def test_hopeless_trials_are_stopped_and_failed_ones_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_growl.application.studies import study as module

    asked: list[int] = []

    def hopeless(curve: list[list[float]], finished: list[Any], metric: Any) -> bool:
        asked.append(len(curve))
        return len(finished) == 1 and len(curve) == 2

    monkeypatch.setattr(module, "is_hopeless", hopeless)
    worker = study(tmp_path, trials=2)
    assert worker.run()["trials"] == {"complete": 1, "pruned": 1, "failed": 0}
    assert asked == [1, 2, 3, 1, 2]
    made = worker._study.get_trials(deepcopy=False)[1]
    assert made.user_attrs["why"].startswith("several finished trials")
    steep = study(
        tmp_path / "steep", space={"growl.strength": Range(1.0, 2.0), "train.lr": Range(1e18, 1e20)}, trials=1
    )
    with pytest.raises(InvalidValueError, match="no trial of the study is complete"):
        steep.run()
    (failed,) = steep._study.get_trials(deepcopy=False)
    assert failed.state.name == "FAIL"
    assert "lower the learning rate" in failed.user_attrs["why"]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    study(tmp_path)
    with pytest.raises(GrowlError, match="other settings"):
        study(tmp_path, space={**SPACE, "growl.strength": Range(1.0, 40.0)})
    with pytest.raises(GrowlError, match="no penalty.*--vary"):
        Study(tmp_path, str(tmp_path / "a"), lambda changes: load_recipe("digits", {"growl.strength": 0}))
    rates = {"merge.lr": Range(0.01, 0.1)}  # named, they may be varied without a penalty
    Study(tmp_path, str(tmp_path / "b"), lambda changes: load_recipe("digits", {"growl.strength": 0}), rates)
    for wrong in ({"trials": 0}, {"drop": -1.0}):
        with pytest.raises(GrowlError, match="--trials|--drop"):
            study(tmp_path, **wrong)
    assert make({}).name == "digits"
