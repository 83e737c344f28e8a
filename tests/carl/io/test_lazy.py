"""A transposed array in a file behaves like NumPy's, block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carl.io.lazy import TransposedArray, bands_last, full_key

SHAPE = (4, 5, 6)
ARRAY = np.arange(120).reshape(SHAPE)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An HDF5 dataset, which understands forward slices only."""
    with h5py.File(tmp_path_factory.mktemp("lazy") / "a.h5", "w") as file:
        yield file.create_dataset("x", data=ARRAY, chunks=(2, 2, 2))


def keys(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Basic indices of every kind."""
    parts = [st.slices(length) | st.integers(-length, length - 1) for length in shape]
    whole = st.tuples(*parts)
    begun = whole.flatmap(lambda key: st.integers(0, 3).map(lambda n: key[:n]))
    dotted = whole.map(lambda key: (..., key[2])) | whole.map(lambda key: (key[0], ..., key[2]))
    return whole | begun | dotted | whole.map(lambda key: key[0]) | st.just(...)


@settings(deadline=None)
@given(data=st.data())
def test_like_numpy(dataset: Any, data: st.DataObject) -> None:
    axes = data.draw(st.permutations(range(3)).map(tuple))
    lazy, expected = TransposedArray(dataset, axes, Path("a.h5"), "HDF5"), ARRAY.transpose(axes)
    assert (lazy.shape, lazy.ndim, lazy.dtype) == (expected.shape, 3, expected.dtype)
    assert np.array_equal(np.asarray(lazy), expected)
    key = data.draw(keys(expected.shape))
    assert np.array_equal(lazy[key], expected[key])
    axis = data.draw(st.integers(0, 2))
    moved = np.moveaxis(expected, axis, -1)
    assert np.array_equal(np.asarray(bands_last(lazy, axis)), moved)
    assert np.array_equal(bands_last(expected, axis), moved)


@pytest.mark.parametrize("key", [(1, 2, 3, 4), 4, -5, (0, 0, 6), (..., ...), "a", (0, 1.5)])
def test_impossible_indices(key: Any) -> None:
    with pytest.raises(IndexError):
        full_key(key, SHAPE)
