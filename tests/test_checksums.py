"""Checksums inside files: every changed bit of every kind of file is refused, or has changed no content."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save

from torch_growl.checksums import (
    UNSET,
    check_archive,
    check_text,
    check_whole,
    header_place,
    parse_json,
    read_front,
    seal_archive,
    sealed,
    sealed_json,
    sealed_text,
)
from torch_growl.errors import FileFormatError

OBJECT = {"stage": "train", "layers": {"a": [1, -1]}, "name": "ä"}
TENSORS = {"a": torch.arange(3.0), "b": torch.tensor([1, 2], dtype=torch.uint8)}


def json_file() -> bytes:
    return sealed_json(OBJECT).encode()


def open_json(data: bytes) -> Any:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise FileFormatError("not UTF-8") from None
    return {key: value for key, value in parse_json(text, "x").items() if key in OBJECT}


def text_file() -> bytes:
    return sealed_text("a: 1\nb: text\n").encode()


def open_text(data: bytes) -> Any:
    check_text(data, "x")
    return [line for line in data.split(b"\n") if line and not line.startswith(b"#")]


def archive() -> bytes:
    file = io.BytesIO()
    torch.save(TENSORS, file)
    seal_archive(file)
    return file.getvalue()


def open_archive(data: bytes) -> Any:
    check_archive(io.BytesIO(data), "x", required=True)
    return tensors(torch.load(io.BytesIO(data), weights_only=True))


def tensor_file() -> bytes:
    data = save(TENSORS, {"crc32": UNSET})
    place = header_place(data[: 8 + struct.unpack("<Q", data[:8])[0]])
    assert place is not None
    return sealed(data, place)


def open_tensor_file(data: bytes) -> Any:
    file = io.BytesIO(data)
    place = header_place(read_front(file, "x"))
    if place is not None:
        check_whole(file, place, "x")
    try:
        return tensors(tensors_of(data))
    except Exception as error:
        raise FileFormatError(str(error)) from None


def tensors(found: dict[str, torch.Tensor]) -> dict[str, list[float]]:
    return {name: value.tolist() for name, value in sorted(found.items())}


KINDS: dict[str, tuple[Callable[[], bytes], Callable[[bytes], Any]]] = {
    "JSON": (json_file, open_json),
    "text": (text_file, open_text),
    "zip archive": (archive, open_archive),
    "safetensors": (tensor_file, open_tensor_file),
}


def flipped(data: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_every_changed_bit_is_refused_or_changes_no_content(kind: str) -> None:
    write, read = KINDS[kind]
    data = write()
    expected, accepted, tried = read(data), 0, 0
    for changed in flipped(data):
        tried += 1
        try:
            found = read(changed)
        except FileFormatError:
            continue
        assert found == expected
        accepted += 1
    assert tried == 8 * len(data)
    assert accepted <= (0 if kind == "zip archive" else 8 * 16)  # only in the words before the checksum's digits


@pytest.mark.parametrize("kind", KINDS)
def test_the_checksum_is_crc_32_of_the_whole_file_with_zeros_in_its_place(kind: str) -> None:
    data = KINDS[kind][0]()
    for place in range(len(data) - 7):
        digits = data[place : place + 8]
        if f"{zlib.crc32(data[:place] + b'00000000' + data[place + 8 :]):08x}".encode() == digits:
            return
    pytest.fail("the file holds no such digits")


def test_an_archive_of_torch_is_read_as_before_and_by_its_members_checksums() -> None:
    file = io.BytesIO()
    torch.save(TENSORS, file)
    plain = file.getvalue()
    check_archive(io.BytesIO(plain), "x")
    with pytest.raises(FileFormatError, match="x: damaged: it does not end with the checksum"):
        check_archive(io.BytesIO(plain), "x", required=True)
    weights = TENSORS["a"].numpy().tobytes()
    damaged = plain.replace(weights, weights[::-1])
    with pytest.raises(FileFormatError, match=r"the checksum of its member 'archive/data/0' differs"):
        check_archive(io.BytesIO(damaged), "x")
    with pytest.raises(FileFormatError, match="not a zip archive"):
        check_archive(io.BytesIO(b"PK\x03\x04"), "x")
    assert zipfile.ZipFile(io.BytesIO(archive())).testzip() is None
    assert tensors(torch.load(io.BytesIO(archive()), weights_only=True)) == tensors(TENSORS)


def test_files_without_a_checksum_are_read() -> None:
    assert parse_json('{"a": 1}', "x") == {"a": 1}
    assert parse_json("[1]", "x") == [1]
    for text in (b"", b"a: 1\n", b"a: 1\n# a comment\n", b"a: 1\n# crc32: later\n"):
        check_text(text, "x")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "1" * 5000, '{"a": ' * 100_000, ""])
def test_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(FileFormatError, match="x is not JSON"):
        parse_json(text, "x")


@pytest.mark.parametrize(
    "field", ['"crc32": "00000000"', '"crc32":"00000000"', '"crc32": 0', '"crc32": "0", "crc32": "1"']
)
def test_a_wrong_checksum_and_one_in_another_form_are_refused(field: str) -> None:
    with pytest.raises(FileFormatError, match="x: damaged"):
        parse_json(f'{{"a": 1, {field}}}', "x")


def test_a_text_that_was_edited_says_what_to_do() -> None:
    with pytest.raises(FileFormatError, match="x: damaged: .*if you changed it yourself, delete its last line"):
        check_text(text_file().replace(b"text", b"words"), "x")
