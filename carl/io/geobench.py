"""Read images and labels of GEO-Bench data sets.

Lacoste et al. 2023, "GEO-Bench: toward foundation models for Earth monitoring", version 1. A data
set is a folder of ``<sample>.hdf5`` files beside ``default_partition.json``. A file has one HDF5
dataset per band, named after the band and, in time series, the date; a segmentation also has one
called ``label``. All other attributes, the label of a classification among them, are stored as a
pickle, which is never executed here: bands are identified by their names, and the label is parsed
from the pickle as plain data.
"""

from __future__ import annotations

import ast
import pickletools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.errors import CarlError, CubeError
from carl.files import read_json
from carl.io.reader import decoding_errors
from carl.wavelengths import camera

SENTINEL_2_BANDS = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12",
)  # fmt: skip
"""Names of the Sentinel-2 bands, in the order of the camera tables ``sentinel-2a`` and ``-2b``."""

_LANDSAT_8 = (
    "01 - Coastal aerosol", "02 - Blue", "03 - Green", "04 - Red", "05 - NIR", "06 - SWIR1",
    "07 - SWIR2",
)  # fmt: skip
_SENTINEL_2 = (
    "01 - Coastal aerosol", "02 - Blue", "03 - Green", "04 - Red", "05 - Vegetation Red Edge",
    "06 - Vegetation Red Edge", "07 - Vegetation Red Edge", "08 - NIR",
    "08A - Vegetation Red Edge", "09 - Water vapour", "10 - SWIR - Cirrus", "11 - SWIR",
    "12 - SWIR",
)  # fmt: skip
_AERIAL_NM = {"Blue": 490.0, "Green": 560.0, "Red": 665.0, "NIR": 842.0}

# Actual bands of two published sets whose band names are wrong, in the order of the wrong names.
# https://github.com/ServiceNow/geo-bench/issues/28: B8A comes last.
_EUROSAT = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12",
            "B8A")  # fmt: skip
# https://github.com/ServiceNow/geo-bench/issues/29: the last three are a true-colour picture.
_BRICK_KILN = ("B01", "B02", "B03", "B04", "B05", "B07", "B8A", "B08", "B11", "B12")
_ACTUAL_BANDS = {"m-eurosat": _EUROSAT, "m-brick-kiln": _BRICK_KILN}

_DATE_SUFFIX = re.compile(r"_(\d{4}-\d{2}-\d{2}.*)$")


class GeoBenchSplit:
    """Samples of one split of a GEO-Bench data set.

    Args:
        folder: folder of the data set, such as ``classification_v1.0/m-eurosat``.
        split: "train", "valid" or "test".

    Attributes:
        paths: file of each sample.
        wavelengths: (C,) band centres in nm.

    Raises:
        CarlError: the folder or the split does not exist.
        CubeError: the folder has another layout, or the wavelengths of its bands are unknown.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.paths = _sample_paths(folder, split)
        with (
            decoding_errors(self.paths[0], "a sample of GeoBench"),
            h5py.File(self.paths[0]) as file,
        ):
            names = sorted({_split_key(key)[0] for key in file})
        self._nm = _band_wavelengths(folder.name, names)
        if len(self._nm) < 2:
            raise CubeError(
                f"The wavelengths of the bands of {self.paths[0]} are not known: remove the data "
                "set from the configuration."
            )
        self.wavelengths = np.array(list(self._nm.values()))

    def __len__(self) -> int:
        return len(self.paths)

    def read_image(self, path: Path) -> Float32Array:
        """Read (h, w, C) stored values at the first date at which all bands were recorded.

        Raises:
            CubeError: the file cannot be read, or lacks bands.
        """
        with decoding_errors(path, "a sample of GeoBench"), h5py.File(path) as file:
            by_date: dict[str, dict[str, str]] = defaultdict(dict)
            for key in file:
                name, date = _split_key(key)
                by_date[date][name] = key
            for date in sorted(by_date):
                if set(self._nm) <= set(by_date[date]):
                    bands = [file[by_date[date][name]][...] for name in self._nm]
                    return np.stack([np.squeeze(band) for band in bands], -1).astype(np.float32)
        raise CubeError(f"{path} lacks some of the bands {', '.join(self._nm)}.")

    def read_label(self, path: Path) -> NDArray[np.int64]:
        """Read the label of a sample.

        Returns:
            (h, w) class indices of a segmentation, () class index of a classification, or (K,)
            zeros and ones of a multi-label classification.

        Raises:
            CubeError: the file holds no label that can be read without executing a pickle.
        """
        with decoding_errors(path, "a sample of GeoBench"), h5py.File(path) as file:
            for key in file:
                if _split_key(key)[0] == "label":
                    return np.asarray(np.squeeze(file[key][...]), np.int64)
            label = _parse_pickled_label(str(file.attrs.get("pickle", "")))
        if label is None:
            raise CubeError(f"{path} holds no label that can be read without executing it.")
        return np.array(label, np.int64)


def _sample_paths(folder: Path, split: str) -> Sequence[Path]:
    """Return the files of a split."""
    if not folder.is_dir():
        raise CarlError(f"The folder {folder} of GeoBench does not exist: correct its path.")
    listed = folder / "default_partition.json"
    files: list[Path] = []
    is_there = False
    if listed.is_file():
        with decoding_errors(listed, "a list of samples"):
            splits = {str(name): list(samples) for name, samples in read_json(listed).items()}
        if split not in splits:
            raise CarlError(f"{listed} has no split '{split}': choose one of {', '.join(splits)}.")
        files = [folder / f"{name}.hdf5" for name in splits[split]]
        with decoding_errors(listed, "a list of samples"):  # a name may be too long for the system
            is_there = bool(files) and files[0].is_file()
    if not is_there:
        raise CubeError(
            f"{folder} holds no images laid out as GeoBench, default_partition.json and "
            "<sample>.hdf5: correct its path."
        )
    return files


def _split_key(key: str) -> tuple[str, str]:
    """Split an HDF5 key into the name of a band and its date, empty if there is none."""
    found = _DATE_SUFFIX.search(key)
    return (key[: found.start()], found[1]) if found else (key, "")


def _band_wavelengths(set_name: str, names: Sequence[str]) -> Mapping[str, float]:
    """Return wavelengths in nm by band name; datasets that are not spectral bands are omitted."""
    sentinel_2 = dict(zip(SENTINEL_2_BANDS, camera("sentinel-2a").wavelengths, strict=True))
    if set_name in _ACTUAL_BANDS:
        actual = (sentinel_2[band] for band in _ACTUAL_BANDS[set_name])
        known = dict(zip(_SENTINEL_2, actual, strict=False))
    elif {"05 - NIR", "06 - SWIR1"} & set(names):
        known = dict(zip(_LANDSAT_8, camera("landsat-8").wavelengths, strict=True))
    else:
        known = _AERIAL_NM | dict(zip(_SENTINEL_2, sentinel_2.values(), strict=True))
    return {name: float(known[name]) for name in names if name in known}


def _parse_pickled_label(text: str) -> int | list[int] | None:
    """Parse the integer or list of integers that follows the key "label" in a pickle.

    `text` is the ``repr`` of the pickle, which is only disassembled, never executed.
    """
    if not text.startswith(("b'", 'b"')):
        return None
    operations = pickletools.genops(ast.literal_eval(text))
    for _, argument, _ in operations:
        if argument == "label":
            break
    numbers: list[int] = []
    in_list = False
    for operation, argument, _ in operations:
        if operation.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "MARK"):
            continue
        if operation.name == "EMPTY_LIST":
            in_list = True
        elif operation.name in ("NEWTRUE", "NEWFALSE") or type(argument) is int:
            numbers.append(operation.name == "NEWTRUE" if argument is None else argument)
            if not in_list:
                return int(numbers[0])
        else:
            return [int(number) for number in numbers] if in_list else None
    return None
