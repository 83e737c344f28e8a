from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from carl.lazy_array import ArraySource, Block, LazyArray

SHAPE = (4, 5, 6)


class Recorded(LazyArray):
    """Records the blocks that are read of an array."""

    def __init__(self, values: NDArray[Any]) -> None:
        super().__init__(values.shape, values.dtype)
        self.values = values
        self.blocks: list[Block] = []

    def _read_block(self, block: Block) -> NDArray[Any]:
        self.blocks.append(block)
        return self.values[block]


def counted(shape: tuple[int, ...]) -> NDArray[np.int64]:
    return np.arange(np.prod(shape)).reshape(shape)


@settings(deadline=None)
@given(data=st.data())
def test_every_basic_index_gives_what_numpy_gives(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6))
    values = counted(shape)
    key = data.draw(hnp.basic_indices(shape, allow_newaxis=False))
    lazy = Recorded(values)
    found, expected = lazy[key], values[key]
    assert np.shape(found) == np.shape(expected)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)
    for block in lazy.blocks:
        for part, length in zip(block, shape, strict=True):
            assert 0 <= part.start < part.stop <= length
            assert part.step > 0


@settings(deadline=None)
@given(data=st.data())
def test_every_index_with_arrays_gives_what_numpy_gives(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=6))
    values = counted(shape)
    arrays = hnp.integer_array_indices(shape) | hnp.arrays(bool, shape)
    key: Any = data.draw(arrays)
    if data.draw(st.booleans()) and isinstance(key, tuple):
        basic = data.draw(hnp.basic_indices(shape[1:], allow_newaxis=False, allow_ellipsis=False))
        key = (key[0], *np.index_exp[basic])
    assert np.array_equal(Recorded(values)[key], values[key])


def test_indices_with_arrays_are_read_row_by_row() -> None:
    lazy = Recorded(counted(SHAPE))
    rows, columns = [3, 0, 0], [1, 4, 2]
    assert np.array_equal(lazy[rows, columns], counted(SHAPE)[rows, columns])
    everything = slice(0, 6, 1)
    assert lazy.blocks == [
        (slice(0, 1, 1), slice(2, 5, 1), everything),
        (slice(3, 4, 1), slice(1, 2, 1), everything),
    ]


@settings(deadline=None)
@given(data=st.data())
def test_transposed_arrays_are_indexed_as_in_numpy(data: st.DataObject) -> None:
    axes = data.draw(st.permutations(range(3)))
    key = data.draw(hnp.basic_indices(tuple(SHAPE[axis] for axis in axes), allow_newaxis=False))
    values, lazy = counted(SHAPE), Recorded(counted(SHAPE))
    assert np.array_equal(lazy.transpose(axes)[key], values.transpose(axes)[key])
    source, destination = data.draw(st.integers(-3, 2)), data.draw(st.integers(-3, 2))
    moved: Any = np.moveaxis(lazy, source, destination)  # type: ignore[call-overload]
    assert isinstance(moved, LazyArray)
    assert np.array_equal(moved[...], np.moveaxis(values, source, destination))


@settings(deadline=None)
@given(data=st.data())
def test_sections_are_indexed_as_in_numpy(data: st.DataObject) -> None:
    axes = data.draw(st.lists(st.integers(0, 2), unique=True, max_size=2))
    positions = {axis: data.draw(st.integers(0, SHAPE[axis] - 1)) for axis in axes}
    values = counted(SHAPE)
    section = Recorded(values).at(positions)
    expected = values[tuple(positions.get(axis, slice(None)) for axis in range(3))]
    key = data.draw(hnp.basic_indices(expected.shape, allow_newaxis=False))
    assert section.shape == expected.shape
    assert np.array_equal(section[key], expected[key])


def test_only_the_indexed_block_is_read() -> None:
    lazy = Recorded(counted(SHAPE))
    assert lazy[1, ::-2].shape == (3, 6)
    assert lazy.blocks == [(slice(1, 2, 1), slice(0, 5, 2), slice(0, 6, 1))]
    assert lazy[:, 2:2].shape == (4, 0, 6)
    assert len(lazy.blocks) == 1


def test_attributes_of_an_array() -> None:
    lazy = Recorded(counted(SHAPE).astype(np.float32))
    assert isinstance(lazy, ArraySource)
    assert (lazy.shape, lazy.ndim, lazy.size, len(lazy)) == (SHAPE, 3, 120, 4)
    assert lazy.dtype == np.float32
    assert np.array_equal(np.asarray(lazy), counted(SHAPE))
    assert np.asarray(lazy, np.int16).dtype == np.int16


@pytest.mark.parametrize(
    "key",
    [(1, 2, 3, 4), 4, -5, (0, 0, 6), (..., ...), "a", (0, 1.5), [4], [0.5], (0, [[6]])],
)
def test_an_impossible_index_is_refused(key: Any) -> None:
    with pytest.raises(IndexError):
        Recorded(counted(SHAPE))[key]
