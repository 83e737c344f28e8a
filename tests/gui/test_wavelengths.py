"""The form for wavelengths: what was understood is shown before it counts, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import robot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton

from carl.cube import SpectralCube
from carl.wavelengths import parse_wavelengths
from napari_carl.panels.coverage import CoverageBar, CoveragePanel
from napari_carl.panels.cube import CubePanel
from napari_carl.panels.wavelengths import WavelengthCheck, WavelengthForm
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


def cell(form, band, column):
    return form.bands.item(band, column)


def test_bands_are_edited_one_by_one_and_the_edit_is_undone(dock, session, show):
    show(SpectralCube(np.random.default_rng(0).random((6, 7, 3)), [400, 500, 600], name="three"))
    form = dock.findChild(WavelengthForm)
    robot.click(dock, "Change …")
    form.source.value = "Bands"
    assert [cell(form, band, 0).text() for band in range(3)] == ["400", "500", "600"]

    cell(form, 1, 0).setText("510,5")
    cell(form, 2, 2).setCheckState(Qt.CheckState.Unchecked)
    robot.click(form, "Apply")
    assert session.cube.wavelengths.tolist() == [400, 510.5, 600]
    assert session.cube.good_bands.tolist() == [True, True, False]

    robot.click(form, "Undo")
    assert session.cube.wavelengths.tolist() == [400, 500, 600]
    assert session.cube.good_bands.all()
    assert not session.can_undo_edit


def test_an_error_in_a_cell_keeps_what_was_typed(dock, session, show):
    show(SpectralCube(np.random.default_rng(0).random((6, 7, 3)), [400, 500, 600], name="three"))
    form = dock.findChild(WavelengthForm)
    robot.click(dock, "Change …")
    form.source.value = "Bands"
    cell(form, 0, 0).setText("410")
    cell(form, 1, 0).setText("blue")
    assert "'blue' is not the wavelength of band 2" in form.message.text
    assert not apply_button(form).isEnabled()
    assert cell(form, 0, 0).text() == "410"

    for band in range(3):
        cell(form, band, 2).setCheckState(Qt.CheckState.Unchecked)
    cell(form, 1, 0).setText("505")
    robot.click(form, "Apply")
    assert form.message.role == "error"
    assert "leave at least one good" in form.message.text
    assert cell(form, 1, 0).text() == "505"
    assert session.cube.wavelengths.tolist() == [400, 500, 600]


def test_wavelengths_are_copied_from_another_cube(dock, session, show, open_unknown):
    show(SpectralCube(np.ones((6, 7, 3)), [400, 500, 600], [5, 6, 7], name="known"))
    open_unknown(3)
    form = dock.findChild(WavelengthForm)
    form.source.value = "Layer"
    assert form.message.text == "3 bands, 400–600 nm, step 100 nm"
    robot.click(form, "Apply")
    assert session.cube.wavelengths.tolist() == [400, 500, 600]
    assert session.cube.fwhm.tolist() == [5, 6, 7]
    assert session.cube.metadata["wavelength_source"] == "the cube known"


def test_findings_are_corrected_with_one_click_and_undone(dock, session, show, qtbot):
    cube = SpectralCube(np.random.default_rng(0).random((6, 7, 3)), [0.4, 0.5, 0.6], name="micro")
    show(cube)
    robot.click(dock, "Check wavelengths")
    qtbot.waitUntil(lambda: session.findings is not None, timeout=LONG_MS)
    check = dock.findChild(WavelengthCheck)
    texts = [each.text() for each in check.findChildren(QLabel)]
    assert any("may be µm that were read as nm" in text for text in texts)

    robot.click(check, "Multiply by 1000")
    np.testing.assert_allclose(session.cube.wavelengths, [400, 500, 600])
    assert session.findings is None
    session.undo_edit()
    assert session.cube is cube

    session.edit_cube(lambda cube: cube.with_wavelengths([400, 500, 600]))
    robot.click(dock, "Check wavelengths")
    qtbot.waitUntil(lambda: session.findings == (), timeout=LONG_MS)
    assert "Nothing is wrong" in [each.text for each in check.findChildren(MessageLine)][-1]


def test_the_bar_compares_the_bands_with_the_training(dock, session, show):
    show(SpectralCube(np.ones((6, 7, 4)), [400, 500, 600, 1200], name="wide"))
    panel = dock.findChild(CoveragePanel)
    assert panel.isHidden()  # the network is not loaded yet

    network = SimpleNamespace(wavelength_range_um=(0.48, 0.95))
    session.network = replace(session.network, model=network)
    session.features_changed.emit()
    assert not panel.isHidden()
    assert "2 of 4 bands lie inside, 2 extrapolated" in panel.findChild(QLabel).text()
    bar = panel.findChild(CoverageBar)
    assert "trained on 480–950 nm" in bar.toolTip()
    image = bar.grab().toImage()
    colours = {image.pixelColor(x, 4).name() for x in range(image.width())}
    assert {"#46c2a8", "#e0a040"} <= colours
