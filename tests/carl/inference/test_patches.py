from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from carl.cube import SpectralCube
from carl.inference.patches import PatchReader

SIDES = st.integers(1, 21)


@given(height=SIDES, width=SIDES, patch_size=st.sampled_from([2, 4, 8]), rows=st.integers(1, 3))
def test_blocks_cover_the_padded_cube(height: int, width: int, patch_size: int, rows: int) -> None:
    random = np.random.default_rng(height + 31 * width)
    data = random.normal(size=(height, width, 3)).astype(np.float32)
    reader = PatchReader(SpectralCube(data, np.array([400, 500, 600.0])), patch_size, 0.5, 2.0)
    h, w = reader.grid
    padded = np.pad(
        (data - 0.5) / 2,
        ((0, h * patch_size - height), (0, w * patch_size - width), (0, 0)),
        mode="reflect",
    )
    expected = padded.reshape(h, patch_size, w, patch_size, 3).transpose(4, 1, 0, 2, 3)
    row_bytes = 4 * 3 * patch_size**2 * w
    blocks = reader.blocks(rows * row_bytes + 1)
    assert [(block.rows.start, block.columns) for block in blocks] == [
        (top, slice(0, w)) for top in range(0, h, rows)
    ]
    strip = np.concatenate([reader.strip(*block[:2]) for block in blocks], axis=2)
    np.testing.assert_allclose(strip, expected.reshape(3, patch_size, -1), atol=1e-6)


@given(h=st.integers(1, 9), w=st.integers(1, 9), patches=st.integers(0, 20))
def test_blocks_of_a_wide_cube_are_small_and_cover_it(h: int, w: int, patches: int) -> None:
    reader = PatchReader(SpectralCube(np.zeros((2 * h, 2 * w, 3)), np.arange(400.0, 403)), 2, 0, 1)
    covered = np.zeros((h, w), int)
    for block in reader.blocks(patches * 4 * 3 * 4):
        assert block.size <= max(1, patches)
        covered[block.rows, block.columns] += 1
    assert (covered == 1).all()


def test_strip_reads_a_part_of_the_grid() -> None:
    data = np.random.default_rng(0).normal(size=(16, 24, 2)).astype(np.float32)
    reader = PatchReader(SpectralCube(data, np.array([1.0, 2])), 4, 0.0, 1.0)
    part = reader.strip(slice(1, 3), slice(2, 3))
    np.testing.assert_array_equal(part[:, :, :4], data[4:8, 8:12].transpose(2, 0, 1))
    np.testing.assert_array_equal(part[:, :, 4:], data[8:12, 8:12].transpose(2, 0, 1))
