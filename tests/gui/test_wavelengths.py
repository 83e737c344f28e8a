"""The form for wavelengths: what was understood is shown before it counts, and nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
import robot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from carl.cube import SpectralCube
from carl.wavelengths import parse_wavelengths
from napari_carl.panels.cube import CubePanel, WavelengthForm
from napari_carl.panels.widgets import MessageLine

LONG_MS = 120_000


@pytest.fixture
def session(dock, no_network):
    return dock.session


@pytest.fixture
def open_unknown(show):
    """A function that opens a cube without wavelengths."""

    def open_(n_bands, name="unknown"):
        pixels = np.random.default_rng(0).random((6, 7, n_bands))
        show(SpectralCube(pixels, name=name))

    return open_


@pytest.fixture
def form(dock, session, open_unknown):
    """The form of a cube of 100 bands, with the field for ranges in view."""
    open_unknown(100)
    made = dock.findChild(WavelengthForm)
    made.source.value = "Range"
    return made


def apply_button(form):
    return next(each for each in form.findChildren(QPushButton) if each.text() == "Apply")


def replace_text(qtbot, form, text):
    form.range.native.selectAll()
    form.range.native.insert(text) if "–" in text or "µ" in text else qtbot.keyClicks(
        form.range.native, text
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("400-2500", "100 bands, 400–2500 nm, step 21.2 nm"),
        ("400–2500", "100 bands, 400–2500 nm, step 21.2 nm"),
        ("400:2500", "100 bands, 400–2500 nm, step 21.2 nm"),
        ("500:995:5 nm", "100 bands, 500–995 nm, step 5 nm"),
        ("0,4-2,5 µm", "100 bands, 400–2500 nm, step 21.2 nm (given in µm)"),
    ],
)
def test_what_was_understood_is_shown_before_it_is_applied(form, session, qtbot, text, line):
    replace_text(qtbot, form, text)
    assert form.message.text == line
    assert session.cube.wavelengths is None

    qtbot.keyClick(form.range.native, Qt.Key.Key_Return)
    np.testing.assert_allclose(session.cube.wavelengths, parse_wavelengths(text, 100).wavelengths)
    assert session.cube.metadata["wavelength_source"] == f"'{text}'"


def test_the_example_in_the_field_is_valid_for_the_cube_at_hand(form, session, open_unknown, qtbot):
    for n_bands in (100, 40, 1, 3000):
        open_unknown(n_bands, f"cube of {n_bands}")
        replace_text(qtbot, form, form.range.native.placeholderText())
        qtbot.keyClick(form.range.native, Qt.Key.Key_Return)
        assert session.cube.wavelengths.size == n_bands


def test_an_error_stays_beside_the_field_and_keeps_what_was_typed(form, dock, session, qtbot):
    replace_text(qtbot, form, "380:770:10")
    assert not apply_button(form).isEnabled()
    qtbot.keyClick(form.range.native, Qt.Key.Key_Return)

    assert form.message.isVisibleTo(dock)
    assert form.message.role == "error"
    assert "40 wavelengths, but the cube has 100 bands: type 380-770" in form.message.text
    assert form.range.value == "380:770:10"
    assert session.cube.wavelengths is None

    qtbot.keyClicks(form.range.native, "0")  # 380:770:100
    assert form.range.value == "380:770:100"
    assert form.message.role == "muted"


def test_unusual_wavelengths_cause_a_warning_before_they_are_applied(form, dock, session, qtbot):
    replace_text(qtbot, form, "1-100 nm")
    assert form.message.role == "warning"
    assert "below 200 nm" in form.message.text
    assert apply_button(form).isEnabled()

    replace_text(qtbot, form, "400-20000")
    assert "above 15,000 nm" in form.message.text


def test_typed_text_is_understood_anew_for_another_cube(form, open_unknown, qtbot):
    replace_text(qtbot, form, "380:770:10")
    assert "40 wavelengths" in form.message.text

    open_unknown(40, "another")
    assert form.range.value == "380:770:10"
    assert form.message.text == "40 bands, 380–770 nm, step 10 nm"


def test_a_table_is_understood_before_it_is_applied(form, session, dock, qtbot, tmp_path):
    table = tmp_path / "bands.csv"
    table.write_text("\n".join(f"{band + 1}, {400 + 13 * band}" for band in range(100)))
    form.source.value = "Table"
    form.table.value = table
    qtbot.waitUntil(lambda: bool(form.message.text), timeout=LONG_MS)
    assert form.message.text == "100 bands, 400–1687 nm, step 13 nm"

    form.table.value = tmp_path / "none.csv"
    qtbot.waitUntil(lambda: "none.csv" in form.message.text, timeout=LONG_MS)
    assert form.message.role == "error"
    assert not apply_button(form).isEnabled()

    table.write_text("400\n500\n")
    form.table.value = table
    qtbot.waitUntil(lambda: "has 2 wavelengths" in form.message.text, timeout=LONG_MS)
    assert form.table.line_edit.value == str(table)
    assert session.cube.wavelengths is None


def test_the_camera_that_fits_is_described(dock, session, open_unknown):
    open_unknown(5)
    form = dock.findChild(WavelengthForm)
    assert form.source.value == "Camera"
    assert form.message.text == "5 bands, 475–840 nm, not in order"
    robot.click(form, "Apply")
    assert session.cube.metadata["wavelength_source"] == "the camera rededge"


def test_notes_of_a_file_stay_until_they_are_read(dock, session, show, qtbot):
    note = "The shortest wavelength is 1 nm, below 200 nm: check the unit."
    pixels = np.random.default_rng(0).random((6, 7, 3))
    show(SpectralCube(pixels, [1, 2, 3], name="odd", metadata={"notes": (note,)}))
    message = next(
        each for each in dock.findChild(CubePanel).findChildren(MessageLine) if each.text == note
    )
    assert message.isVisibleTo(dock)

    qtbot.mouseClick(message.findChild(QPushButton), Qt.MouseButton.LeftButton)
    assert not message.isVisibleTo(dock)
    session.show_band(1)
    session.edit_cube(lambda cube: cube)
    assert not message.isVisibleTo(dock)


def test_a_warning_goes_when_the_wavelengths_are_mended(dock, session, show, qtbot):
    note = "The shortest wavelength is 1 nm, below 200 nm: check the unit."
    pixels = np.random.default_rng(0).random((6, 7, 3))
    show(SpectralCube(pixels, [1, 2, 3], name="odd", metadata={"notes": (note,)}))
    form = dock.findChild(WavelengthForm)
    robot.click(dock, "Change …")
    form.source.value = "Range"
    replace_text(qtbot, form, "400-600")
    robot.click(form, "Apply")

    assert session.cube.wavelengths.tolist() == [400, 500, 600]
    assert note not in [each.text for each in dock.findChildren(MessageLine)]
