"""Files and folders of formats that hold a cube among other things: Zarr, products, lambda stacks.

Each function writes a cube of (height, width, bands) numbers into a folder and returns the path to
open. If no pixels are given, the file has the size of the cube, and no blocks on the disk.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
import zarr
from scipy.io import netcdf_file

Shape = tuple[int, int, int]
Pixels = np.ndarray[Any, Any] | None


def zarr_3(folder: Path, shape: Shape, pixels: Pixels = None, shards: bool = False) -> Path:
    """Write a Zarr array of format 3, if requested in shards."""
    chunks = (min(shape[0], 64), min(shape[1], 64), shape[2])
    array = zarr.create_array(
        folder / "cube.zarr",
        shape=shape,
        chunks=(*chunks[:2], shape[2] // 2) if shards else chunks,
        shards=chunks if shards else None,
        dtype="u2",
        attributes={"wavelengths": nm_of(shape).tolist()},
        dimension_names=["y", "x", "wavelength"],
    )
    if pixels is not None:
        array[...] = pixels
    return folder / "cube.zarr"


def ome_zarr(folder: Path, shape: Shape, pixels: Pixels = None) -> Path:
    """Write an OME-Zarr image of version 0.4, with wavelengths as labels of the channels."""
    group = zarr.open_group(folder / "cube.zarr", mode="w", zarr_format=2)
    size = (1, shape[2], 1, shape[0], shape[1])
    chunks = (1, 1, 1, min(shape[0], 512), min(shape[1], 512))
    array = group.create_array("0", shape=size, chunks=chunks, dtype="u2")
    if pixels is not None:
        array[...] = np.moveaxis(pixels, -1, 0)[None, :, None]
    axes = [{"name": name} for name in "tczyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    group.attrs["omero"] = {"channels": [{"label": f"{nm:.1f} nm"} for nm in nm_of(shape)]}
    return folder / "cube.zarr"


def hdf5(folder: Path, shape: Shape, pixels: Pixels = None, chunks: bool = False) -> Path:
    """Write an HDF5 file, contiguous or in chunks."""
    with h5py.File(folder / "cube.h5", "w") as file:
        _dataset(file, "cube", shape, pixels, chunks=chunks)
        file["wavelengths"] = nm_of(shape)
    return folder / "cube.h5"


def matlab_7(folder: Path, shape: Shape, pixels: Pixels = None) -> Path:
    """Write a file of MATLAB 7.3, whose axes are reversed."""
    with h5py.File(folder / "cube.mat", "w") as file:
        cube = _dataset(file, "cube", shape[::-1], None if pixels is None else pixels.T)
        cube.attrs["MATLAB_class"] = np.bytes_(b"uint16")
    return folder / "cube.mat"


def prisma(folder: Path, shape: Shape, pixels: Pixels = None) -> Path:
    """Write a PRISMA product of level 2D, with half of the bands from each detector."""
    n_vnir = shape[2] // 2
    with h5py.File(folder / "cube.he5", "w") as file:
        for name, part in (("Vnir", slice(n_vnir)), ("Swir", slice(n_vnir, None))):
            nm = nm_of(shape)[part]
            numbers = None if pixels is None else pixels[..., part].transpose(0, 2, 1)
            path = f"HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/{name.upper()}_Cube"
            _dataset(file, path, (shape[0], nm.size, shape[1]), numbers)
            file.attrs[f"List_Cw_{name}"] = nm[::-1]
            file.attrs[f"List_Fwhm_{name}"] = np.full(nm.size, 10.0)
            file.attrs[f"L2Scale{name}Min"], file.attrs[f"L2Scale{name}Max"] = 0.0, 1.3
    return folder / "cube.he5"


def emit(folder: Path, shape: Shape, pixels: Pixels = None) -> Path:
    """Write a product of EMIT with the names of its axes."""
    with h5py.File(folder / "cube.nc", "w") as file:
        cube = _dataset(file, "reflectance", shape, pixels)
        for axis, name in enumerate(("downtrack", "crosstrack", "bands")):
            scale = file.create_dataset(name, data=np.zeros(shape[axis], "f4"))
            scale.make_scale(name)
            cube.dims[axis].attach_scale(scale)
        parameters = file.create_group("sensor_band_parameters")
        parameters["wavelengths"] = nm_of(shape)
        parameters["fwhm"] = np.full(shape[2], 8.5)
        parameters["good_wavelengths"] = np.ones(shape[2], np.uint8)
    return folder / "cube.nc"


def netcdf_3(folder: Path, shape: Shape, pixels: Pixels = None) -> Path:
    """Write a NetCDF 3 file with 64-bit offsets."""
    path = folder / "cube.nc"
    names = ("lat", "lon", "band")
    written = (1, 1, 1) if pixels is None else shape
    with netcdf_file(path, "w", version=2) as file:
        for name, length in zip(names, written, strict=True):
            file.createDimension(name, length)
        cube = file.createVariable("cube", "i2", names)
        cube[:] = 0 if pixels is None else pixels
    if pixels is None:  # the library writes from memory: lengthen the axes afterwards
        content = path.read_bytes()
        for name, length in zip(names, shape, strict=True):
            padded = struct.pack(">i", len(name)) + name.encode().ljust(4, b"\0")
            content = content.replace(
                padded + struct.pack(">i", 1), padded + struct.pack(">i", length)
            )
        path.write_bytes(content)
        _lengthen(path, 2 * shape[0] * shape[1] * shape[2])
    return path


def enmap(folder: Path, shape: Shape, pixels: Pixels = None) -> Path:
    """Write an EnMAP product: a GeoTIFF with a page for each band, and the metadata as XML."""
    listed = "".join(
        f'<bandID number="{number}"><wavelengthCenterOfBand>{nm}</wavelengthCenterOfBand>'
        "<FWHMOfBand>7</FWHMOfBand><GainOfBand>0.0001</GainOfBand><OffsetOfBand>0</OffsetOfBand>"
        "</bandID>"
        for number, nm in enumerate(nm_of(shape), start=1)
    )
    xml = f"<level_X><bandCharacterisation>{listed}</bandCharacterisation></level_X>"
    (folder / "cube-METADATA.XML").write_text(xml)
    path = folder / "cube-SPECTRAL_IMAGE.TIF"
    height, width, n_bands = shape
    options = {"metadata": None, "photometric": "minisblack", "bigtiff": True}
    if pixels is None:
        tifffile.imwrite(path, shape=(n_bands, height, width), dtype="u2", **options)
    else:
        tifffile.imwrite(path, np.moveaxis(pixels, -1, 0), **options)
    return path


def headwall(folder: Path, shape: Shape, pixels: Pixels = None) -> Path:
    """Write a folder of two files with consecutive lines, and a dark reference."""
    scan = folder / "cube"
    scan.mkdir()
    height, width, n_bands = shape
    half = height // 2
    for name, lines in (("raw_0", slice(half)), (f"raw_{half}", slice(half, height))):
        n_lines = lines.stop - (lines.start or 0)
        _envi_header(scan / f"{name}.hdr", (n_lines, width, n_bands))
        data = scan / name
        data.write_bytes(b"" if pixels is None else pixels[lines].astype("<u2").tobytes())
        if pixels is None:
            _lengthen(data, 2 * n_lines * width * n_bands)
    _envi_header(scan / "darkReference.hdr", (1, width, n_bands))
    (scan / "darkReference").write_bytes(bytes(2 * width * n_bands))
    return scan


def czi(folder: Path, shape: Shape, pixels: Pixels = None) -> Path:
    """Write a lambda stack of Zeiss, from the layout of its segments: no library writes them."""
    height, width, n_bands = shape
    path, entries = folder / "cube.czi", []
    sizes = {"X": width, "Y": height, "C": 1}
    with path.open("wb") as file:
        file.write(bytes(544))
        for band in range(n_bands):
            entry = struct.pack("<2siqiiBB4si", b"DV", 1, file.seek(0, 1), 0, 0, 0, 0, b"", 3)
            entry += b"".join(
                struct.pack("<4siifi", axis.encode(), band if axis == "C" else 0, size, 0.0, size)
                for axis, size in sizes.items()
            )
            entries.append(entry)
            n_bytes = 2 * height * width
            head = (struct.pack("<iiq", 0, 0, n_bytes) + entry).ljust(256, b"\0")
            file.write(struct.pack("<16sqq", b"ZISRAWSUBBLOCK", len(head) + n_bytes, 0) + head)
            if pixels is None:
                file.seek(n_bytes, 1)
            else:
                file.write(pixels[..., band].astype("<u2").tobytes())
        directory_at = file.seek(0, 1)
        directory = struct.pack("<i124x", n_bands) + b"".join(entries)
        file.write(struct.pack("<16sqq", b"ZISRAWDIRECTORY", len(directory), 0) + directory)
        metadata_at = file.seek(0, 1)
        xml = "".join(
            f"<Channel><DetectionWavelength><Ranges>{nm - 5}-{nm + 5}</Ranges>"
            "</DetectionWavelength></Channel>"
            for nm in nm_of(shape)
        )
        around = ("Channels", "Dimensions", "Image", "Information", "Metadata", "ImageDocument")
        for name in around:
            xml = f"<{name}>{xml}</{name}>"
        content = struct.pack("<ii248x", len(xml), 0) + xml.encode()
        file.write(struct.pack("<16sqq", b"ZISRAWMETADATA", len(content), 0) + content)
        file.seek(0)
        numbers = (1, 0, 0, 0, bytes(16), bytes(16), 0, directory_at, metadata_at, 0, 0)
        file.write(struct.pack("<16sqq", b"ZISRAWFILE", 512, 512))
        file.write(struct.pack("<iiii16s16siqqiq", *numbers))
    return path


def nm_of(shape: Shape) -> np.ndarray[Any, Any]:
    """Return wavelengths for the bands of a cube."""
    return np.linspace(400, 1000, shape[2]).round(2)


def _dataset(
    file: h5py.File, name: str, shape: tuple[int, ...], pixels: Pixels, chunks: bool = False
) -> h5py.Dataset:
    """Write a dataset; without pixels its bytes are reserved and not written."""
    if pixels is not None:
        return file.create_dataset(name, data=pixels, chunks=chunks or None)
    options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    options.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    options.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    if chunks:
        options.set_chunk((64, 64, shape[2]))
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    space = h5py.h5s.create_simple(shape)
    kind = h5py.h5t.py_create(np.dtype("<u2"))
    h5py.h5d.create(file.id, name.encode(), kind, space, options, lcpl=links)
    return file[name]


def _envi_header(path: Path, shape: Shape) -> None:
    lines, samples, bands = shape
    listed = ", ".join(map(str, nm_of(shape)))
    path.write_text(
        f"ENVI\nsamples = {samples}\nlines = {lines}\nbands = {bands}\ndata type = 12\n"
        f"interleave = bip\nbyte order = 0\nheader offset = 0\nwavelength units = nm\n"
        f"wavelength = {{{listed}}}\n"
    )


def _lengthen(path: Path, n_bytes: int) -> None:
    """Append bytes that take no space on the disk."""
    with path.open("r+b") as file:
        file.truncate(file.seek(0, 2) + n_bytes)
