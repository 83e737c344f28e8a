"""HDF5 files, which include NetCDF 4 and MATLAB 7.3, whose axes are reversed. Reading is lazy.

Products of satellites: PRISMA by `carl.io.prisma`; EMIT has the layout of other NetCDF 4 files,
with lists of the widths and of the good bands beside the wavelengths.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from carl.errors import CubeError
from carl.io import prisma
from carl.io.axes import arrange
from carl.io.cf import ATTRIBUTES, scaling
from carl.io.hdf5_pixels import read_pixels
from carl.io.reader import FileContents, Reader, Variable, choose_cube, find_wavelengths
from carl.mapped_files import SharedFile

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SIGNATURE_OFFSETS = (0, 512, 1024, 2048)
"""Positions of the signature: HDF5 may start after a user block; MATLAB's has 512 bytes."""
_HEAP_SIGNATURE = b"GCOL\1\0\0\0"
"""First bytes of a heap, with the version; its size follows."""
_HEAP_OBJECT = struct.Struct("<H6xQ")
"""Number and size of an object of a heap, in files that use 8 bytes for sizes, as nearly all do."""
_SEARCHED_BYTES = 1 << 24
"""Bytes at both ends of a file that are searched for damaged heaps."""
_MAX_OBJECTS = 10_000
"""Groups and datasets that are searched for the cube, which takes about a second."""
_MAX_DEPTH = 32
"""Levels of groups within groups."""
_MAX_ATTRIBUTE_BYTES = 1 << 20
"""Bytes of an attribute; a list of wavelengths has a few thousand."""


def is_hdf5(path: Path) -> bool:
    """Return whether a file has the HDF5 signature."""
    try:
        with path.open("rb") as file:
            head = file.read(_SIGNATURE_OFFSETS[-1] + len(_SIGNATURE))
    except OSError:
        return False
    return any(head[at : at + len(_SIGNATURE)] == _SIGNATURE for at in _SIGNATURE_OFFSETS)


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read the cube of an HDF5 file, which stays open while the cube exists.

    Raises:
        CubeError: the file is damaged, or it is unclear which of its datasets is the cube.
    """
    import h5py

    with ExitStack() as on_failure:
        file = on_failure.enter_context(h5py.File(path, "r", locking=False))
        if file.id.get_create_plist().get_sizes()[1] == _HEAP_OBJECT.size // 2:
            _check_heaps(path)
        datasets = _datasets(file, path)
        variables = [
            Variable(name, dataset.shape[:: _direction(dataset, path)], dataset.dtype.kind)
            for name, dataset in datasets.readable.items()
        ]
        _check_refused(datasets, variables, variable, path)
        level, cubes = prisma.find_cubes(datasets.readable)
        if level and variable is None:
            found = {name: datasets.readable[each] for name, each in cubes.items()}
            attribute, open_pixels = partial(_attribute, file), partial(read_pixels, path=path)
            contents = prisma.read(level, found, attribute, open_pixels, path)
        else:
            contents = _read_cube(datasets, choose_cube(variables, variable, path), variables, path)
        on_failure.pop_all()
    return contents


def _read_cube(
    datasets: _Datasets, cube: Variable, variables: Sequence[Variable], path: Path
) -> FileContents:
    listed = find_wavelengths(variables, cube)
    dataset = datasets.readable[cube.name]
    table = None if listed is None else datasets.readable[listed.name]
    wavelengths, unit = _wavelengths(dataset, table, path)
    pixels = read_pixels(dataset, path, datasets.sources.get(cube.name, ()))
    band_axis: int | None = None
    axes: tuple[str, ...] = ()
    if _direction(dataset, path) < 0:
        data = pixels.transpose(range(pixels.ndim)[::-1])
    else:
        data, band_axis, axes = arrange(pixels, _axis_names(dataset), path)
    return FileContents(
        data=data,
        band_axis=band_axis,
        axes=axes,
        wavelengths=wavelengths,
        wavelength_unit=unit,
        fwhm=_beside(table, ("fwhm",), datasets, path),
        good_bands=_beside(table, ("good_wavelengths", "good_bands"), datasets, path),
        **scaling({name: _attribute(dataset, name) for name in ATTRIBUTES}),
        flattened="C" if _direction(dataset, path) == 1 else "F",
        others=tuple(variables),
        metadata={"format": "HDF5", "variable": cube.name},
        notes=_geometry_note(datasets),
    )


def _axis_names(dataset: Any) -> list[str | None]:
    """Return the names of the axes of a dataset, as NetCDF 4 stores them."""
    names = []
    for dimension in dataset.dims:
        scale = dimension[0].name if len(dimension) else None
        names.append(scale.rsplit("/", 1)[-1] if scale else dimension.label or None)
    return names


def _beside(table: Any | None, names: Sequence[str], datasets: _Datasets, path: Path) -> Any:
    """Return the list with one of some names in the group of the wavelengths; None if missing."""
    if table is None:
        return None
    group = table.name.rpartition("/")[0].strip("/")
    for name in names:
        found = datasets.readable.get(f"{group}/{name}".lstrip("/"))
        if found is not None and found.shape == table.shape:
            return np.asarray(read_pixels(found, path))
    return None


def _geometry_note(datasets: _Datasets) -> tuple[str, ...]:
    """Return a note if the image has to be orthorectified with a table in the file, as of EMIT."""
    if not {"location/glt_x", "location/glt_y"} <= datasets.readable.keys():
        return ()
    return ("The image is in the geometry of the sensor: location/glt_x and glt_y of the file, "
            "which map it to the ground, were not applied.",)  # fmt: skip


def _direction(dataset: Any, path: Path) -> int:
    """Return -1 if MATLAB wrote the dataset, whose axes are then reversed, else 1."""
    return -1 if path.suffix.lower() == ".mat" or "MATLAB_class" in dataset.attrs else 1


def _check_heaps(path: Path) -> None:
    """Check the heaps of strings and of virtual datasets in the beginning and the end of a file.

    The library (2.0) searches a heap with an empty gap in it for ever. A heap is a list of objects,
    each with its number, which is 0 for gaps, and its size.

    Raises:
        CubeError: there is such a heap.
    """
    file = SharedFile(path)
    for start in {0, max(0, file.size - _SEARCHED_BYTES)}:
        content = file.read(start, min(_SEARCHED_BYTES, file.size - start))
        at = content.find(_HEAP_SIGNATURE)
        while at >= 0:
            head = content[at : at + _HEAP_OBJECT.size]
            stop = at + int.from_bytes(head[len(_HEAP_SIGNATURE) :], "little")
            at += _HEAP_OBJECT.size
            while at + _HEAP_OBJECT.size <= min(stop, len(content)):
                number, size = _HEAP_OBJECT.unpack_from(content, at)
                step = _HEAP_OBJECT.size + -(-size // 8) * 8 if number else size
                if step == 0:
                    raise CubeError(f"{path.name} is damaged: copy it again from its source.")
                at += step
            at = content.find(_HEAP_SIGNATURE, at)


@dataclass(frozen=True)
class _Datasets:
    """The datasets of a file, by path.

    Attributes:
        readable: with pixels in the file.
        sources: parts that a virtual dataset in `readable` consists of.
        refused: why the other ones are not read.
    """

    readable: dict[str, Any]
    sources: dict[str, list[Any]]
    refused: dict[str, str]


def _datasets(file: Any, path: Path) -> _Datasets:
    """Find all datasets with a shape, without MATLAB's hidden ``#refs#``.

    Raises:
        CubeError: there are too many objects, or groups within groups.
    """
    import h5py

    readable: dict[str, Any] = {}
    virtual: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for name, item in _objects(file, path):
        if isinstance(item, h5py.ExternalLink):
            refused[name] = "is a link to another file"
        elif not isinstance(item, h5py.Dataset):
            continue
        elif item.id.get_create_plist().get_external_count():
            refused[name] = "stores its pixels in other files"
        elif item.is_virtual:
            virtual[name] = item
        elif item.shape:
            readable[name] = item
    sources: dict[str, list[Any]] = {}
    for name, item in virtual.items():
        parts = item.virtual_sources()
        # The library follows a virtual dataset within another without end.
        if all(part.file_name == "." and part.dset_name.strip("/") in readable for part in parts):
            sources[name] = [readable[part.dset_name.strip("/")] for part in parts]
        else:
            refused[name] = "consists of other files or of virtual datasets"
    # Only now: the shape of a virtual dataset may depend on its sources.
    readable |= {name: virtual[name] for name in sources if virtual[name].shape}
    return _Datasets(dict(sorted(readable.items())), sources, refused)


def _objects(file: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the path of each object and the object itself, and that of each link to another file.

    An object with several names has the first one. Links within the file are not followed.
    """
    import h5py

    seen: set[int] = set()
    waiting = [("", file)]
    while waiting:
        name, item = waiting.pop()
        yield name, item
        if not isinstance(item, h5py.Group):
            continue
        if name.count("/") >= _MAX_DEPTH or len(item) + len(seen) > _MAX_OBJECTS:
            raise CubeError(
                f"{path.name} has more than {_MAX_OBJECTS} objects or {_MAX_DEPTH} levels of "
                "groups: save the cube to a file of its own."
            )
        for child in sorted(item, reverse=True):
            link = item.get(child, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                waiting.append((f"{name}/{child}".lstrip("/"), link))
            elif isinstance(link, h5py.HardLink) and not (name == "" and child.startswith("#")):
                found = item[child]
                address = h5py.h5o.get_info(found.id).addr
                if address not in seen:
                    seen.add(address)
                    waiting.append((f"{name}/{child}".lstrip("/"), found))


def _check_refused(
    datasets: _Datasets, variables: Sequence[Variable], variable: str | None, path: Path
) -> None:
    """Raise a `CubeError` if the wanted dataset, or the only one that may be a cube, is refused."""
    has_cube = any(len(each.shape) == 3 and each.kind in "biuf" for each in variables)
    for name, reason in datasets.refused.items():
        if name == (variable.strip("/") if variable else name) and (variable or not has_cube):
            raise CubeError(
                f"{name} in {path.name} {reason}, which is not read, as it could show any file of "
                "this computer: save the cube into one file, without links."
            )


def _wavelengths(dataset: Any, listed: Any | None, path: Path) -> tuple[Any, str | None]:
    """Return wavelengths and unit of a dataset beside the cube, or of the cube's attributes."""
    if listed is not None:
        unit = _attribute(listed, "units", _attribute(listed, "unit"))
        return np.ravel(np.asarray(read_pixels(listed, path))), _text(unit)
    for name in ("wavelengths", "wavelength"):
        values = _attribute(dataset, name)
        if values is not None:
            unit = _attribute(dataset, "wavelength_units", _attribute(dataset, "wavelength_unit"))
            return np.ravel(values), _text(unit)
    return None, None


def _attribute(dataset: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of a dataset; the default if it is missing or not plausibly small."""
    if name not in dataset.attrs:
        return default
    n_bytes = dataset.attrs.get_id(name).get_storage_size()
    return dataset.attrs[name] if n_bytes <= _MAX_ATTRIBUTE_BYTES else default


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


READER = Reader("HDF5", (".h5", ".hdf5", ".he5", ".nc"), read, is_hdf5)
