"""The sample data, opened as from napari's menu."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

pytestmark = pytest.mark.usefixtures("plugin")


def test_sample_cube_opens() -> None:
    viewer = ViewerModel()
    bands, picture = viewer.open_sample("napari-carl", "bladder")
    assert bands.data.shape == (40, 676, 844)
    assert picture.rgb
    low, high = bands.contrast_limits
    assert 0.1 < low < high < 1.1
    glass, tissue = picture.data[640, 820].mean(), picture.data[470, 300].mean()
    assert glass > 235 > tissue


def test_sample_labels_cover_the_cube() -> None:
    *_, labels = ViewerModel().open_sample("napari-carl", "bladder_labels")
    classes = labels.metadata["carl"]["classes"]
    assert [known.name for known in classes] == ["lumen", "urothelium", "stroma", "blood"]
    assert np.array_equal(np.unique(labels.data), [0, 1, 2, 3, 4])
    assert labels.data.shape == (676, 844)
