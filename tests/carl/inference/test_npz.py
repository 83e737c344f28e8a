from __future__ import annotations

import io
import json

import numpy as np

from carl.inference.npz import write_npz


def test_numpy_reads_arrays_written_in_blocks() -> None:
    values = np.random.default_rng(0).normal(size=(7, 4, 3)).astype(np.float32)
    turned = values.transpose(1, 0, 2)
    blocks = (values[start : start + 3] for start in range(0, 7, 3))
    file = io.BytesIO()
    write_npz(file, {"a": ((7, 4, 3), blocks), "b": ((4, 7, 3), [turned])}, {"ä": [1, None]})
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        np.testing.assert_array_equal(loaded["a"], values)
        np.testing.assert_array_equal(loaded["b"], turned)
        assert json.loads(str(loaded["metadata"])) == {"ä": [1, None]}


def test_equal_content_gives_equal_bytes() -> None:
    files = io.BytesIO(), io.BytesIO()
    for file in files:
        write_npz(file, {"a": ((2, 1), [np.ones((2, 1), np.float32)])}, {})
    assert files[0].getvalue() == files[1].getvalue()
