"""Mutations of files: bits, bytes, pieces, numbers and values of JSON, drawn from a seeded generator."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

__all__ = ["mutated", "mutated_json"]

_NUMBERS = ("0", "-1", "1", "7", "255", "-8", "65536", "2147483648", "9223372036854775808", "-9223372036854775809")
_LONG = ("1" * 30, "1" * 5000, "1e999", "NaN", "1.5", "true", "null", '""', "[]", "{}")
_PIECES = (
    *("[", "]", "{", "}", '"', ",", ":", "\n", " ", "\\", "\0", "[" * 2000, "{" * 50, '{"a":' * 3000, "\\ud800"),
    *(
        "&a ",
        "*a",
        "- *a\n",
        "&a [*a]",
        "!!bool foo",
        '!!int ""',
        '"\\UFFFFFFFF"',
        "!!set {a}",
        "<<: ",
        "# ",
        "a" * 300,
    ),
    *("\x80\x02", "R", "b", ".", "(", "t", "}", "u", "cos\nsystem\n", "\x8f" * 50, "K\x01", "\xff\xfe", "é"),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1.5, float("nan"), float("inf"), "", "a", "x" * 300),
    *([], {}, [[]], {"a": 1}, [0] * 100, "\ud800", "../../x", "input", "train", "0"),
)


def mutated(data: bytes, other: bytes, chance: Random) -> bytes:
    """Return a file with one to eight mutations.

    Args:
        data: the file; not empty.
        other: another one of its kind, from which pieces are taken.
        chance: draws them.
    """
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        place = chance.randrange(len(changed) + 1)
        end = min(len(changed), place + chance.choice((1, 2, 4, 8, 64, 1000)))
        match chance.randrange(9):
            case 0 if place < len(changed):
                changed[place] ^= 1 << chance.randrange(8)
            case 1 if place < len(changed):
                changed[place] = chance.choice((0, 255, 128, 127, chance.randrange(256)))
            case 2:
                del changed[place:end]
            case 3:
                changed[place:place] = changed[place:end] * chance.choice((1, 2, 50))
            case 4:
                changed[place:place] = chance.choice(_PIECES).encode("latin1")
            case 5:
                start = chance.randrange(len(other) + 1)
                changed[place:end] = other[start : start + chance.choice((1, 8, 64, 1000))]
            case 6:
                del changed[chance.randrange(len(changed) + 1) :]
            case _:
                numbers = list(re.finditer(rb"-?\d+", bytes(changed[place : place + 4000])))
                if numbers:
                    found = chance.choice(numbers[:50])
                    value = chance.choice((*_NUMBERS, *_LONG)).encode()
                    changed[place + found.start() : place + found.end()] = value
    return bytes(changed)


def mutated_json(text: str, chance: Random) -> str:
    """Return JSON text with one to four values of it replaced, deleted, doubled or moved."""
    data = json.loads(text)
    for _ in range(chance.choice((1, 1, 2, 4))):
        places = list(_places(data))
        if not places:
            break
        holder, key = chance.choice(places)
        match chance.randrange(5):
            case 0:
                del holder[key]
            case 1:
                other, name = chance.choice(places)
                value = json.dumps(other[name])  # a copy, and never the place itself
                holder[key] = json.loads(value)
            case 2 if isinstance(holder, list):
                holder.insert(key, holder[key])
            case 3 if isinstance(holder, dict):
                holder[chance.choice(("a", "", "x" * 300, *holder))] = holder[key]
            case _:
                holder[key] = json.loads(json.dumps(chance.choice(_VALUES)))
        data = json.loads(json.dumps(data))
    return json.dumps(data)


def _places(value: Any) -> Any:
    """Yield every place in a nested value: what holds it, and its key or index."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
