"""Optuna's storages: a journal that a killed process left in the middle of a record, a database, what is refused."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from torch_growl.application.studies.storage import open_storage, waiting_lock
from torch_growl.errors import InvalidValueError

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore::optuna._experimental.ExperimentalWarning")


def numbers(place: str) -> list[int]:
    study = optuna.create_study(study_name="s", storage=open_storage(place), load_if_exists=True)
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING))
    return [trial.number for trial in study.get_trials()]


def test_a_record_that_was_not_written_whole_is_cut_off(tmp_path: Path) -> None:
    journal = tmp_path / "new" / "study.journal"
    assert numbers(str(journal)) == [0]
    whole = journal.read_bytes()
    with open(journal, "ab") as file:
        file.write(whole.splitlines()[-1][:20])
    assert numbers(str(journal)) == [0, 1]
    assert numbers(str(journal)) == [0, 1, 2]
    assert journal.read_bytes().startswith(whole)


def test_a_process_that_was_killed_holds_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with open(path, "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
    with waiting_lock(path):
        pass


@pytest.mark.slow
def test_a_database_keeps_a_study(tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/study.db"
    assert [numbers(place), numbers(place)] == [[0], [0, 1]]


def test_workers_that_make_a_database_at_once_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import IntegrityError

    from torch_growl.application.studies import storage

    tries = []

    def open_(place: str) -> str:
        tries.append(place)
        if len(tries) < 3:
            raise IntegrityError("", {}, Exception("UNIQUE constraint failed: alembic_version.version_num"))
        return "opened"

    monkeypatch.setattr(storage, "_PAUSE", 0)
    monkeypatch.setattr(optuna.storages, "RDBStorage", open_)
    assert open_storage("sqlite:///x") == "opened"
    tries[:] = []
    monkeypatch.setattr(storage, "_ATTEMPTS", 2)
    with pytest.raises(InvalidValueError, match="cannot be opened"):
        open_storage("sqlite:///x")


def test_a_file_of_another_kind_and_an_unknown_database_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("no journal\nat all", encoding="utf-8")
    for place in (str(other), "nothing://here"):
        with pytest.raises(InvalidValueError, match="cannot be opened"):
            open_storage(place)
    assert other.read_text("utf-8") == "no journal\nat all"
