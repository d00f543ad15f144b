"""Whole files: a write replaces the old file at its end, or leaves everything as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from torch_growl.errors import RunFolderError
from torch_growl.files import is_temporary, locked, replacing, write_bytes, write_text, write_whole


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that exists already, alone in its folder."""
    file = tmp_path / "result.json"
    file.write_text("old")
    return file


def assert_untouched(path: Path) -> None:
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_text_and_bytes_replace_the_old_file(path: Path) -> None:
    write_text(path, "λ ≥ 0\n")
    assert path.read_bytes() == "λ ≥ 0\n".encode()
    write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


def test_a_new_file_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "new.txt", "x")
    assert (tmp_path / "new.txt").read_text() == "x"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_old_file_stands_until_the_block_ends(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".json"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_no_temporary_file(path: Path, error: type[BaseException]) -> None:
    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise error

    with pytest.raises(error):
        write_whole(path, half)
    assert_untouched(path)


def test_a_failed_rename_leaves_the_old_file_and_no_temporary_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: object) -> None:
        raise PermissionError("in use")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError, match="in use"):
        write_text(path, "new")
    assert_untouched(path)


def test_a_writer_that_writes_nothing_is_an_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(path, lambda temporary: None)
    assert_untouched(path)


def test_the_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "nowhere" / "x.txt", "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["result.json", "model", "a.b.pt", ".hidden"])
def test_a_temporary_name_is_known_and_the_name_of_a_file_is_not(name: str, tmp_path: Path) -> None:
    write_whole(tmp_path / name, lambda temporary: (temporary.touch(), names.append(temporary.name)))
    assert is_temporary(names.pop())
    assert not is_temporary(name)


names: list[str] = []


def test_a_lock_admits_one_and_deletes_the_temporary_files_of_killed_processes(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "other").mkdir()
    for name in (".a.1.tmp.json", "inner/.b.23.tmp", "other/.c.4.tmp.pt", "mine.json", ".mine.tmp"):
        (tmp_path / name).touch()
    with locked(tmp_path, "inner", "absent"):
        left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
        assert left == {".lock", "mine.json", ".mine.tmp", "other/.c.4.tmp.pt"}
        (tmp_path / ".a.1.tmp.json").touch()
        with pytest.raises(RunFolderError, match="in use by another process"), locked(tmp_path):
            pass
        assert (tmp_path / ".a.1.tmp.json").exists()  # of the process that holds the lock
    with locked(tmp_path):
        pass


def test_an_error_of_the_system_names_the_file(path: Path) -> None:
    def full(temporary: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        write_whole(path, full)
    assert_untouched(path)
