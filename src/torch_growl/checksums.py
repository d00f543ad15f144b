"""Checksums inside files, so that a changed bit is found when the file is read again.

A checksum is CRC-32 (zlib's) of the whole file, as eight lower-case hexadecimal digits, with zeros in place of these
digits. It stands in JSON in a field ``crc32``, in text in a last line ``# crc32: …``, in a safetensors file in the
header's metadata, and in a zip archive (``.pt``, ``.pt2``) in the comment at its end.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

from torch_growl.errors import FileFormatError

__all__ = [
    "UNSET",
    "check_archive",
    "check_text",
    "check_whole",
    "digits_of",
    "header_place",
    "parse_json",
    "read_front",
    "seal_archive",
    "sealed",
    "sealed_json",
    "sealed_text",
]

UNSET = "00000000"
_DIGITS = re.compile(rb"[0-9a-f]{8}")
_CHUNK = 2**20
_MOST_HEADER = 100_000_000  # safetensors' own limit
_HEADER, _JSON = b'"crc32":"', b'"crc32": "'
_LINE = b"# crc32: "
_COMMENT = b"torch-growl crc32:"
_END = struct.Struct("<4s4H2LH")  # a zip archive's last record, which ends with the length of the comment


def digits_of(*parts: bytes | memoryview) -> bytes:
    """Return the digits of the checksum of a file that is given in parts, with ``UNSET`` in place of these digits."""
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return f"{value:08x}".encode()


def sealed(data: bytes, place: int) -> bytes:
    """Return a file's bytes with the checksum's digits at ``place``, where ``UNSET`` stands."""
    return b"".join((data[:place], digits_of(data), memoryview(data)[place + len(UNSET) :]))


def check_whole(file: BinaryIO, place: int, where: str) -> None:
    """Compare the digits at ``place`` with the checksum of a file, from its first byte to its last.

    Raises:
        FileFormatError: they differ; the message begins with ``where``.
    """
    found = _crc32(file, place)
    file.seek(place)
    claimed = file.read(len(UNSET))
    if not _DIGITS.fullmatch(claimed) or claimed != found:
        said = claimed.decode("ascii", "replace")
        raise FileFormatError(f"{where}: damaged: its checksum is {found.decode()}, the file says {said!r}")


def _crc32(file: BinaryIO, place: int) -> bytes:
    """Return the digits of the checksum of a file, with zeros in place of those at ``place``."""
    file.seek(0)
    value, left = 0, place
    while left and (chunk := file.read(min(left, _CHUNK))):
        value, left = zlib.crc32(chunk, value), left - len(chunk)
    value = zlib.crc32(UNSET.encode(), value)
    file.seek(place + len(UNSET))
    while chunk := file.read(_CHUNK):
        value = zlib.crc32(chunk, value)
    return f"{value:08x}".encode()


def _place(data: bytes, marker: bytes) -> int | None:
    """Return the place after the only occurrence of ``marker``; None if it occurs nowhere or several times."""
    return data.index(marker) + len(marker) if data.count(marker) == 1 else None


# ── safetensors ─────────────────────────────────────────────────────────────────────────────────────────────────────


def header_place(front: bytes) -> int | None:
    """Return the place of the checksum's digits in the first bytes of a safetensors file, up to its header's end.

    None if the header does not hold ``"crc32":"`` once, without blanks.
    """
    return _place(front, _HEADER)


def read_front(file: BinaryIO, where: str) -> bytes:
    """Read a safetensors file up to its header's end.

    Raises:
        FileFormatError: the header's length is above 100 MB, which safetensors does not read either.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if length > _MOST_HEADER:
        raise FileFormatError(f"{where}: damaged: its header claims {length} bytes")
    return start + file.read(length)


# ── JSON and text ───────────────────────────────────────────────────────────────────────────────────────────────────


def sealed_json(data: dict[str, Any], *, indent: int | None = None) -> str:
    """Return an object as JSON text with its checksum in the last field."""
    text = json.dumps({**data, "crc32": UNSET}, indent=indent).encode()
    return sealed(text, text.rindex(_JSON) + len(_JSON)).decode()


def parse_json(text: str | bytes, where: str) -> Any:
    """Read JSON text, and check the checksum of an object that has one.

    Raises:
        FileFormatError: the text is not JSON or is damaged; the message begins with ``where``.
    """
    try:
        text = text if isinstance(text, str) else text.decode()
        found = json.loads(text)
    except (ValueError, RecursionError) as error:  # not JSON, a number of thousands of digits, or too deep
        raise FileFormatError(f"{where} is not JSON ({error})") from None
    if isinstance(found, dict) and "crc32" in found:
        data = text.encode("utf-8", "surrogatepass")
        place = _place(data, _JSON)
        if place is None:
            raise FileFormatError(f'{where}: damaged: it must hold "crc32" once, as text after one blank')
        check_whole(io.BytesIO(data), place, where)
    return found


def sealed_text(text: str) -> str:
    """Return a text that ends with a line break with its checksum in one more line, a comment."""
    data = text.encode() + _LINE + f"{UNSET}\n".encode()
    return sealed(data, data.rindex(_LINE) + len(_LINE)).decode()


def check_text(data: bytes, where: str) -> None:
    """Check the last line of a text, if it is a checksum.

    Raises:
        FileFormatError: the text has another checksum; the message begins with ``where``.
    """
    found = re.search(rb"crc32: (.{8})\n?\Z", data, re.DOTALL)
    if found is not None:
        try:
            check_whole(io.BytesIO(data), found.start(1), where)
        except FileFormatError as error:
            raise FileFormatError(f"{error}; if you changed it yourself, delete its last line") from None


# ── zip archives ────────────────────────────────────────────────────────────────────────────────────────────────────


def seal_archive(file: BinaryIO) -> None:
    """Write a checksum into the comment of a zip archive that has none; the file must be open to read and write.

    The checksums of a zip archive cover its members' contents, not its own headers, names and padding.
    """
    comment = _COMMENT + UNSET.encode()
    size = file.seek(0, io.SEEK_END)
    file.seek(size - 2)
    file.write(struct.pack("<H", len(comment)) + comment)
    place = size + len(_COMMENT)
    digits = _crc32(file, place)
    file.seek(place)
    file.write(digits)


def check_archive(file: BinaryIO, where: str, *, required: bool = False) -> None:
    """Check every byte of a zip archive that :func:`seal_archive` sealed, and the members of any other.

    Args:
        file: the archive, open to read.
        where: the beginning of messages.
        required: refuse an archive without a checksum of its own.

    Raises:
        FileFormatError: it is damaged or no zip archive, or has no checksum where one is required.
    """
    size = file.seek(0, io.SEEK_END)
    start = size - len(_COMMENT) - len(UNSET)
    file.seek(max(0, start - _END.size))
    end = file.read()
    if len(end) == size - max(0, start - _END.size) and end[_END.size : -len(UNSET)] == _COMMENT:
        check_whole(file, start + len(_COMMENT), where)
        return
    if required:
        raise FileFormatError(f"{where}: damaged: it does not end with the checksum that torch-growl writes")
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
    except Exception as error:  # a damaged archive can raise nearly anything
        raise FileFormatError(f"{where}: not a zip archive, or a damaged one ({error})") from None
    if bad is not None:
        raise FileFormatError(f"{where}: damaged: the checksum of its member {bad!r} differs")
