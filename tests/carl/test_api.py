"""The names of the package ``carl``: complete, lazy, and the same as those of the command line."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import pytest

import carl
from carl.cli.app import app
from carl.simulation import gaussian_camera

FUNCTION_OF_COMMAND = {
    "cache": "features_folder",
    "cameras": "cameras",
    "download": "download_weights",
    "convert": "write_cube",
    "embed": "embed_to_file",
    "evaluate": "evaluate",
    "export": "write_labels",
    "fit": "Segmenter",
    "import": "import_checkpoint",
    "info": "info",
    "models": "list_models",
    "predict": "predict_to_files",
    "pretrain": "pretrain",
    "simulate": "simulate",
    "train": "train_to_file",
}

NM = np.linspace(450, 800, 8)


@pytest.fixture
def cube() -> carl.SpectralCube:
    values = np.random.default_rng(0).random((12, 16, 8), np.float32)
    return carl.SpectralCube(values, NM, name="random")


def test_every_command_is_in_the_package():
    assert {command.name for command in app.registered_commands} == set(FUNCTION_OF_COMMAND)
    assert set(FUNCTION_OF_COMMAND.values()) <= set(carl.__all__)


def test_all_names_can_be_imported():
    for name in carl.__all__:
        found = getattr(carl, name)
        assert name == "__version__" or callable(found)
        assert name in dir(carl)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = carl.no_such_name


def test_names_are_those_of_their_packages():
    from carl.inference import embed
    from carl.learning import finetune, train

    assert (carl.embed, carl.finetune, carl.train) == (embed, finetune, train)


def test_functions_do_not_become_modules():
    # `carl.learning.finetune` is a function in a module of the same name.
    code = "import carl.learning.finetune, carl; print(callable(carl.finetune))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.stdout == "True\n"


@pytest.mark.parametrize("module", ["carl", "carl.cli.options", "carl.model"])
def test_names_are_imported_without_torch(module: str):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.stdout == "False\n"


def test_results_are_dataclasses_with_a_short_repr(cube):
    scores = carl.evaluate([[1, 2]], [[1, 1]])
    for result in (scores, carl.info(cube), carl.list_models()[0], carl.camera("srgb")):
        assert is_dataclass(result)
        assert len(repr(result)) < 1000
        assert "array(" not in repr(result)


def test_info_describes_cubes_and_files(cube, tmp_path: Path):
    path = tmp_path / "random.hdr"
    carl.write_cube(path, cube)
    for description in (carl.info(cube), carl.info(path), carl.info(str(path))):
        assert (description.name, description.shape) == ("random", (12, 16, 8))
        np.testing.assert_allclose(description.wavelengths, NM)
        assert 0 < description.low < 0.1
        assert 0.9 < description.high < 1
        assert description.missing == 0
        assert "12 × 16 pixels" in repr(description)


def test_info_reports_missing_values_and_bands():
    values = np.ones((4, 4, 8))
    values[:2, :, 0] = np.nan
    cube = carl.SpectralCube(
        values, NM, fwhm=np.full(8, 9.0), good_bands=np.arange(8) > 0, name="<b>",
        metadata={"notes": ("two detectors",)},
    )  # fmt: skip
    rows = carl.info(cube).rows()
    assert rows["missing"] == "6.25% of the values of a sample"
    assert (rows["width (FWHM)"], rows["bad bands"]) == ("9–9 nm", "1")
    assert rows["assumption 1"] == "two detectors"
    assert "&lt;b&gt;" in carl.info(cube)._repr_html_()
    assert carl.info(carl.SpectralCube(values)).rows()["wavelengths"] == "unknown"


def test_info_of_a_cube_without_finite_values():
    description = carl.info(carl.SpectralCube(np.full((2, 2, 8), np.nan), NM))
    assert np.isnan(description.low)
    assert description.missing == 1


def test_simulate_takes_cameras_in_any_form(cube, tmp_path: Path):
    table = tmp_path / "three.csv"
    table.write_text("wavelength_nm,fwhm_nm\n525,80\n700,50\n1100,40\n")
    simulated = carl.simulate(cube, table, drop_uncovered=True)
    assert simulated.n_bands == 2
    own = gaussian_camera([525, 700], [80, 50])
    np.testing.assert_array_equal(carl.simulate(cube, own).to_numpy(), simulated.to_numpy())
    with pytest.raises(carl.CarlError, match="1100 nm"):
        carl.simulate(cube, str(table))
    by_name, by_camera = (carl.simulate(cube, each) for each in ("srgb", carl.camera("srgb")))
    np.testing.assert_array_equal(by_name.to_numpy(), by_camera.to_numpy())
    with pytest.raises(carl.CarlError, match="srgb"):
        carl.simulate(cube, "unknown")


def test_classes_are_merged_by_name():
    lumen = carl.LabelClass(1, "lumen", (1, 2, 3))
    first = carl.LabelMap(np.array([[1, 2]], np.uint8), (lumen,))
    second = carl.LabelMap(np.array([[0, 3]], np.uint8), ())
    merged = carl.merge_classes([first, second])
    assert [(each.value, each.name) for each in merged] == [
        (1, "lumen"), (2, "class 2"), (3, "class 3"),
    ]  # fmt: skip
    assert merged[0].colour == (1, 2, 3)
    named = carl.merge_classes([first, second], ["a", "b", "c", "d"])
    assert [each.name for each in named] == ["a", "b", "c", "d"]
    with pytest.raises(carl.CarlError, match="go up to 3"):
        carl.merge_classes([first, second], ["a", "b"])
    other = carl.LabelMap(first.labels, (carl.LabelClass(1, "blood", (0, 0, 0)),))
    with pytest.raises(carl.CarlError, match="'lumen' in one label map and 'blood' in another"):
        carl.merge_classes([first, other])


def test_import_checkpoint_returns_the_network(carl_reference: Path, tmp_path: Path):
    folder = carl_reference / "vit_small_case"
    output = tmp_path / "net.safetensors"
    arguments = (folder / "checkpoint.ckpt", folder / "config.json")
    network = carl.import_checkpoint(*arguments)
    assert network.name == "checkpoint"
    written = carl.import_checkpoint(*arguments, output)
    assert written.name == "net"
    assert carl.load_model(output, "cpu").fingerprint == network.fingerprint


def test_options_of_fine_tuning():
    from carl.learning.options import check_tune

    assert [check_tune(name) for name in ("last_blocks", "lora", "full", "head")] == [
        "last_blocks", "lora", "full", "last_blocks",
    ]  # fmt: skip
    with pytest.raises(carl.CarlError, match="choose last_blocks, lora, full"):
        check_tune("some")
