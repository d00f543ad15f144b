"""Kills at system calls: a few of each case, seeded; ``python -m benchmarks.reliability.kills`` does all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.reliability.cases import CASES, Case, Subject
from benchmarks.reliability.folders import contents, differences
from benchmarks.reliability.killing import Killer, compiler

pytestmark = [pytest.mark.slow, pytest.mark.skipif(compiler() is None, reason="needs a C compiler")]


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    with Killer() as found:
        yield found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_killed_at_a_call_that_changes_the_folder_ends_the_same_when_resumed(
    case: Case, killer: Killer, tmp_path: Path
) -> None:
    subject = Subject(case, killer, tmp_path)
    assert {"open", "write", "rename"} < set(subject.calls)
    # A kill in the first moments, or between the first deletions. A run and a sweep begin in the same way.
    first = [(1, False), (2, False)] if case.again or case.name == "run" else [(2, False)]
    for at, half in [*first, *subject.kills(1 if case.again else 2)]:
        assert subject.kill(at, half)["differs"] == [], (at, half)


def test_calls_are_counted_and_a_difference_is_seen(killer: Killer, tmp_path: Path) -> None:
    """The first calls of a run are those that its code makes, and a run of another seed is not equal."""
    subject = Subject(CASES[0], killer, tmp_path)
    assert subject.calls[:4] == ("mkdir", "open", "mkdir", "open")  # the folder, its lock, checkpoints, the recipe
    assert subject.calls.count("rename") > 10
    assert subject.calls.count("append") == 5  # an epoch each
    other = tmp_path / "other"
    arguments = [*CASES[0].arguments(other), "--seed", "5"]
    assert killer.run(arguments, other, at=12).status is None
    assert not (other / "checkpoints" / "dense.pt").exists()
    assert killer.run(arguments, other).status == 0
    found = differences(subject.expected, contents(other))
    assert {"checkpoints/dense.pt", "metrics.jsonl", "recipe.yaml", "tying.json"} < set(found)
