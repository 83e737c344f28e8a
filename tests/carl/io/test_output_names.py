"""Names of output files, worked out before anything is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carl.errors import OutputError
from carl.io import LabelClass, export_names, find_existing, plan_outputs
from carl.io.export import mask_names
from carl.io.output_names import OutputNames, comparable
from carl.learning import prediction_names

CLASSES = (LabelClass(1, "labels", (0, 0, 0)), LabelClass(2, "blood", (0, 0, 0)))
LONG = "é" * 125  # 250 bytes


def maps(stem: str) -> tuple[str, ...]:
    return (f"{stem}_labels.tif", f"{stem}_classes.json")


@pytest.mark.parametrize(
    ("cubes", "number", "stems"),
    [
        ([Path("day1/x.tif")], 1, ["x"]),
        ([Path("x.tif")], 2, ["x_2"]),
        ([Path("x.tif"), Path("y.tif")], 1, ["x", "y"]),
        ([Path("x.hdr"), Path("x.tif"), Path("y.tif")], 1, ["x_hdr", "x_tif", "y"]),
        ([Path("x.hdr"), Path("X.tif")], 1, ["x_hdr", "X_tif"]),
        ([Path("x.hdr"), Path("x.tif"), Path("x_tif.npy")], 1, ["x_hdr", "x_tif", "x_tif_npy"]),
        ([Path("x.hdr"), Path("x")], 1, ["x_hdr", "x"]),
        ([Path("x.tif"), Path("x_2.tif")], 2, ["x_2", "x_2_2"]),
        ([Path("\u00e9.tif"), Path("e\u0301.npy")], 1, ["\u00e9_tif", "e\u0301_npy"]),
        ([Path("scan 2.1.dat")], 1, ["scan 2.1"]),
        (["scan 2.1"], 1, ["scan 2.1"]),
        (["two tissues"], 1, ["two tissues"]),
        (['a/b\\c:d*e?f"g<h>i|j\n'], 1, ["a_b_c_d_e_f_g_h_i_j_"]),
        ([" .. "], 1, ["cube"]),
        (["con.2"], 1, ["_con.2"]),
        (["con"], 1, ["con"]),  # "con_labels.tif" is not reserved
        (["x\ud800"], 1, ["x_"]),
    ],
)
def test_stems(cubes: Sequence[Path | str], number: int, stems: list[str]) -> None:
    outputs = plan_outputs(cubes, maps, number=number)
    assert [output.stem for output in outputs] == stems
    assert [output.names for output in outputs] == [maps(stem) for stem in stems]


@pytest.mark.parametrize(
    ("cubes", "name"),
    [
        ([Path("a/x.tif"), Path("b/x.tif")], "x_labels.tif"),
        ([Path("a/x.tif"), Path("b/X.TIF")], "x_labels.tif"),
        ([Path("Strasse.tif"), Path("Straße.tif")], "Strasse_labels.tif"),
        (["x", "x"], "x_labels.tif"),
        ([Path("a/x.tif"), Path("b/x.tif"), Path("x.hdr")], "x_labels.tif"),
    ],
)
def test_cubes_that_would_share_a_file_are_refused(cubes: Sequence[Path | str], name: str) -> None:
    with pytest.raises(OutputError, match="would both be written to") as raised:
        plan_outputs(cubes, maps)
    assert name in str(raised.value)
    assert str(cubes[0]) in str(raised.value)
    assert str(cubes[1]) in str(raised.value)


def test_a_mask_of_one_cube_is_not_the_label_map_of_another() -> None:
    names_of = partial(export_names, classes=CLASSES, contents=("label map", "masks"))
    with pytest.raises(OutputError, match=r"a_mask_labels\.png"):
        plan_outputs([Path("a.tif"), Path("a_mask.tif")], names_of)


def test_long_names_are_shortened_and_stay_different(tmp_path: Path) -> None:
    cubes = [Path(f"{LONG}a.tif"), Path(f"{LONG}b.tif")]
    for names_of in (partial(export_names, classes=CLASSES), prediction_names):
        outputs = plan_outputs(cubes, names_of, number=12)
        names = [name for output in outputs for name in output.names]
        assert len(set(names)) == len(names)
        for name in names:
            (tmp_path / name).touch()
        assert plan_outputs(cubes, names_of, number=12) == outputs


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@given(st.lists(st.builds(lambda stem, end: stem + end, names, st.sampled_from([".tif", ".hdr"]))))
def test_no_two_names_of_a_plan_are_the_same_on_any_disk(files: list[str]) -> None:
    names_of = partial(export_names, classes=CLASSES, contents=("label map", "masks", "table"))
    try:
        outputs = plan_outputs([Path("folder") / name for name in files], names_of)
    except OutputError:
        return
    planned = [comparable(name) for output in outputs for name in output.names]
    assert len(set(planned)) == len(planned)
    assert all(len(os.fsencode(name)) <= 255 for output in outputs for name in output.names)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["x", "x", "x_1"], ["x_1_1", "x_2", "x_1"]),
        (["x_2", "x", "x"], ["x_2", "x_2_2", "x_3"]),
        (["Blood", "blood"], ["Blood_1", "blood_2"]),
        (["con", "NUL"], ["con", "NUL"]),  # never a name by itself
        (["", "1", "..", "?"], ["1_1", "1", "3", "4"]),
        (["e\u0301", "\u00e9"], ["\u00e9_1", "\u00e9_2"]),
        (["Straße", "STRASSE"], ["Straße_1", "STRASSE_2"]),
        (["\ud800", "a\nb"], ["1", "a_b"]),
    ],
)
def test_names_of_masks(classes: list[str], expected: list[str]) -> None:
    assert mask_names([LabelClass(i, n, (0, 0, 0)) for i, n in enumerate(classes, 1)]) == expected


@given(st.lists(st.sampled_from(["x", "X", "x_1", "x_2", "x_1_1", "", "1", "é", "ü" * 90]) | names))
def test_names_of_masks_are_always_different(classes: list[str]) -> None:
    found = mask_names([LabelClass(i, n, (0, 0, 0)) for i, n in enumerate(classes, 1)])
    assert len({comparable(name) for name in found}) == len(classes)


def test_existing_files_are_found_and_cubes_are_never_replaced(tmp_path: Path) -> None:
    outputs = (OutputNames("x", ("x_labels.tif", "x_classes.json")),)
    assert find_existing(tmp_path / "missing", outputs) == ()
    (tmp_path / "x_classes.json").touch()
    assert find_existing(tmp_path, outputs) == (tmp_path / "x_classes.json",)
    cube = tmp_path / "x_labels.tif"
    cube.touch()
    with pytest.raises(OutputError, match="would be replaced"):
        find_existing(tmp_path, outputs, [cube])
