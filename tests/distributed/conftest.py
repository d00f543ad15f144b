"""The outcomes of the tests that run on several processes."""

from __future__ import annotations

import pytest

from tests.support.processes import outcomes_of


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    return outcomes_of(request.session.items)
