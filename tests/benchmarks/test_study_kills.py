"""A study whose worker is killed ends as one that was not; the benchmark ``study_kills`` kills more often."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.harness import results
from benchmarks.reliability.killing import Killer, compiler
from benchmarks.reliability.study_kills import compare


@pytest.mark.slow
@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_a_study_whose_worker_is_killed_loses_no_trial_and_has_the_same_best(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    with Killer() as killer:
        found = compare(killer, tmp_path, trials=2, kills=3, seed=1)
    assert found["equal"]
    assert found["trials"] == [2, 2]
    assert found["best"][0] == found["best"][1]


def test_the_kept_figures_are_of_ten_kills() -> None:
    kept = results.load("study_kills")
    assert (len(kept["killed_at"]), kept["equal"]) == (10, True)
    assert kept["trials"][0] == kept["trials"][1]
    assert kept["best"][0] == kept["best"][1] is not None
