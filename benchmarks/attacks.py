"""Files made to do harm: bombs, cycles, references to other files, huge sizes, deep nesting."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
import torch
from specimens import (
    BANDS_FIRST,
    CONFIG,
    LABELS,
    NM,
    PIXELS,
    read_whole_cube,
    tiny_network,
    training_cube,
)

from carl.cube import SpectralCube
from carl.inference import Embedding
from carl.io import read_labels, write_cube, write_labels
from carl.learning import Segmenter, TrainConfig, load_predictor
from carl.model import CARLConfig, build_model, read_model, save_model
from carl.model.checkpoint import read_checkpoint, read_training_state
from carl.wavelengths import read_wavelength_table

Attack = Callable[[Path], Callable[[], object]]
"""Writes files into a folder; returns what reads them."""
_BOMB_BYTES = 3 << 30
_DEPTH = 100_000

ATTACKS: dict[str, Attack] = {}


def attack(write: Callable[[Path], Callable[[], object]]) -> Attack:
    """Register an attack under the name of its function."""
    ATTACKS[write.__name__] = write
    return write


def cube(path: Path) -> Callable[[], object]:
    """Return what reads a cube."""
    return lambda: read_whole_cube(path, lambda: None)


def zeros(n_bytes: int = _BOMB_BYTES, before: bytes = b"") -> bytes:
    """Return some bytes and then zeros as a zlib stream, a thousandth of their size.

    The zeros are compressed once: after a full flush, a part of a stream depends on no other part.
    """
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    start = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    part = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    n_parts, n_rest = divmod(n_bytes, len(block))
    end = packer.compress(bytes(n_rest)) + packer.flush(zlib.Z_FULL_FLUSH)
    high, low = divmod(zlib.adler32(before), 1 << 16)
    checksum = (high + n_bytes * low) % 65521 << 16 | low
    last_block = b"\3\0"  # of no bytes
    return start + part * n_parts + end + last_block + struct.pack(">I", checksum)


def _zip(path: Path, name: str, start: bytes) -> None:
    """Write a zip file of one entry, some bytes and then 3 GB of zeros; its checksum is wrong."""
    packed = zeros(before=start)[2:-4]  # without the header and the checksum of zlib
    sizes = struct.pack("<III", 0, len(packed), len(start) + _BOMB_BYTES)
    name_bytes = name.encode()
    common = struct.pack("<HHHHH", 20, 0, 8, 0, 0) + sizes + struct.pack("<HH", len(name_bytes), 0)
    local = b"PK\3\4" + common + name_bytes + packed
    central = b"PK\1\2\24\0" + common + bytes(14) + name_bytes
    end = struct.pack("<4s4HIIH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)


def _npy_header(descr: str, shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


@attack
def npz_bomb(folder: Path) -> Callable[[], object]:
    """3 GB of zeros in an .npz of 3 MB."""
    _zip(folder / "cube.npz", "cube.npy", _npy_header("<u2", (1 << 11, 1 << 16, 12)))
    return cube(folder / "cube.npz")


@attack
def matlab_bomb(folder: Path) -> Callable[[], object]:
    """A compressed element of a MATLAB file that states 252 numbers and holds 3 GB."""
    import scipy.io

    path = folder / "cube.mat"
    scipy.io.savemat(path, {"cube": PIXELS})
    plain = path.read_bytes()
    element = zeros(before=plain[128:])
    path.write_bytes(plain[:128] + struct.pack("<II", 15, len(element)) + element)
    return cube(path)


@attack
def matlab_bomb_of_a_large_cube(folder: Path) -> Callable[[], object]:
    """A compressed element of a MATLAB file that states and holds 3 GB."""
    shape = (1 << 14, 1 << 14, 12)
    n_bytes = 12 << 28
    array = struct.pack("<IIII", 6, 8, 9, 0) + struct.pack("<II3i4x", 5, 12, *shape)
    array += struct.pack("<HH4s", 1, 4, b"cube") + struct.pack("<II", 2, n_bytes)
    tag = struct.pack("<II", 14, len(array) + n_bytes)
    element = zeros(n_bytes, tag + array)
    start = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x100, b"IM")
    (folder / "cube.mat").write_bytes(start + struct.pack("<II", 15, len(element)) + element)
    return cube(folder / "cube.mat")


@attack
def tiff_strip_bomb(folder: Path) -> Callable[[], object]:
    """Strips of a TIFF of 6 × 7 pixels that hold 3 GB each."""
    return cube(_tiff_with_strips(folder, zeros()))


def _tiff_with_strips(folder: Path, strip: bytes) -> Path:
    """Write a TIFF with given compressed strips."""
    path = folder / "cube.tif"
    tifffile.imwrite(path, BANDS_FIRST, compression="zlib", metadata=None)
    content = bytearray(path.read_bytes())
    at = len(content)
    with tifffile.TiffFile(path) as file:
        for page in file.pages:
            for name, value in (("StripOffsets", at), ("StripByteCounts", len(strip))):
                tag = page.tags[name]
                code = {3: "<H", 4: "<I"}[int(tag.dtype)]
                if code == "<H":  # the type becomes LONG, whose value has its place in the entry
                    struct.pack_into("<HII", content, tag.offset + 2, 4, 1, value)
                else:
                    struct.pack_into("<I", content, tag.offset + 8, value)
    path.write_bytes(bytes(content) + strip)
    return path


@attack
def tiff_of_a_huge_strip(folder: Path) -> Callable[[], object]:
    """A TIFF that states 2³⁰ × 4 pixels in one compressed strip of a few bytes."""
    path = folder / "cube.tif"
    tifffile.imwrite(path, BANDS_FIRST[:3, :, :4], compression="zlib", metadata=None)
    _change_tags(path, ImageLength=1 << 30, RowsPerStrip=1 << 30)
    return cube(path)


def _change_tags(path: Path, **values: int) -> None:
    """Replace values of tags in all pages of a TIFF."""
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for page in file.pages:
            for name, value in values.items():
                struct.pack_into("<HII", content, page.tags[name].offset + 2, 4, 1, value)
    path.write_bytes(content)


@attack
def tiff_of_omitted_strips(folder: Path) -> Callable[[], object]:
    """A TIFF of a few kilobytes that states 10⁵ × 10⁵ pixels, none of them stored."""
    path = folder / "cube.tif"
    tifffile.imwrite(path, BANDS_FIRST[:3], compression="zlib", metadata=None)
    _change_tags(
        path, ImageLength=100_000, ImageWidth=100_000, RowsPerStrip=100_000, StripByteCounts=0
    )
    return cube(path)


def _cyclic_tiff(folder: Path, first: int, last: int) -> Path:
    """Write a TIFF whose page `last` is followed by page `first`."""
    path = folder / "cube.tif"
    tifffile.imwrite(path, BANDS_FIRST, metadata=None, compression="zlib")
    content = bytearray(path.read_bytes())
    offsets, at = [], 4
    while (offset := struct.unpack_from("<I", content, at)[0]) != 0:
        offsets.append(offset)
        at = offset + 2 + 12 * struct.unpack_from("<H", content, offset)[0]
    page = offsets[last]
    at = page + 2 + 12 * struct.unpack_from("<H", content, page)[0]
    struct.pack_into("<I", content, at, offsets[first])
    path.write_bytes(content)
    return path


@attack
def tiff_cycle_of_all_pages(folder: Path) -> Callable[[], object]:
    """The last page is followed by the first one."""
    return cube(_cyclic_tiff(folder, 0, 11))


@attack
def tiff_cycle_of_two_pages(folder: Path) -> Callable[[], object]:
    """The third page is followed by the second one."""
    return cube(_cyclic_tiff(folder, 1, 2))


@attack
def tiff_page_that_follows_itself(folder: Path) -> Callable[[], object]:
    """The second page is followed by itself."""
    return cube(_cyclic_tiff(folder, 1, 1))


@attack
def labels_in_a_cycle(folder: Path) -> Callable[[], object]:
    """A label map whose page is followed by itself."""
    return lambda: read_labels(_cyclic_tiff(folder, 0, 0))


@attack
def tiff_of_a_million_tags(folder: Path) -> Callable[[], object]:
    """A directory of 65 535 tags, in a chain of 30 of them."""
    content = bytearray(b"II*\0" + struct.pack("<I", 8))
    tags = np.zeros(65535, "<u2,<u2,<u4,<u4")
    tags["f0"], tags["f1"], tags["f2"] = np.arange(65535), 1, 1
    for number in range(30):
        content += struct.pack("<H", 65535) + tags.tobytes()
        following = 0 if number == 29 else len(content) + 4
        content += struct.pack("<I", following)
    (folder / "cube.tif").write_bytes(content)
    return cube(folder / "cube.tif")


def _ome(folder: Path, xml: str) -> Callable[[], object]:
    tifffile.imwrite(folder / "cube.ome.tif", BANDS_FIRST, description=xml.encode(), metadata=None)
    return cube(folder / "cube.ome.tif")


_OME = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'


@attack
def ome_of_other_files(folder: Path) -> Callable[[], object]:
    """An OME description whose pages are in files of another folder."""
    tifffile.imwrite(folder.parent / "secret.tif", BANDS_FIRST, metadata=None)
    data = '<TiffData IFD="0" PlaneCount="12"><UUID FileName="../secret.tif">urn:uuid:1</UUID>'
    pixels = 'DimensionOrder="XYCZT" Type="uint16" SizeX="7" SizeY="6" SizeC="12" SizeZ="1"'
    return _ome(
        folder,
        f'<?xml version="1.0"?>{_OME}<Image><Pixels {pixels} SizeT="1">{data}</TiffData></Pixels>'
        "</Image></OME>",
    )


@attack
def ome_of_many_laughs(folder: Path) -> Callable[[], object]:
    """Entities of XML that expand to 10⁹ letters."""
    entities = '<!ENTITY l0 "laugh">' + "".join(
        f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10)
    )
    return _ome(folder, f'<?xml version="1.0"?><!DOCTYPE a [{entities}]>{_OME}&l9;</OME>')


@attack
def ome_of_deep_elements(folder: Path) -> Callable[[], object]:
    """XML elements within elements."""
    deep = "<a>" * _DEPTH + "</a>" * _DEPTH
    return _ome(folder, f'<?xml version="1.0"?>{_OME}{deep}</OME>')


@attack
def ome_of_huge_dimensions(folder: Path) -> Callable[[], object]:
    """An OME description of 10⁶ channels and times."""
    pixels = 'DimensionOrder="XYCZT" Type="uint16" SizeX="7" SizeY="6" SizeC="1000000" SizeZ="1"'
    return _ome(
        folder,
        f'<?xml version="1.0"?>{_OME}<Image><Pixels {pixels} SizeT="1000000"><TiffData/></Pixels>'
        "</Image></OME>",
    )


@attack
def tiff_of_deep_json(folder: Path) -> Callable[[], object]:
    """A description of nested lists."""
    text = '{"shape": ' + "[" * _DEPTH + "]" * _DEPTH + "}"
    tifffile.imwrite(folder / "cube.tif", BANDS_FIRST, description=text, metadata=None)
    return cube(folder / "cube.tif")


def _hdf5(folder: Path, write: Callable[[h5py.File], object], name: str = "cube.h5") -> Path:
    with h5py.File(folder / name, "w", libver="latest") as file:
        write(file)
    return folder / name


@attack
def hdf5_chunk_bomb(folder: Path) -> Callable[[], object]:
    """One compressed chunk of 3 GB in a file of 3 MB."""

    def write(file: h5py.File) -> None:
        side = 1 << 14
        data = file.create_dataset("cube", (side, side, 12), "u1", chunks=(side, side, 12),
                                   compression="gzip")  # fmt: skip
        data.id.write_direct_chunk((0, 0, 0), zeros(12 << 28))

    return cube(_hdf5(folder, write))


@attack
def hdf5_of_a_huge_shape(folder: Path) -> Callable[[], object]:
    """A dataset of 10²⁷ numbers, none of them stored."""

    def write(file: h5py.File) -> None:
        file.create_dataset("cube", (10**9, 10**9, 10**9), "u2", chunks=(64, 64, 64))

    return cube(_hdf5(folder, write))


@attack
def hdf5_of_itself(folder: Path) -> Callable[[], object]:
    """A virtual dataset whose source is itself."""

    def write(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((6, 7, 12), "u2")
        layout[:] = h5py.VirtualSource(".", "cube", (6, 7, 12), "u2")
        file.create_virtual_dataset("cube", layout)

    return cube(_hdf5(folder, write))


@attack
def hdf5_of_two_that_are_each_other(folder: Path) -> Callable[[], object]:
    """Two virtual datasets whose sources are each other."""

    def write(file: h5py.File) -> None:
        for name, other in (("cube", "other"), ("other", "cube")):
            layout = h5py.VirtualLayout((6, 7, 12), "u2")
            layout[:] = h5py.VirtualSource(".", other, (6, 7, 12), "u2")
            file.create_virtual_dataset(name, layout)

    path = _hdf5(folder, write)
    return cube(path)


@attack
def hdf5_of_a_pipe(folder: Path) -> Callable[[], object]:
    """A virtual dataset whose source is a named pipe."""
    os.mkfifo(folder / "pipe.h5")

    def write(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((6, 7, 12), "u2")
        layout[:] = h5py.VirtualSource("pipe.h5", "cube", (6, 7, 12), "u2")
        file.create_virtual_dataset("cube", layout)

    return cube(_hdf5(folder, write))


@attack
def hdf5_that_shows_another_file(folder: Path) -> Callable[[], object]:
    """A dataset whose numbers are the bytes of another file."""
    (folder / "secret.txt").write_bytes(b"secret" * 84)

    def write(file: h5py.File) -> None:
        place = [(str(folder / "secret.txt"), 0, 504)]
        file.create_dataset("cube", (6, 7, 12), "u1", external=place)

    return refusing(cube(_hdf5(folder, write)), "external storage was read")


@attack
def hdf5_link_to_another_file(folder: Path) -> Callable[[], object]:
    """A link to a dataset of another file."""
    _hdf5(folder, lambda file: file.create_dataset("cube", data=PIXELS), "other.h5")

    def write(file: h5py.File) -> None:
        file["cube"] = h5py.ExternalLink("other.h5", "cube")

    return refusing(cube(_hdf5(folder, write)), "an external link was followed")


@attack
def hdf5_of_groups_in_a_cycle(folder: Path) -> Callable[[], object]:
    """Groups that contain each other, and a link to itself."""

    def write(file: h5py.File) -> None:
        inner = file.create_group("a/b")
        inner["c"] = file["a"]
        file["self"] = h5py.SoftLink("/self")
        file["cube"] = PIXELS

    return cube(_hdf5(folder, write))


@attack
def hdf5_of_deep_groups(folder: Path) -> Callable[[], object]:
    """Groups within groups."""

    def write(file: h5py.File) -> None:
        group = file.create_group("a")
        for _ in range(5000):
            group = group.create_group("a")
        group["cube"] = PIXELS

    return cube(_hdf5(folder, write))


@attack
def hdf5_of_control_characters(folder: Path) -> Callable[[], object]:
    """Names that change the colours of a terminal, in an error that lists them."""

    def write(file: h5py.File) -> None:
        file["\x1b[31mred\x07"] = PIXELS
        file["two\nlines"] = PIXELS

    return cube(_hdf5(folder, write))


@attack
def npz_of_control_characters(folder: Path) -> Callable[[], object]:
    """Names that leave the folder or change a terminal."""
    with zipfile.ZipFile(folder / "cube.npz", "w") as archive:
        for name in ("../../up.npy", "/abs.npy", "\x1b[31mred.npy", "two\nlines.npy"):
            file = io.BytesIO()
            np.save(file, PIXELS)
            archive.writestr(name, file.getvalue())
    return cube(folder / "cube.npz")


@attack
def npz_of_one_traversing_name(folder: Path) -> Callable[[], object]:
    """One array whose name leaves the folder: nothing is written there."""
    np.savez(folder / "cube.npz", **{"../../up": PIXELS})

    def read() -> None:
        cube(folder / "cube.npz")()
        assert not (folder.parent.parent / "up.npy").exists()

    return read


@attack
def npz_of_one_place_many_times(folder: Path) -> Callable[[], object]:
    """10⁴ entries of a zip file that share one content."""
    file = io.BytesIO()
    np.save(file, PIXELS)
    with zipfile.ZipFile(folder / "cube.npz", "w") as archive:
        for number in range(10_000):
            archive.writestr(f"{number}.npy", file.getvalue() if number < 2 else b"")
    return cube(folder / "cube.npz")


@attack
def npy_of_pickles(folder: Path) -> Callable[[], object]:
    """An array of objects, which run code when they are loaded."""
    np.save(folder / "cube.npy", np.array([[[_Trap(folder)]]], object))
    return untouched(folder, cube(folder / "cube.npy"))


@attack
def checkpoint_of_pickles(folder: Path) -> Callable[[], object]:
    """A checkpoint that runs code when it is loaded."""
    torch.save({"state_dict": _Trap(folder)}, folder / "a.ckpt")
    return untouched(folder, lambda: read_checkpoint(folder / "a.ckpt", CONFIG))


class _Trap:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self._folder / "trap"),)


def untouched(folder: Path, read: Callable[[], object]) -> Callable[[], object]:
    """Return what reads, and fails if a trap has run."""

    def checked() -> None:
        try:
            read()
        finally:
            assert not (folder / "trap").exists(), "a pickle was executed"

    return checked


def refusing(read: Callable[[], object], failure: str) -> Callable[[], object]:
    """Return what reads, and fails if that succeeds."""

    def checked() -> None:
        read()
        raise AssertionError(failure)

    return checked


@attack
def npy_of_a_huge_shape(folder: Path) -> Callable[[], object]:
    """A header of 10¹² numbers in a file of 100 bytes."""
    (folder / "cube.npy").write_bytes(_npy_header("<u2", (10**6, 10**3, 10**3)))
    return cube(folder / "cube.npy")


@attack
def npy_of_a_long_header(folder: Path) -> Callable[[], object]:
    """A header of nested brackets."""
    header = b"(" * 65000 + b"\n"
    start = b"\x93NUMPY\1\0" + struct.pack("<H", len(header))
    (folder / "cube.npy").write_bytes(start + header)
    return cube(folder / "cube.npy")


@attack
def tivita_of_a_huge_shape(folder: Path) -> Callable[[], object]:
    """A header of 10¹² numbers in a file of 12 bytes."""
    (folder / "a_SpecCube.dat").write_bytes(struct.pack(">3i", 10**4, 10**4, 10**4))
    return cube(folder / "a_SpecCube.dat")


def _envi(folder: Path, **changes: object) -> Path:
    """Write an ENVI cube with changed keys of the header."""
    header, _ = write_cube(folder / "cube.hdr", SpectralCube(PIXELS, NM))
    text = header.read_text()
    for key, value in changes.items():
        text += f"{key.replace('_', ' ')} = {value}\n"
    header.write_text(text)
    return header


@attack
def envi_of_a_huge_shape(folder: Path) -> Callable[[], object]:
    """A header of 10²⁷ numbers."""
    return cube(_envi(folder, lines=10**9, samples=10**9, bands=10**9))


@attack
def envi_of_a_number_of_a_million_digits(folder: Path) -> Callable[[], object]:
    """A count of a million digits, which take long to convert."""
    return cube(_envi(folder, lines="9" * 1_000_000))


@attack
def envi_of_deep_brackets(folder: Path) -> Callable[[], object]:
    """Brackets within brackets."""
    return cube(_envi(folder, wavelength="{" * _DEPTH + "}" * _DEPTH))


@attack
def envi_of_control_characters(folder: Path) -> Callable[[], object]:
    """A data type that changes the colours of a terminal."""
    return cube(_envi(folder, data_type="\x1b[31m\x07"))


@attack
def envi_whose_data_is_a_pipe(folder: Path) -> Callable[[], object]:
    """A named pipe in place of the data file."""
    header = _envi(folder)
    (folder / "cube.dat").unlink()
    os.mkfifo(folder / "cube.dat")
    return cube(header)


@attack
def cube_that_is_a_pipe(folder: Path) -> Callable[[], object]:
    """Named pipes with the suffixes of cubes."""
    return _refused_each(folder, os.mkfifo)


@attack
def cube_that_is_a_device(folder: Path) -> Callable[[], object]:
    """Symbolic links to an endless device."""
    return _refused_each(folder, lambda path: path.symlink_to("/dev/zero"))


@attack
def cube_that_is_a_link_to_itself(folder: Path) -> Callable[[], object]:
    """Symbolic links to themselves."""
    return _refused_each(folder, lambda path: path.symlink_to(path.name))


@attack
def cube_that_is_a_folder(folder: Path) -> Callable[[], object]:
    """Folders with the suffixes of cubes."""
    return _refused_each(folder, Path.mkdir)


def _refused_each(folder: Path, make: Callable[[Path], object]) -> Callable[[], object]:
    """Make a path with each suffix; return what reads all of them, each of which is refused."""
    from carl.errors import CarlError

    paths = [folder / f"cube{suffix}" for suffix in (
        ".hdr", ".dat", ".tif", ".npy", ".npz", ".mat", ".h5", ".png", ".csv", ".yaml", ".carl",
        ".ckpt", ".safetensors",
    )]  # fmt: skip
    for path in paths:
        make(path)
    readers: dict[str, Callable[[Path], object]] = {
        ".png": read_labels,
        ".csv": read_wavelength_table,
        ".yaml": TrainConfig.from_file,
        ".carl": load_predictor,
        ".ckpt": read_training_state,
        ".safetensors": read_model,
    }

    def read() -> None:
        for path in paths:
            try:
                readers.get(path.suffix, lambda each: cube(each)())(path)
            except CarlError:
                continue
            raise AssertionError(f"{path.name} was read")

    return read


@attack
def table_that_is_a_pipe(folder: Path) -> Callable[[], object]:
    """Named pipes beside a cube and beside a label map."""
    np.save(folder / "cube.npy", PIXELS)
    for name in ("cube_wavelengths.csv", "cube.txt", "cube.json"):
        os.mkfifo(folder / name)
    write_labels(folder / "map.png", LABELS)
    os.mkfifo(folder / "map.json")

    def read() -> None:
        cube(folder / "cube.npy")()
        read_labels(folder / "map.png")

    return read


@attack
def table_of_a_hundred_megabytes(folder: Path) -> Callable[[], object]:
    """A table of 120 MB beside a cube of 1 kB."""
    np.save(folder / "cube.npy", PIXELS)
    with (folder / "cube.csv").open("w") as file:
        for _ in range(120):
            file.write("400.25,10\n" * 100_000)
    return cube(folder / "cube.npy")


@attack
def json_of_a_hundred_megabytes(folder: Path) -> Callable[[], object]:
    """JSON of 100 MB beside a cube of 1 kB."""
    np.save(folder / "cube.npy", PIXELS)
    (folder / "cube.json").write_text("[" + "1.25," * 20_000_000 + "1]")
    return cube(folder / "cube.npy")


@attack
def table_that_is_a_device(folder: Path) -> Callable[[], object]:
    """A symbolic link to an endless device beside a cube."""
    np.save(folder / "cube.npy", PIXELS)
    (folder / "cube.csv").symlink_to("/dev/zero")
    return cube(folder / "cube.npy")


@attack
def json_of_deep_lists(folder: Path) -> Callable[[], object]:
    """Nested lists beside a cube and beside a label map."""
    np.save(folder / "cube.npy", PIXELS)
    write_labels(folder / "map.png", LABELS)
    for name in ("cube.json", "map.json"):
        (folder / name).write_text("[" * _DEPTH + "]" * _DEPTH)

    def read() -> None:
        cube(folder / "cube.npy")()
        read_labels(folder / "map.png")

    return read


@attack
def classes_of_control_characters(folder: Path) -> Callable[[], object]:
    """Classes whose names change a terminal, or cannot be encoded."""
    write_labels(folder / "map.png", LABELS)
    names = ["\x1b[31mred", "\ud800", "two\nlines", "\x00"]
    listed = [{"value": value, "name": name} for value, name in enumerate(names, 1)]
    (folder / "map.json").write_text(json.dumps({"classes": listed}))

    def read() -> None:
        labels = read_labels(folder / "map.png")
        repr(labels).encode()
        write_labels(folder / "again.png", labels.labels, labels.classes)

    return read


@attack
def png_of_a_huge_size(folder: Path) -> Callable[[], object]:
    """A PNG header of 60 000 × 60 000 pixels."""
    head = struct.pack(">II5B", 60_000, 60_000, 8, 0, 0, 0, 0)
    return lambda: read_labels(_png(folder, head, zlib.compress(b"")))


@attack
def png_of_a_text_bomb(folder: Path) -> Callable[[], object]:
    """A PNG of one pixel with a comment of 3 GB."""
    head = struct.pack(">II5B", 1, 1, 8, 0, 0, 0, 0)
    return lambda: read_labels(_png(folder, head, zlib.compress(b"\0\1"), b"a\0\0" + zeros()))


def _png(folder: Path, head: bytes, pixels: bytes, comment: bytes = b"a\0\0") -> Path:
    """Write a PNG of a header, a compressed comment and compressed pixels."""
    chunks = (b"IHDR", head), (b"zTXt", comment), (b"IDAT", pixels), (b"IEND", b"")
    (folder / "map.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ))  # fmt: skip
    return folder / "map.png"


@attack
def labels_of_a_strip_bomb(folder: Path) -> Callable[[], object]:
    """A label map in TIFF whose strip holds 3 GB."""
    path = _tiff_with_strips(folder, zeros())
    return lambda: read_labels(path)


@attack
def yaml_of_many_laughs(folder: Path) -> Callable[[], object]:
    """Aliases of YAML that expand to 10⁹ texts."""
    text = "l0: &l0 [a]\n" + "".join(
        f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    return _recipe(folder, text + "output: *l9\nsteps: *l9\nmodel: *l9\n")


@attack
def yaml_of_laughs_in_known_keys(folder: Path) -> Callable[[], object]:
    """Aliases of YAML that expand to 10⁹ texts, in a key that exists."""
    lists = "&l0 [a, a]"
    for n in range(1, 30):
        lists = f"&l{n} [{lists}, *l{n - 1}]"
    return _recipe(folder, f"output: a.carl\nclasses: {lists}\n")


@attack
def yaml_of_itself(folder: Path) -> Callable[[], object]:
    """A list and a table that contain themselves."""
    return _recipe(folder, "output: a.carl\nclasses: &a [*a]\nhead: &b {name: *b}\n")


@attack
def yaml_of_deep_lists(folder: Path) -> Callable[[], object]:
    """Nested lists and tables."""
    return _recipe(folder, "output: " + "[" * _DEPTH + "\n")


@attack
def yaml_of_objects(folder: Path) -> Callable[[], object]:
    """A tag that runs code in an unsafe loader."""
    trap = f'!!python/object/apply:os.mkdir ["{folder / "trap"}"]'
    return untouched(folder, _recipe(folder, f"output: {trap}\n"))


def _recipe(folder: Path, text: str) -> Callable[[], object]:
    (folder / "train.yaml").write_text(text)
    return lambda: TrainConfig.from_file(folder / "train.yaml")


@attack
def network_of_a_million_blocks(folder: Path) -> Callable[[], object]:
    """A configuration of 10⁶ blocks, which take long to build."""
    (folder / "network.json").write_text('{"spec_encoder_kwargs": {"depth": 1000000}}')
    return lambda: build_model(CARLConfig.from_file(folder / "network.json"))


@attack
def network_of_huge_layers(folder: Path) -> Callable[[], object]:
    """A configuration of layers of 10⁶ × 10⁶ weights."""
    (folder / "network.json").write_text('{"spec_encoder_kwargs": {"embed_dim": 1200000}}')
    return lambda: build_model(CARLConfig.from_file(folder / "network.json"))


def _changed_model(folder: Path, part: str, **values: object) -> Path:
    """Write a network whose header states another configuration."""
    save_model(tiny_network(), folder / "a.safetensors")
    content = (folder / "a.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    table = json.loads(content[8 : 8 + length])
    header = json.loads(table["__metadata__"]["carl"])
    table["__metadata__"].pop("crc32", None)
    header["config"][part] |= values
    table["__metadata__"]["carl"] = json.dumps(header)
    changed = json.dumps(table).encode()
    (folder / "a.safetensors").write_bytes(
        struct.pack("<Q", len(changed)) + changed + content[8 + length :]
    )
    return folder / "a.safetensors"


@attack
def model_of_a_million_blocks(folder: Path) -> Callable[[], object]:
    """A file of a network whose header states 10⁶ blocks."""
    path = _changed_model(folder, "spec_encoder_kwargs", depth=10**6)
    return lambda: read_model(path)


@attack
def model_of_huge_layers(folder: Path) -> Callable[[], object]:
    """A file of a network whose header states layers of 10¹⁰ weights."""
    path = _changed_model(folder, "spec_encoder_kwargs", embed_dim=240_000)
    return lambda: read_model(path)


@attack
def model_of_a_huge_backbone(folder: Path) -> Callable[[], object]:
    """A file of a network whose header states a backbone of 10⁶ blocks."""
    path = _changed_model(folder, "spat_encoder_kwargs", model_kwargs={"depth": 10**6})
    return lambda: read_model(path)


@attack
def model_of_an_object(folder: Path) -> Callable[[], object]:
    """A file of a network whose header asks the backbone for downloads and files."""
    path = _changed_model(
        folder,
        "spat_encoder_kwargs",
        model_kwargs={"pretrained": True, "checkpoint_path": "/dev/zero"},
    )
    return lambda: read_model(path)


@attack
def safetensors_of_a_huge_header(folder: Path) -> Callable[[], object]:
    """A header of 2⁶³ bytes in a file of 100 bytes."""
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", 2**63) + b" " * 92)
    (folder / "a.carl").write_bytes(struct.pack("<Q", 2**40) + b" " * 92)

    def read() -> None:
        from carl.errors import ModelError

        try:
            load_predictor(folder / "a.carl")
        except ModelError:
            read_model(folder / "a.safetensors")

    return read


@attack
def segmenter_of_a_huge_colour(folder: Path) -> Callable[[], object]:
    """A segmenter whose classes have a value and a colour of 400 digits."""
    pixels, labels = training_cube()
    path = folder / "a.carl"
    Segmenter().fit(pixels, labels).save(path)
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    table = json.loads(content[8 : 8 + length])
    table["__metadata__"].pop("crc32", None)
    (key,) = table["__metadata__"]
    header = json.loads(table["__metadata__"][key])
    header["classes"][0][0] = 10**400
    header["classes"][1][2] = [10**400, 0, -1]
    table["__metadata__"][key] = json.dumps(header)
    changed = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(changed)) + changed + content[8 + length :])
    return lambda: load_predictor(path, "cpu").predict(pixels).labels


@attack
def features_bomb(folder: Path) -> Callable[[], object]:
    """Saved features whose metadata is a text of 3 GB."""
    _zip(folder / "cube.npz", "metadata.npy", _npy_header("<U800000000", ()))
    return lambda: Embedding.load(folder / "cube.npz")
