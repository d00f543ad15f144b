"""Damaged compact files: every change of a byte is noticed, and nothing is run or changed."""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path

import pytest

from tests.support.compact_battery import vgg
from tests.support.compact_files import (
    good_file,
    refused,
    resealed,
    split,
    tensor,
    write_changed,
)
from torch_growl.errors import FileFormatError
from torch_growl.networks.compaction.structure import structure_of
from torch_growl.networks.storage.compact_file import load


@pytest.mark.slow
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    for length in [*range(64), *range(64, len(good_file()), 97), len(good_file()) - 1]:
        refused(good_file()[:length], tmp_path / "f", "not a safetensors file, or a damaged one")


@pytest.mark.slow
def test_every_changed_bit_is_noticed(tmp_path: Path) -> None:
    chance = random.Random(0)
    for number in range(300):
        data = bytearray((good_file(), good_file("int8"))[number % 2])
        header = 8 + struct.unpack("<Q", data[:8])[0]
        place = chance.randrange(header if number % 3 else len(data))
        data[place] ^= 1 << chance.randrange(8)
        refused(bytes(data), tmp_path / "f")


@pytest.mark.slow
def test_changed_bytes_with_a_right_checksum_are_loaded_or_refused(tmp_path: Path) -> None:
    """The file loads to some network, or is refused: anything else is a defect."""
    chance, loaded = random.Random(0), 0
    for number in range(300):
        data = bytearray((good_file(), good_file("int8"))[number % 2])
        header = 8 + struct.unpack("<Q", data[:8])[0]
        for _ in range(chance.choice([1, 1, 2, 8])):
            place = chance.randrange(8, header if number % 3 else len(data))
            data[place] = chance.choice([chance.randrange(256), data[place] ^ (1 << chance.randrange(8)), ord("9")])
        (tmp_path / "f").write_bytes(resealed(bytes(data)))
        try:
            load(tmp_path / "f", vgg())
            loaded += 1
        except FileFormatError:
            pass
    assert 10 < loaded < 250  # some changes only change values


@pytest.mark.slow
def test_every_bit_of_the_packed_indices_is_read(tmp_path: Path) -> None:
    """A flipped bit gives another structure that fits, or is refused; it is never passed over."""
    (tmp_path / "f").write_bytes(good_file())
    expected = structure_of(load(tmp_path / "f", vgg()))
    _, tensors = split(good_file())
    same = fitting = 0
    for name in [name for name in tensors if name.startswith("growl.")]:
        for bit in range(8 * len(tensors[name])):
            value = tensors[name].clone()
            value[bit // 8] ^= 1 << bit % 8
            write_changed(good_file(), tmp_path / "f", tensor(name, value))
            with contextlib.suppress(FileFormatError):
                same += structure_of(load(tmp_path / "f", vgg())) == expected
                fitting += 1
    assert fitting > 20
    assert same <= 1  # the set {0, 2} of three in another of its codings


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    for data in (
        b"",
        b"{}",
        b"\x80\x04N.",
        random.Random(0).randbytes(999),
        b"PK\x03\x04" + b"\0" * 99,
        struct.pack("<Q", 2**63) + b"{}",
    ):
        (tmp_path / "f").write_bytes(data)
        with pytest.raises(FileFormatError, match="not a safetensors file"):
            load(tmp_path / "f", vgg())
    with pytest.raises(FileFormatError, match="no such file"):
        load(tmp_path, vgg())


def test_the_checksum_is_read_strictly(tmp_path: Path) -> None:
    value = split(good_file())[0]["crc32"]
    field = f'"crc32":"{value}"'.encode()
    for wrong in (value[:-1] + "g", "", "0" * 9, value.replace(value[0], "+")):
        data = good_file().replace(field, f'"crc32":"{wrong}"'.encode())
        header = struct.pack("<Q", struct.unpack("<Q", good_file()[:8])[0] + len(wrong) - 8)
        refused(header + data[8:], tmp_path / "f", "no checksum 'crc32' of eight hexadecimal digits")
    spaced = good_file().replace(field, f'"crc32": "{value}"'.encode())
    header = struct.pack("<Q", struct.unpack("<Q", good_file()[:8])[0] + 1)
    refused(header + spaced[8:], tmp_path / "f", "must hold 'crc32' once, without blanks")
    other = f"{int(value, 16) ^ 1:08x}"
    message = f"damaged: its checksum is {value}, the file says '{other}'"
    refused(good_file().replace(field, f'"crc32":"{other}"'.encode()), tmp_path / "f", message)
