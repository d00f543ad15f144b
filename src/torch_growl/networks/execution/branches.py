"""The branches of a network's code that no run took, and that sizes, values or a changing state could take.

Code is followed instruction by instruction while the network runs: the user's own, not that of installed packages. A
branch on the configuration (a constant, an argument that is None, an attribute that no run changes) always goes the
same way and is not reported.
"""

from __future__ import annotations

import dis
import linecache
import os
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor

__all__ = ["Branches"]

_SIZES = {"shape", "size", "ndim", "dim", "numel", "nelement", "len"}
_VALUES = {"item", "tolist", "any", "all", "max", "min", "sum", "mean", "amax", "amin", "norm", "equal", "allclose",
           "isnan", "isinf", "isfinite", "argmax", "count_nonzero", "nonzero", "numpy"}  # fmt: skip
_CHANCE = {"random", "randint", "time", "perf_counter", "monotonic"}
_ALWAYS = _SIZES | _VALUES | _CHANCE | {"training"}
_OF_TYPES = {"isinstance", "hasattr", "callable", "type"}
_MESSAGES = {"logger", "logging", "warnings", "print", "warn"}
_NAMES = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")
_ELSEWHERE = tuple(
    {str(Path(sysconfig.get_paths()[key])) for key in ("purelib", "platlib", "stdlib")}
    | {str(folder) + os.sep for folder in (Path(torch.__file__).parent, Path(__file__).parents[2])}
)


@dataclass(frozen=True)
class _Test:
    """A conditional jump.

    Attributes:
        line: of its test.
        text: the columns of the test in that line; None where they are not known.
        targets: where it goes next, and where it jumps to.
        reads: the attributes and globals that its test reads.
        names: the local names that its test reads.
        loop: whether it is that of a ``for`` loop.
    """

    line: int
    text: tuple[int, int] | None
    targets: tuple[int, int]
    reads: frozenset[str]
    names: frozenset[str]
    loop: bool


@dataclass
class Branches:
    """The branches that were seen; the same object follows several runs."""

    _taken: dict[tuple[CodeType, int], set[int]] = field(default_factory=dict)
    _data: set[tuple[CodeType, int]] = field(default_factory=set)
    _codes: set[CodeType] = field(default_factory=set)
    _made: set[CodeType] = field(default_factory=set)  # functions that others make

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow the code that runs in the block, in this thread."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if not _followed(code.co_filename):
            return None
        self._codes.add(code)
        tests, made = _tests(code), _made(code)
        if not tests and not made:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        came_from: int | None = None

        def step(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal came_from
            if event == "opcode":
                if came_from is not None:
                    self._taken.setdefault((code, came_from), set()).add(frame.f_lasti)
                    came_from = None
                if frame.f_lasti in made:
                    self._made.add(made[frame.f_lasti])
                if frame.f_lasti in tests:
                    came_from = frame.f_lasti
                    if (code, came_from) not in self._taken and _reads_values(tests[came_from], frame):
                        self._data.add((code, came_from))
            return step

        return step

    def untaken(self) -> list[str]:
        """Describe the branches that no run took, by file, line and condition."""
        state = {name for code in self._codes for name in _stored(code)}
        found = {}
        for (code, offset), taken in self._taken.items():
            test = _tests(code)[offset]
            others = [target for target in test.targets if target not in taken]
            if len(taken) > 1 or not others or (test.loop and others[0] != test.targets[0]):
                continue
            matters = test.reads & (_ALWAYS | state) or (code, offset) in self._data
            if matters and not _without_effect(code, others[0]):
                found[code.co_filename, test.line] = _text(code, test)
        for code in self._made - self._codes:
            found[code.co_filename, code.co_firstlineno] = f"{code.co_name}, which was not called"
        for code in self._codes:
            for line in _lines_of_except(code):
                found[code.co_filename, line] = "except"
        return [f"{Path(file).name}:{line} ({found[file, line]})" for file, line in sorted(found)]


@lru_cache(maxsize=4096)
def _followed(file: str) -> bool:
    return not file.startswith((*_ELSEWHERE, "<frozen"))


@lru_cache(maxsize=4096)
def _tests(code: CodeType) -> dict[int, _Test]:
    """The conditional jumps of a function by their offsets."""
    found = {}
    derived: set[str] = set()  # locals that hold sizes or values of tensors
    instructions = list(dis.get_instructions(code))
    statement: list[dis.Instruction] = []
    for number, one in enumerate(instructions):
        if statement and statement[-1].opname.startswith("STORE") and not one.opname.startswith("STORE"):
            statement = []
        if one.opname.startswith("STORE_FAST") and _reads(statement, derived) & (_SIZES | _VALUES):
            derived.add(str(one.argval))
        loop = one.opname == "FOR_ITER"
        if (loop or ("JUMP" in one.opname and "_IF_" in one.opname)) and statement:
            if "NONE" not in one.opname:
                tested = _within(statement)
                at = statement[-1].positions
                text = (at.col_offset, at.end_col_offset) if at and at.lineno == at.end_lineno else (None, None)
                found[one.offset] = _Test(
                    (at and at.lineno) or code.co_firstlineno,
                    None if text[0] is None or text[1] is None else (text[0], text[1]),
                    (instructions[number + 1].offset, int(one.argval)),
                    _reads(tested, derived),
                    frozenset(name for part in tested for name in _locals(part)),
                    loop,
                )
        elif one.opname not in ("POP_TOP", "RETURN_VALUE"):
            statement.append(one)
            continue
        statement = statement[:-1] if "OR_POP" in one.opname else [] if one.opname == "POP_TOP" else statement
    return found


def _within(statement: list[dis.Instruction]) -> list[dis.Instruction]:
    """The instructions of the expression whose value the last one leaves."""
    whole = _range(statement[-1])
    return [one for one in statement if whole[0] <= _range(one)[0] and _range(one)[1] <= whole[1]]


def _range(one: dis.Instruction) -> tuple[tuple[int, int], tuple[int, int]]:
    at = one.positions
    if at is None:
        return (0, 0), (0, 0)
    return (at.lineno or 0, at.col_offset or 0), (at.end_lineno or 0, at.end_col_offset or 0)


def _locals(one: dis.Instruction) -> tuple[str, ...]:
    if not one.opname.startswith("LOAD_FAST"):
        return ()
    return tuple(map(str, one.argval)) if isinstance(one.argval, tuple) else (str(one.argval),)


def _reads(part: list[dis.Instruction], derived: set[str]) -> frozenset[str]:
    """The attributes and globals that instructions read; a local that holds a size counts as one."""
    found = {str(one.argval) for one in part if one.opname.startswith(_NAMES)}
    if part and all(one.opname in ("LOAD_CONST", "COMPARE_OP", "SWAP", "COPY") for one in part):
        found.add("len")  # a case of a match statement, whose subject lies on the stack
    if any(name in derived for one in part for name in _locals(one)):
        found.add("len")
    return frozenset(found)


@lru_cache(maxsize=4096)
def _made(code: CodeType) -> dict[int, CodeType]:
    """The functions and lambdas that a function makes, by the offsets of the instructions that load their code."""
    inner = ((one.offset, one.argval) for one in dis.get_instructions(code) if isinstance(one.argval, CodeType))
    return {offset: made for offset, made in inner if not made.co_name.startswith("<") or made.co_name == "<lambda>"}


@lru_cache(maxsize=4096)
def _lines_of_except(code: CodeType) -> list[int]:
    """The lines where a function catches errors."""
    found = [one.positions for one in dis.get_instructions(code) if one.opname == "CHECK_EXC_MATCH"]
    return [at.lineno for at in found if at is not None and at.lineno]


@lru_cache(maxsize=4096)
def _stored(code: CodeType) -> frozenset[str]:
    """The attributes and globals that a function changes."""
    found, before = set(), ""
    for one in dis.get_instructions(code):
        if one.opname in ("STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF"):
            found.add(str(one.argval))
        elif one.opname == "STORE_SUBSCR" and before:
            found.add(before)
        elif one.opname.startswith(_NAMES):
            before = str(one.argval)
    return frozenset(found)


def _reads_values(test: _Test, frame: FrameType) -> bool:
    """Tell whether a test reads a tensor, or an argument that is a number."""
    if test.reads & _OF_TYPES:
        return False
    code = frame.f_code
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for name in test.names:
        value = frame.f_locals.get(name)
        if isinstance(value, Tensor | torch.Size) or (name in arguments and type(value) in (int, float)):
            return True
        if isinstance(value, torch.nn.Module) and test.reads & value._buffers.keys():
            return True
    return False


@lru_cache(maxsize=4096)
def _without_effect(code: CodeType, start: int) -> bool:
    """Tell whether the code from an offset on only raises an error or writes a message."""
    for one in dis.get_instructions(code):
        if one.offset < start:
            continue
        if one.opname in ("RAISE_VARARGS", "LOAD_ASSERTION_ERROR") or one.argval in _MESSAGES:
            return True
        if one.opname.startswith(("RETURN", "STORE", "POP_TOP", "FOR_ITER")) or "JUMP" in one.opname:
            return False
    return False


def _text(code: CodeType, test: _Test) -> str:
    line = linecache.getline(code.co_filename, test.line)
    start, end = test.text or (0, None)
    return textwrap.shorten(line.encode()[start:end].decode(errors="replace"), 80) or "a condition"
