"""Compilation of kernels: the options that results depend on, and when a cached kernel is compiled again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from torch_growl.mathematics.compiled import compilation
from torch_growl.mathematics.compiled.compilation import code_stamp

INNER = '''"""A kernel that another file calls."""

from torch_growl.mathematics.compiled.compilation import jit


@jit
def triple(x):
    """Multiply by three."""
    return 3 * x
'''
OUTER = """from pathlib import Path

from torch_growl.mathematics.compiled import compilation

compilation._RING = Path(__file__).parent
from inner import triple


@compilation.jit
def triple_plus_one(x):
    return triple(x) + 1


print(triple_plus_one(2.0), sum(triple_plus_one.stats.cache_hits.values()))
"""


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """A folder with two kernels, one of which calls the other from another file."""
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "inner.py").write_text(INNER)
    (folder / "outer.py").write_text(OUTER)
    return folder


def run(folder: Path) -> tuple[float, bool]:
    """Run the outer kernel in a new process: its result, and whether it came from the cache."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(folder.parent / "cache")}
    done = subprocess.run([sys.executable, "outer.py"], cwd=folder, env=env, check=True, capture_output=True, text=True)
    result, hits = done.stdout.split()
    return float(result), int(hits) > 0


@pytest.mark.slow
def test_a_kernel_is_compiled_again_when_one_it_calls_changed_in_another_file(kernels: Path) -> None:
    assert run(kernels) == (7.0, False)
    assert run(kernels) == (7.0, True)
    (kernels / "inner.py").write_text(INNER.replace("3 * x", "5 * x"))
    assert run(kernels) == (11.0, False)
    (kernels / "inner.py").write_text(INNER.replace("3 * x", "5 * x").replace("by three", "by five"))
    assert run(kernels) == (11.0, True)


NO_CODE = {
    "a docstring of a function": ("Multiply by three.", "Multiply by three. The result is new."),
    "a docstring of a module": ("A kernel that another file calls.", "A kernel."),
    "no docstring at all": ('    """Multiply by three."""\n', ""),
    "a comment": ("return 3 * x", "return 3 * x  # thrice"),
    "an empty line": ("\n\n@jit", "\n\n\n@jit"),
}
CODE = {
    "a constant": ("3 * x", "4 * x"),
    "an operator": ("3 * x", "3 + x"),
    "a name": ("def triple", "def thrice"),
    "a decorator": ("@jit\n", "@jit_summing\n"),
    "a docstring made a result": (
        '    """Multiply by three."""\n    return 3 * x',
        '    return """Multiply by three."""',
    ),
}


def stamp(folder: Path) -> str:
    code_stamp.cache_clear()
    return code_stamp(folder)


@pytest.mark.parametrize("case", NO_CODE)
def test_words_are_no_part_of_the_stamp(kernels: Path, case: str) -> None:
    before = stamp(kernels)
    changed = INNER.replace(*NO_CODE[case])
    assert changed != INNER
    (kernels / "inner.py").write_text(changed)
    assert stamp(kernels) == before


@pytest.mark.parametrize("case", CODE)
def test_code_is_part_of_the_stamp(kernels: Path, case: str) -> None:
    before = stamp(kernels)
    changed = INNER.replace(*CODE[case])
    assert changed != INNER
    (kernels / "inner.py").write_text(changed)
    assert stamp(kernels) != before


def test_new_and_renamed_files_are_part_of_the_stamp(kernels: Path) -> None:
    stamps = [stamp(kernels)]
    (kernels / "room").mkdir()
    (kernels / "room" / "third.py").write_text("")
    stamps.append(stamp(kernels))
    (kernels / "room" / "third.py").rename(kernels / "third.py")
    stamps.append(stamp(kernels))
    assert len(set(stamps)) == 3


def test_the_stamp_covers_the_ring() -> None:
    assert compilation._RING.name == "mathematics"
    assert (compilation._RING / "owl" / "prox_kernel.py").is_file()


def test_it_works_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    kept, asked = numba.njit, []

    def njit(*args: object, cache: bool = False, **options: object) -> object:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return kept(*args, **options)

    monkeypatch.setattr(compilation, "njit", njit)
    double = compilation.jit(lambda x: 2 * x)
    assert asked == [True, False]
    assert double(1.5) == 3.0


def test_only_the_summing_kernels_may_reorder_sums() -> None:
    def add(x: float) -> float:
        return x + 1.0

    for make, reorders in ((compilation.jit, False), (compilation.jit_summing, True)):
        options = make(add).targetoptions  # type: ignore[attr-defined]
        assert options["nogil"] is True
        assert options["error_model"] == "numpy"
        assert options.get("fastmath", set()) == ({"reassoc", "contract"} if reorders else set())
