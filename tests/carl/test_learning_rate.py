from __future__ import annotations

import pytest

from carl.learning_rate import warmup_cosine


def test_rate_rises_linearly_and_falls_along_half_a_cosine() -> None:
    rates = [warmup_cosine(fraction, 0.2, 0.1) for fraction in (0.1, 0.2, 0.6, 1.0, 1.5)]
    assert rates == pytest.approx([0.5, 1.0, 0.55, 0.1, 0.1])
    assert warmup_cosine(1.0, 1.0) == 0  # a warm-up that lasts until the end
