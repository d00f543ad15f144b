"""Whole files: a write replaces the old file at its end, or leaves everything as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from torch_growl.files import replacing, write_bytes, write_text, write_whole


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
