"""Registry of file formats, and reading of cubes from any of them."""

from __future__ import annotations

import os
from pathlib import Path

from numpy.typing import ArrayLike

from carl.cube import SpectralCube
from carl.errors import CubeError
from carl.io import (
    capture_folders,
    czi,
    dlr_products,
    envi,
    hdf5,
    matlab,
    netcdf3,
    numpy_files,
    pictures,
    series,
    tiff,
    tivita,
    zarr_files,
)
from carl.io.assembly import assemble, demosaiced, requested_bands
from carl.io.reader import FileContents, Reader, decoding_errors
from carl.io.remote import remote_address

READERS: tuple[Reader, ...] = (
    envi.READER,
    tivita.READER,
    dlr_products.READER,
    tiff.READER,
    numpy_files.READER,
    matlab.READER,
    hdf5.READER,
    netcdf3.READER,
    czi.READER,
    zarr_files.READER,
    capture_folders.READER,
)
"""Readers of all formats; the first one that recognises a file or folder reads it. Pictures are not
among them: they are read when they are chosen, but are no cubes among the files of a folder."""

READABLE_SUFFIXES: tuple[str, ...] = tuple(
    dict.fromkeys(suffix for reader in READERS for suffix in reader.suffixes if suffix)
)
"""File name suffixes of cubes, for file dialogs; ENVI data may have none."""


def is_readable(path: str | os.PathLike[str]) -> bool:
    """Return whether a file or folder looks like a cube, by its name and first bytes; never raises.

    Addresses on the network look like cubes, and folders that hold a series of files with one band
    each. Pictures in colour do not, although `read_cube` reads them as cubes of three bands.
    """
    path = Path(path)
    return _find_reader(path) is not None or bool(series.series_in(path))


def identify_cube(path: Path) -> Path:
    """Return what identifies a cube, the same for all that may be opened in its place.

    That is the header of an ENVI cube, the first file of a series, else the file or folder itself.

    Args:
        path: a file of the cube, or its folder.

    Returns:
        an absolute path without symbolic links, the same for all files that belong to the cube.
    """
    found = series.series_of(path)
    if found is not None and series.holds_band(path, read_contents):
        return found.files[0].resolve()
    reader = _find_reader(path)
    return (path if reader is None else reader.main_file(path)).resolve()


def read_cube(
    path: str | os.PathLike[str],
    *,
    wavelengths: ArrayLike | str | Path | None = None,
    camera: str | None = None,
    variable: str | None = None,
    frame: int | str | None = None,
    height: int | None = None,
    register: bool = False,
) -> SpectralCube:
    """Read a cube from a file; its pixels are loaded lazily where the format allows.

    A file with a single band is read together with the others of its series, such as
    ``IMG_0000_1.tif`` to ``IMG_0000_5.tif``; see `carl.io.series`.

    Examples:
        >>> from carl.files import resource_path
        >>> cube = read_cube(resource_path("sample", "bladder.tif"))
        >>> cube
        <SpectralCube 'bladder': 676 × 844 pixels, 40 bands, 380–770 nm>
        >>> cube.read(rows=slice(0, 2), columns=slice(0, 3)).shape
        (2, 3, 40)

    Args:
        path: the file; for ENVI, the header or the data file; for files with one band each, one
            of them or their folder; for Zarr, the folder or its address on the network, such as
            https://host/scene.zarr.
        wavelengths: band centres in nm, a text such as "380:770:10" (start:last:step) or
            "0.4-2.5 µm" (divided by the bands), or the path of a table; overrides those of the
            file.
        camera: name of the camera whose bands these are; overrides those of the file. A raw frame
            of a snapshot camera becomes a cube at the resolution of its pattern of filters.
        variable: name of the array to read, in a file with several; of the series of files, in a
            folder with several.
        frame: index on the time or z axis of a file that has one, counted from 0, or a text such
            as "time=2, z=0".
        height: number of rows of the image that a table of pixels × bands holds.
        register: shift the bands so that they fit each other; see `carl.spectra.registration`.

    Raises:
        ChoiceError: a `CubeError` that lists the variables, frames or heights of which one has to
            be chosen.
        CubeError: the file is missing, damaged, of an unknown format or not a cube.
        WavelengthError: the wavelengths or the camera do not fit the cube, or are unknown.
    """
    path = Path(path)
    requested = requested_bands(wavelengths, camera)
    if _find_reader(path) is None and os.path.isdir(path):
        contents = series.read_folder(path, variable, read_contents)
    else:
        contents = read_contents(path, variable)
        if camera is not None:
            contents = demosaiced(contents, camera)
        if variable is None and height is None:
            contents = _series_around(path, contents) or contents
    cube = assemble(contents, path, requested, frame, height)
    if register:
        from carl.spectra.registration import register_bands

        cube = register_bands(cube)
    return cube


def read_contents(path: Path, variable: str | None = None) -> FileContents:
    """Return the contents of a file or folder of any format, pictures included.

    Args:
        path: of a file or folder.
        variable: name of the array to read, of any number of axes.

    Raises:
        CubeError: the file is damaged, of an unknown format, or holds several arrays.
    """
    reader = _find_reader(path)
    if reader is None and os.path.isfile(path) and pictures.sniff(path):
        reader = pictures.READER
    if reader is None:
        raise CubeError(_unknown(path))
    with decoding_errors(path, reader.name):
        return reader.read(path, variable)


def _series_around(path: Path, contents: FileContents) -> FileContents | None:
    """Return the series that a file with a single band belongs to; None if there is none."""
    if len(contents.data.shape) != 2 and contents.camera != pictures.CAMERA:
        return None
    found = series.series_of(path)
    if found is None or not series.holds_band(path, read_contents):
        return None
    return series.read_series(found, read_contents)


def _find_reader(path: Path) -> Reader | None:
    if remote_address(path):
        return zarr_files.READER
    if os.path.isdir(path):  # unlike Path.is_dir, it returns False for names of any length
        return next((reader for reader in READERS if reader.sniff_folder(path)), None)
    if not os.path.isfile(path):
        return None
    suffix = path.suffix.lower()
    if suffix not in READABLE_SUFFIXES:
        suffix = ""  # the dot may be part of the name, as in "scan 2.1" beside "scan 2.1.hdr"
    return next((r for r in READERS if suffix in r.suffixes and r.sniff(path)), None)


def _unknown(path: Path) -> str:
    """Return why nothing reads a path."""
    if os.path.isdir(path):
        return f"{path.name} is a folder of no known format: choose the file of a cube in it."
    if not os.path.isfile(path):
        return f"{path} does not exist: check the name and the folder."
    named = [reader.name for reader in READERS if path.suffix.lower() in reader.suffixes]
    if not named or not path.suffix:
        known = "an ENVI, TIFF, NumPy, MATLAB or HDF5 file, a picture, or a Zarr folder"
        return f"{path.name} has an unknown format: open {known}."
    beside = f", and there is no ENVI header {path.stem}.hdr beside it" if "ENVI" in named else ""
    return (
        f"{path.name} has the suffix of {' or '.join(named)} but not its signature{beside}: "
        "it is damaged or another kind of file."
    )
