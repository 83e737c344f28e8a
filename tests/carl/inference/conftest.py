from __future__ import annotations

import pytest

from carl.inference import planning


@pytest.fixture(autouse=True)
def no_remembered_plans() -> None:
    """Forget the plans of other tests: they were made with other settings."""
    planning._plans.discard(lambda key: True)
