"""Damaged and hostile label maps are refused in one sentence, before memory is taken."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carl.errors import LabelError
from carl.io import read_labels

SQUARE = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]


def feature(coordinates: Any, kind: str = "Polygon") -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}}


def geojson(*features: Any, **about: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features), "label_map": about}


def coco(counts: Any, size: Any = (4, 6), **image: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "height": 4, "width": 6, **image}],
        "annotations": [{"category_id": 1, "segmentation": {"size": list(size), "counts": counts}}],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (geojson(feature([[[1e300, 0], [2, 0], [2, 2]]])), "not within"),
        (geojson(feature([[[float("nan"), 0], [2, 0], [2, 2]]])), "not within"),
        (geojson(feature(SQUARE, "LineString")), "LineString"),
        (geojson(feature([[["a", 0]]])), "cannot be read"),
        (geojson(feature([SQUARE]), height=10**9, width=10**9), "million pixels"),
        (geojson(feature([SQUARE]), height=30_000, width=30_000), "pixels but the cube is 4 × 6"),
        (geojson(feature([SQUARE]), height=4, width=-6), "damaged"),
        ({"features": 3}, "no GeoJSON features"),
        (geojson(*[feature([[[0, 0], [6, 0], [6, 4], [0, 4]]])] * 200_000), "more than 64 times"),
    ],
)
def test_geojson(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(content))
    with pytest.raises(LabelError, match=message):
        read_labels(path, (4, 6))


def test_geojson_without_a_size_asks_for_the_cube(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps([feature([SQUARE])]))
    with pytest.raises(LabelError, match=r"a\.geojson does not state the size"):
        read_labels(path)


def test_deeply_nested_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text('{"features":' * 100_000 + "[" * 100_000)
    with pytest.raises(LabelError, match=r"a\.geojson cannot be read"):
        read_labels(path, (4, 6))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (coco([3, 10**12]), "larger than its image"),
        (coco([3, -1]), "whole numbers"),
        (coco([3, 1.5]), "whole numbers"),
        (coco("abc"), "compressed masks"),
        (coco([3], (6, 4)), "of another size"),
        (coco([3], height=10**6, width=10**6), "million pixels"),
        (coco([3], height=30_000, width=30_000), "too few to be a recording"),
        ({"images": [{}, {}], "annotations": []}, "2 images"),
    ],
)
def test_coco(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    with pytest.raises(LabelError, match=message):
        read_labels(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sizes": "6 4 3"}, "one slice"),
        ({"sizes": "600000 400000"}, "million pixels"),
        ({"sizes": "6 5"}, "cut off"),
        ({"sizes": "6 3"}, "cut off"),
        ({"encoding": "bzip2"}, "uncompressed or with gzip"),
        ({"type": "block"}, "not labels"),
        ({"data file": "../../secret.raw"}, "another file"),
        ({"Segment0_LabelValue": "70000"}, "70000"),
        ({"Segment0_LabelValue": "1", "Segment0_Layer": "1"}, "several layers"),
    ],
)
def test_nrrd(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    fields = {"type": "uint8", "dimension": "2", "sizes": "6 4", "encoding": "gzip", **changed}
    lines = [f"{key}:={fields[key]}" if "_" in key else f"{key}: {fields[key]}" for key in fields]
    path = tmp_path / "a.nrrd"
    header = "NRRD0004\n" + "\n".join(lines) + "\n\n"
    path.write_bytes(header.encode() + gzip.compress(np.ones((4, 6), np.uint8).tobytes()))
    with pytest.raises(LabelError, match=message):
        read_labels(path)
