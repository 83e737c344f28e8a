"""GeoBench: sets of labelled satellite images for classification and segmentation.

Lacoste et al. 2023, "GEO-Bench: toward foundation models for Earth monitoring", version 1. Each
set is a folder of ``<sample>.hdf5`` files beside ``default_partition.json``. A file has one dataset
per band, named after it and, where there are several times, the date; a segmentation has one called
``label``. What else it tells, the label of a classification among it, is a pickle, which is never
executed here: bands are known by their names, and the label is read from it as plain data.
"""

from __future__ import annotations

import ast
import json
import pickletools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.errors import CarlError, CubeError
from carl.io.reader import decoding_errors
from carl.pretraining.datasets.bigearthnet import CAMERA_BANDS
from carl.pretraining.datasets.images import (
    Images,
    PatchImages,
    nothing_found,
    require_folder,
)
from carl.wavelengths import camera

_LAYOUT = "GeoBench, default_partition.json and <sample>.hdf5"
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
_AERIAL = {"Blue": 490.0, "Green": 560.0, "Red": 665.0, "NIR": 842.0}

# What the bands of two published sets really are, in the order of their wrong names.
# https://github.com/ServiceNow/geo-bench/issues/28: B8A comes last.
_EUROSAT = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12",
            "B8A")  # fmt: skip
# https://github.com/ServiceNow/geo-bench/issues/29: the last three are a true-colour picture.
_BRICK_KILN = ("B01", "B02", "B03", "B04", "B05", "B07", "B8A", "B08", "B11", "B12")
_TRUE_BANDS = {"m-eurosat": _EUROSAT, "m-brick-kiln": _BRICK_KILN}

_DATE = re.compile(r"_(\d{4}-\d{2}-\d{2}.*)$")


@dataclass(frozen=True)
class GeoBenchOptions:
    """One set of GeoBench.

    Attributes:
        path: its folder, as ``classification_v1.0/m-eurosat``.
        split: train, valid or test.
    """

    path: Path
    split: str = "train"

    def open(self) -> list[Images]:
        """The samples of the split.

        Raises:
            CarlError: there is no such folder or split, it is laid out otherwise, or its bands are
                not known.
        """
        require_folder(self.path, "GeoBench")
        return [GeoBenchSamples(self.path, self.split)]


class GeoBenchSamples(PatchImages):
    """Samples of one set.

    Args:
        folder: of the set.
        split: train, valid or test.

    Attributes:
        paths: of the files, one for each sample.

    Raises:
        CarlError: it is laid out otherwise, has no such split, or its bands are not known.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.paths = _samples(folder, split)
        with (
            decoding_errors(self.paths[0], "a sample of GeoBench"),
            h5py.File(self.paths[0]) as file,
        ):
            self._nm = _wavelengths_of(folder.name, _names(file))
        if len(self._nm) < 2:
            raise CubeError(
                f"The wavelengths of the bands of {self.paths[0]} are not known: leave the set out."
            )
        super().__init__(np.array(list(self._nm.values())), len(self.paths))

    def path_of(self, item: int, random: np.random.Generator) -> Path:
        """The file of a sample."""
        return self.paths[item]

    def load(self, path: Path) -> Float32Array:
        """(h, w, C) values as stored, of the first time at which all bands were seen."""
        with decoding_errors(path, "a sample of GeoBench"), h5py.File(path) as file:
            by_time: dict[str, dict[str, str]] = defaultdict(dict)
            for key in file:
                name, time = _name_and_time(key)
                by_time[time][name] = key
            for time in sorted(by_time):
                if set(self._nm) <= set(by_time[time]):
                    bands = [file[by_time[time][name]][...] for name in self._nm]
                    return np.stack([np.squeeze(band) for band in bands], -1).astype(np.float32)
        raise CubeError(f"{path} lacks some of the bands {', '.join(self._nm)}.")

    def label(self, item: int) -> NDArray[np.int64]:
        """(h, w) classes of a segmentation, (n,) of a picture with n classes, or () of one.

        Raises:
            CubeError: the file holds no label that can be read.
        """
        path = self.paths[item]
        with decoding_errors(path, "a sample of GeoBench"), h5py.File(path) as file:
            for key in file:
                if _name_and_time(key)[0] == "label":
                    return np.asarray(np.squeeze(file[key][...]), np.int64)
            label = _label_in_pickle(str(file.attrs.get("pickle", "")))
        if label is None:
            raise CubeError(f"{path} holds no label that can be read without executing it.")
        return np.array(label, np.int64)


def _samples(folder: Path, split: str) -> Sequence[Path]:
    """The files of a split."""
    listed = folder / "default_partition.json"
    if not listed.is_file():
        raise nothing_found(folder, _LAYOUT)
    with decoding_errors(listed, "a list of samples"):
        splits = json.loads(listed.read_text(encoding="utf-8"))
    if split not in splits:
        raise CarlError(f"{listed} has no split '{split}': choose one of {', '.join(splits)}.")
    files = [folder / f"{name}.hdf5" for name in splits[split]]
    if not files or not files[0].is_file():
        raise nothing_found(folder, _LAYOUT)
    return files


def _names(file: h5py.File) -> list[str]:
    return sorted({_name_and_time(key)[0] for key in file})


def _name_and_time(key: str) -> tuple[str, str]:
    """Name of a band and, where given, when it was seen."""
    found = _DATE.search(key)
    return (key[: found.start()], found[1]) if found else (key, "")


def _wavelengths_of(set_name: str, names: Sequence[str]) -> Mapping[str, float]:
    """Wavelengths in nm by the names of bands; bands that are no reflectance are left out."""
    if set_name in _TRUE_BANDS:
        known = dict(zip(_SENTINEL_2, map(_sentinel_2, _TRUE_BANDS[set_name]), strict=False))
    elif {"05 - NIR", "06 - SWIR1"} & set(names):
        known = dict(zip(_LANDSAT_8, camera("landsat-8").wavelengths, strict=True))
    else:
        known = _AERIAL | dict(zip(_SENTINEL_2, map(_sentinel_2, CAMERA_BANDS), strict=True))
    return {name: float(known[name]) for name in names if name in known}


def _sentinel_2(band: str) -> float:
    return float(camera("sentinel-2a").wavelengths[CAMERA_BANDS.index(band)])


def _label_in_pickle(text: str) -> int | list[int] | None:
    """The integer or the integers that follow the key "label" in a pickle that is only parsed."""
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
