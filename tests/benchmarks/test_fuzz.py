"""The fuzz: a short seeded run finds nothing, and it sees an exception, a hang, a crash and memory that are planted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from benchmarks import fuzz
from benchmarks.reliability import fuzzing
from benchmarks.reliability.fuzzing import changed_file, in_a_fork
from benchmarks.reliability.loaders import Loader, loaders
from torch_growl.errors import FileFormatError

INPUTS = 600


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Loader, ...]:
    return loaders(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.slow
def test_every_kind_loads_its_good_files(kinds: tuple[Loader, ...], tmp_path: Path) -> None:
    for kind in kinds:
        for good in kind.good:
            for data in (good, kind.sealed(good)):  # sealing a good file changes nothing that is read
                (tmp_path / "file").write_bytes(data)
                kind.load(tmp_path / "file")


@pytest.mark.slow
def test_changed_files_are_loaded_or_refused_in_our_words(kinds: tuple[Loader, ...]) -> None:
    found = in_a_fork(kinds, 1, 0, INPUTS)
    assert found["wrong"] == []
    assert sum(found["inputs"].values()) == INPUTS
    assert set(found["inputs"]) == {kind.name for kind in kinds}
    assert 20 < sum(found["loaded"].values()) < INPUTS // 2  # right checksums: some changes are only of values


@pytest.mark.slow
def test_an_input_depends_on_the_seed_and_its_number_alone(kinds: tuple[Loader, ...]) -> None:
    files = [changed_file(kinds, 3, number) for number in range(40)]
    assert [changed_file(kinds, 3, number) for number in reversed(range(40))] == files[::-1]
    assert [changed_file(kinds, 4, number) for number in range(40)] != files


def raises(path: Path) -> object:
    raise KeyError("planted")


def hangs(path: Path) -> object:
    return time.sleep(60)


def dies(path: Path) -> object:
    os.abort()


def fills(path: Path) -> object:
    return bytearray(os.urandom(1000) * 90_000)


def refuses(path: Path) -> object:
    raise FileFormatError("in our words")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "reason"),
    [(raises, "KeyError: 'planted'"), (hangs, "took more than 1 s"), (dies, "ended with status"), (fills, "bytes for")],
)
def test_what_is_planted_is_seen(load: object, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "SECONDS", 1 if load is hangs else 30)
    found = in_a_fork([Loader("planted", (b"abc",), load)], 0, 0, 1)  # type: ignore[arg-type]
    assert [reason in each["reason"] for each in found["wrong"]] == [True]


def test_a_refusal_and_a_load_are_right() -> None:
    good = (b"abc",)
    found = in_a_fork([Loader("refused", good, refuses), Loader("loaded", good, lambda path: None)], 0, 0, 20)
    assert found["wrong"] == []
    assert found["inputs"]["loaded"] == found["loaded"]["loaded"] > 0
    assert found["loaded"]["refused"] == 0 < found["inputs"]["refused"]


@pytest.mark.slow
def test_one_input_is_shown_again(capsys: pytest.CaptureFixture[str]) -> None:
    fuzz.main(["--only", "7"])
    assert "'wrong': []" in capsys.readouterr().out
