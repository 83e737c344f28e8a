"""Zarr folders of formats 2 and 3, and OME-Zarr images (OME-NGFF 0.1 to 0.5). Reading is lazy.

In an OME-Zarr image the cube is the array of full resolution. Other arrays are cubes if they have
three axes; their names are those of format 3, or those that xarray stores.

Wavelengths come, in this order, from the attribute ``carl`` that `carl.io.zarr_output` writes; from
``wavelengths`` or ``wavelength`` among the attributes; from labels of the channels such as
"550 nm"; from a list beside the array that is named like wavelengths.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carl.errors import CubeError
from carl.io.axes import arrange
from carl.io.chunked import ChunkedArray, Position
from carl.io.reader import (
    FileContents,
    Reader,
    Variable,
    choose_cube,
    decoding_errors,
    find_wavelengths,
)
from carl.io.remote import remote_address
from carl.io.size_limits import check_decoded_size
from carl.lazy_array import LazyArray

if TYPE_CHECKING:
    import zarr

_METADATA_NAMES = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
"""Names of the files by which a folder is recognised."""
_MAX_OBJECTS = 10_000
"""Most groups and arrays that are searched for the cube."""
_MAX_DEPTH = 32
"""Most levels of groups within groups."""
_MAX_SHARD_CHUNKS = 1 << 20
"""Most chunks of a shard: the index of a shard takes 16 bytes for each."""
_MAX_SMALL_CHUNKS, _SMALL_BYTES = 1 << 18, 1 << 12
"""Most chunks of fewer than some bytes: to read a row of pixels of more would take minutes."""
_MAX_COUNTED = 4096
"""Most chunks whose files are counted, which takes some milliseconds."""
_UNIT_BYTES = 1 << 18
"""Smallest number of bytes that are decoded together: the library takes about a millisecond for
each call."""
OWN_NAMES = (
    "wavelengths", "wavelength_unit", "fwhm", "good_bands", "scale", "offset", "nodata",
)  # fmt: skip
"""Names in the attribute ``carl``, which are those of fields of `FileContents`."""
UNITS = {
    "angstrom": "Å", "nanometer": "nm", "micrometer": "µm", "millimeter": "mm", "centimeter": "cm",
    "meter": "m", "kilometer": "km",
}  # fmt: skip
"""Symbols of the units of OME-NGFF."""
_LABEL = re.compile(r"(\d+(?:\.\d+)?)\s*(nm|µm|μm|um)\b")
"""A wavelength in the label of a channel."""

Attributes = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class ZarrArray:
    """An array that may be a cube.

    Attributes:
        array: its chunks are decompressed in bounded memory.
        names: of its axes, None for those without one.
        attributes: of the array and, where it lacks them, of the image that it belongs to.
        image: the description of the image in the OME-NGFF specification; empty if it has none.
    """

    array: zarr.Array[Any]
    names: Sequence[str | None]
    attributes: Attributes
    image: Attributes


def is_zarr(path: Path) -> bool:
    """Return whether a path is a Zarr folder."""
    return any(os.path.isfile(path / name) for name in _METADATA_NAMES)


def read(path: Path, variable: str | None = None) -> FileContents:
    """Read the cube of a Zarr folder, or of an address on the network.

    Raises:
        CubeError: the folder is damaged, uses codecs that are not available, or it is unclear which
            of its arrays is the cube.
    """
    arrays = open_arrays(path)
    variables = [
        Variable(name, _cube_shape(each), each.array.dtype.kind) for name, each in arrays.items()
    ]
    chosen = choose_cube(variables, variable, path)
    found = arrays[chosen.name]
    data, band_axis, axes = arrange(read_pixels(found.array, path), found.names, path)
    listed = find_wavelengths(variables, chosen)
    bands = _bands(found)
    if bands.get("wavelengths") is None and listed is not None:
        table = arrays[listed.name]
        bands["wavelengths"] = read_pixels(table.array, path)[...].ravel()
        bands["wavelength_unit"] = _text(table.attributes, "units", "unit")
    metadata = {
        "format": "OME-Zarr" if found.image else "Zarr",
        "variable": chosen.name,
        **_pixel_size(found),
    }
    notes = _missing_chunks(found.array, path)
    return FileContents(
        data,
        band_axis,
        axes=axes,
        flattened="C",
        others=tuple(variables),
        metadata=metadata,
        notes=notes,
        **bands,
    )


def open_arrays(path: Path) -> dict[str, ZarrArray]:
    """Return the arrays of a Zarr folder by their path in it; of images only the largest array.

    Raises:
        CubeError: there are too many objects, or a link leads out of the folder.
    """
    import zarr

    from carl.io.zarr_store import open_store

    store = open_store(path)
    is_remote = remote_address(path) is not None
    root = zarr.open(store, mode="r", use_consolidated=None if is_remote else False)
    if isinstance(root, zarr.Array):
        return {path.stem: _described(root, {}, {})}
    arrays: dict[str, ZarrArray] = {}
    waiting: list[tuple[str, zarr.Group, int]] = [("", root, 0)]
    n_objects = 0
    while waiting:
        prefix, group, depth = waiting.pop()
        attributes = dict(group.attrs)
        image = _image_of(attributes)
        if image:
            name = str(image["datasets"][0]["path"])
            array = group[name]
            if not isinstance(array, zarr.Array):
                raise CubeError(f"{name} in {path.name} is not an array: the image is damaged.")
            arrays[f"{prefix}{name}"] = _described(array, attributes, image)
            continue
        children = () if is_remote and group.metadata.consolidated_metadata is None else sorted(
            group.members()
        )  # fmt: skip
        n_objects += len(children)
        if n_objects > _MAX_OBJECTS or depth > _MAX_DEPTH:
            raise CubeError(
                f"{path.name} has more than {_MAX_OBJECTS} objects or {_MAX_DEPTH} levels of "
                "groups: open the folder of the cube in it."
            )
        for child, item in children:
            if isinstance(item, zarr.Array):
                arrays[f"{prefix}{child}"] = _described(item, {}, {})
            else:
                waiting.append((f"{prefix}{child}/", item, depth + 1))
    return dict(sorted(arrays.items()))


def read_pixels(array: zarr.Array[Any], path: Path) -> LazyArray:
    """Return an array of a Zarr folder as a lazy array, which caches decoded chunks.

    Raises:
        CubeError: the array uses a codec that is not available, or its chunks do not fit into the
            memory.
    """
    from carl.io.zarr_codecs import bounded

    try:
        source = bounded(array)
    except ValueError as error:
        raise CubeError(
            f"{path.name} cannot be decoded ({error}): save it with the codec zstd, blosc or gzip."
        ) from error
    chunks, dtype = source.chunks, source.dtype
    if 0 in chunks or 0 in source.shape:
        raise CubeError(f"{path.name} holds an empty array of shape {source.shape}.")
    shards = source.shards or chunks
    n_bytes = math.prod(chunks) * dtype.itemsize
    check_decoded_size(path, n_bytes, n_bytes)
    if math.prod(shards) // math.prod(chunks) > _MAX_SHARD_CHUNKS:
        raise CubeError(f"{path.name} has more than {_MAX_SHARD_CHUNKS} chunks in a shard.")
    n_chunks = math.prod(-(-n // length) for n, length in zip(source.shape, shards, strict=True))
    if n_bytes < _SMALL_BYTES and n_chunks > _MAX_SMALL_CHUNKS:
        raise CubeError(
            f"{path.name} is divided into {n_chunks} chunks of {n_bytes} bytes, too many to read: "
            "save it with larger chunks."
        )
    unit = _unit(chunks, source.shape, dtype.itemsize)
    fill = np.zeros((), dtype) if array.fill_value is None else np.asarray(array.fill_value, dtype)

    def load(position: Position) -> NDArray[Any]:
        block = tuple(
            slice(number * length, min((number + 1) * length, n))
            for number, length, n in zip(position, unit, source.shape, strict=True)
        )
        # The library takes about a millisecond for a chunk without a file.
        if os.path.isdir(path) and not any(map(os.path.exists, _chunk_files(array, block, path))):
            return np.full([part.stop - part.start for part in block], fill)
        with decoding_errors(path, "Zarr"):
            return np.asarray(source[block])

    return ChunkedArray(source.shape, unit, dtype.newbyteorder("="), load)


def _unit(chunks: Sequence[int], shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Return the shape of the blocks that are decoded together, some chunks if these are small."""
    unit = list(chunks)
    for axis in reversed(range(len(unit))):
        wanted = -(-_UNIT_BYTES // (math.prod(unit) * itemsize))
        unit[axis] *= max(1, min(wanted, -(-shape[axis] // unit[axis])))
    return tuple(unit)


def _described(array: zarr.Array[Any], attributes: Attributes, image: Attributes) -> ZarrArray:
    own: dict[str, Any] = dict(array.attrs)
    names: list[Any]
    axes = image.get("axes")
    if axes:
        names = [str(axis["name"] if isinstance(axis, dict) else axis) for axis in axes]
        kinds = [axis.get("type") if isinstance(axis, dict) else None for axis in axes]
        names = [
            "c" if kind == "channel" else name for name, kind in zip(names, kinds, strict=True)
        ]
    elif image:
        names = list("tczyx")[-array.ndim :]  # OME-NGFF 0.1 and 0.2
    else:
        stored: Any = getattr(array.metadata, "dimension_names", None)
        names = [name and str(name) for name in stored or own.get("_ARRAY_DIMENSIONS") or ()]
    known = names if len(names) == array.ndim else [None] * array.ndim
    return ZarrArray(array, known, {**attributes, **own}, image)


def _image_of(attributes: Attributes) -> Attributes:
    """Return the first image that the attributes of a group describe; empty if there is none."""
    described = attributes.get("ome", attributes)
    images = described.get("multiscales") if isinstance(described, dict) else None
    return images[0] if isinstance(images, list) and images else {}


def _cube_shape(found: ZarrArray) -> tuple[int, ...]:
    """Return the shape of an array without the axes of length 1 of an image of more than three."""
    shape = tuple(found.array.shape)
    if not found.image:
        return shape
    kept = [n for n, name in zip(shape, found.names, strict=True) if n > 1 or name in (*"cyx",)]
    return tuple(kept) if len(kept) >= 3 else shape


def _bands(found: ZarrArray) -> dict[str, Any]:
    """Return what the attributes state about the bands, by the names of fields of FileContents."""
    stated = found.attributes
    own = stated.get("carl")
    if isinstance(own, dict):
        names = (
            "wavelengths",
            "wavelength_unit",
            "fwhm",
            "good_bands",
            "scale",
            "offset",
            "nodata",
        )
        return {name: own.get(name) for name in names}
    bands = {
        "scale": stated.get("scale_factor"),
        "offset": stated.get("add_offset"),
        "nodata": _number(stated.get("_FillValue")),
    }
    for name in ("wavelengths", "wavelength"):
        if isinstance(stated.get(name), list):
            bands["wavelengths"] = stated[name]
            bands["wavelength_unit"] = _text(stated, "wavelength_units", "wavelength_unit")
            bands["fwhm"] = stated.get("fwhm")
            return bands
    return bands | _from_labels(stated)


def _from_labels(attributes: Attributes) -> dict[str, Any]:
    """Return the wavelengths in the labels of the channels, if all have one."""
    described = attributes.get("ome", attributes)
    omero = described.get("omero") if isinstance(described, dict) else None
    channels = omero.get("channels") if isinstance(omero, dict) else None
    labels = [str(each.get("label")) for each in channels or () if isinstance(each, dict)]
    matches = [_LABEL.search(label) for label in labels]
    units = {match[2].replace("μ", "µ") for match in matches if match}
    if not matches or None in matches or len(units) != 1:
        return {}
    return {"wavelengths": [float(match[1]) for match in matches if match],
            "wavelength_unit": units.pop()}  # fmt: skip


def _pixel_size(found: ZarrArray) -> dict[str, Any]:
    """Return height and width of a pixel, if an image states them in one unit of length."""
    if not found.image:
        return {}
    axes = found.image.get("axes") or ()
    units = [axis.get("unit") if isinstance(axis, dict) else None for axis in axes]
    steps = found.image["datasets"][0].get("coordinateTransformations") or ()
    scale = next((each["scale"] for each in steps if each.get("type") == "scale"), ())
    where = {name: axis for axis, name in enumerate(found.names)}
    if len(scale) != len(units) or not {"y", "x"} <= set(where):
        return {}
    height, width = (_number(scale[where[name]]) for name in "yx")
    unit = units[where["y"]]
    if unit not in UNITS or unit != units[where["x"]] or not height or not width:
        return {}
    return {"pixel_size": (height, width), "pixel_unit": UNITS[unit]}


def _missing_chunks(array: zarr.Array[Any], path: Path) -> tuple[str, ...]:
    """Return a note on chunks without a file, which are read as the fill value."""
    stored = array.shards or array.chunks
    n_chunks = math.prod(-(-n // length) for n, length in zip(array.shape, stored, strict=True))
    if n_chunks > _MAX_COUNTED or not os.path.isdir(path):
        return ()
    files = _chunk_files(array, [slice(0, n) for n in array.shape], path)
    missing = sum(not os.path.exists(file) for file in files)
    if not missing:
        return ()
    return (
        f"{missing} of {n_chunks} chunks have no file and are read as {array.fill_value}: they are "
        "blank, or the copy of the folder is incomplete.",
    )


def _chunk_files(array: zarr.Array[Any], block: Sequence[slice], path: Path) -> Iterator[str]:
    """Yield the names of the files that hold a block of an array in a folder."""
    stored = array.shards or array.chunks
    grid = (
        range(part.start // length, -(-part.stop // length))
        for part, length in zip(block, stored, strict=True)
    )
    folder = os.path.join(path, array.path)
    for position in product(*grid):
        yield os.path.join(folder, array.metadata.encode_chunk_key(position))


def _text(attributes: Attributes, *names: str) -> str | None:
    return next((each for name in names if isinstance(each := attributes.get(name), str)), None)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


READER = Reader("Zarr", (), read, sniff_folder=is_zarr)
