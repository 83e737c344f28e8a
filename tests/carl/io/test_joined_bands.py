"""Bands of several arrays as one cube."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as hnp

from carl.io.joined_bands import JoinedBands

FIRST = np.arange(4 * 5 * 3).reshape(4, 5, 3).astype(np.uint8)
SECOND = 100 + np.arange(4 * 5 * 2).reshape(4, 5, 2).astype(np.uint16)
BANDS = [(0, 2), (1, 1), (0, 0), (1, 0)]
EXPECTED = np.stack([(FIRST, SECOND)[source][..., band] for source, band in BANDS], axis=-1)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(key=hnp.basic_indices(EXPECTED.shape, allow_newaxis=False))
def test_any_index_gives_what_numpy_gives(key: object):
    joined = JoinedBands([FIRST, SECOND], BANDS)
    assert joined.dtype == np.uint16
    assert np.array_equal(joined[key], EXPECTED[key])


def test_sources_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match="are no cube"):
        JoinedBands([FIRST, SECOND[:2]], BANDS)
