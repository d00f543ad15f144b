"""Mutations: each one-line change of the package makes the test that is named with it fail.

A mutation is made in a copy of the package, never in the working tree. The machinery is in
``tests/support/mutations.py``, the mutations are in ``tests/house/mutations_of_….py``. To add one, add a record: the
test must fail with it and pass without it. ``make test`` tries every fourth mutation, since CI has 20 minutes;
``make mutations`` tries them all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.mutations_of_application import APPLICATION
from tests.house.mutations_of_compact_networks import COMPACT_NETWORKS
from tests.house.mutations_of_mathematics import MATHEMATICS
from tests.house.mutations_of_networks import NETWORKS
from tests.house.mutations_of_targets import TARGETS
from tests.support.mutations import PACKAGE, Bench, Mutation, copied, mutate

pytestmark = pytest.mark.slow

PARTS = {
    "mathematics": MATHEMATICS,
    "networks": NETWORKS,
    "targets": TARGETS,
    "compact networks": COMPACT_NETWORKS,
    "application": APPLICATION,
}
MUTATIONS = [mutation for mutations in PARTS.values() for mutation in mutations]
TRIED = MUTATIONS[:: 1 if os.environ.get("GROWL_MUTATIONS") == "all" else 4]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    bench = Bench()
    bench.run(PACKAGE, ["networks/penalty/test_growl.py::test_the_scale_free_step_is_its_formula"])  # compiles kernels
    yield bench
    bench.close()


@pytest.mark.parametrize("mutation", TRIED, ids=str)
def test_the_named_test_fails(mutation: Mutation, bench: Bench, tmp_path: Path) -> None:
    package = copied(tmp_path)
    mutate(package, mutation)
    outcome = bench.run(package, [mutation.test])
    assert outcome.package == package
    assert outcome.broken == [], outcome.output  # the changed package can be imported
    assert [test.split("[")[0] for test in outcome.failed] == [mutation.test.split("[")[0]], outcome.output
    assert "NumbaWarning" not in outcome.output  # the kernels were compiled, and gave a wrong result


@pytest.mark.parametrize("part", PARTS)
def test_every_named_test_passes_without_a_mutation(part: str, bench: Bench, tmp_path: Path) -> None:
    package = copied(tmp_path)
    tests = sorted({mutation.test for mutation in PARTS[part]})
    outcome = bench.run(package, tests, seconds=300)
    assert outcome.package == package
    assert (outcome.failed, outcome.broken) == ([], []), outcome.output
    ran = {test.split("[")[0] for test in outcome.passed}
    assert ran == {test.split("[")[0] for test in tests}


def test_mutations_are_many_and_no_two_have_one_name() -> None:
    assert len(MUTATIONS) >= 70
    assert max(Counter(map(str, MUTATIONS)).values()) == 1
