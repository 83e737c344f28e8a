from __future__ import annotations

import pytest

from carl.model import CARL


@pytest.fixture(scope="session")
def tiny_model() -> CARL:
    return CARL().eval()
