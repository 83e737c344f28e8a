"""HDF5 files with references to other files, cycles, misleading sizes and every kind of chunk."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carl.errors import CubeError
from carl.io import hdf5, read_cube
from carl.mapped_files import FileArray

CUBE = np.random.default_rng(0).integers(0, 4000, (60, 50, 40)).astype("<u2")


def write(path: Path, **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("cube", data=CUBE, **options)
    return path


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_layout_gives_the_same_cube(tmp_path: Path, data: st.DataObject) -> None:
    options: dict[str, Any] = {"dtype": data.draw(st.sampled_from(["<u2", ">u2", "<f4", ">f8"]))}
    if data.draw(st.booleans()):
        options["chunks"] = data.draw(st.tuples(*(st.integers(5, n) for n in CUBE.shape)))
        compression = data.draw(st.sampled_from([None, "gzip", "lzf"]))
        options |= {"compression": compression, "shuffle": data.draw(st.booleans())}
        options["fletcher32"] = data.draw(st.booleans())
    path = tmp_path / "a.h5"
    path.unlink(missing_ok=True)
    cube = read_cube(write(path, **options))
    rows = data.draw(st.slices(CUBE.shape[0]))
    assert np.array_equal(cube.data[rows, :, 3::7], CUBE[rows, :, 3::7])
    if "chunks" not in options:
        assert isinstance(cube.data, FileArray)


def test_checksums_of_large_chunks_are_checked(tmp_path: Path) -> None:
    options = {"chunks": (60, 50, 40), "fletcher32": True}
    path = write(tmp_path / "a.h5", **options)
    with h5py.File(path) as file:
        start = file["cube"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[start + 777] ^= 1
    path.write_bytes(content)
    cube = read_cube(path)
    with pytest.raises(CubeError, match=r"a\.h5 cannot be read as HDF5"):
        cube.spectrum(0, 0)


def test_chunks_that_were_never_written_have_the_fill_value(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        cube = file.create_dataset("cube", CUBE.shape, "u2", chunks=(30, 50, 40), fillvalue=7)
        cube[:30] = CUBE[:30]
    pixels = read_cube(tmp_path / "a.h5").data
    assert np.array_equal(pixels[:30], CUBE[:30])
    assert np.all(pixels[30:] == 7)


@pytest.mark.parametrize("chunks", [None, (30, 50, 40)])
def test_a_cube_that_was_never_written_is_refused(
    tmp_path: Path, chunks: tuple[int, ...] | None
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("cube", CUBE.shape, "u2", chunks=chunks)
    with pytest.raises(CubeError, match=r"/cube in a\.h5 has no pixels: nothing was written"):
        read_cube(tmp_path / "a.h5")


def test_booleans_are_read_by_the_library(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = CUBE > 2000
    cube = read_cube(tmp_path / "a.h5")
    assert cube.data.dtype == bool
    assert np.array_equal(cube.data, CUBE > 2000)


def external(file: h5py.File) -> None:
    file.create_dataset("cube", CUBE.shape, "u2", external=[("/etc/passwd", 0, CUBE.nbytes)])


def link_to_another_file(file: h5py.File) -> None:
    file["cube"] = h5py.ExternalLink("other.h5", "cube")


def virtual(file: h5py.File, source: str, name: str, n_rows: int | None) -> None:
    """Write a virtual dataset, with as many rows as its source if `n_rows` is None."""
    height, *others = CUBE.shape
    unlimited = h5py.h5s.UNLIMITED
    largest = (unlimited, *others) if n_rows is None else (height, *others)
    space = h5py.h5s.create_simple((height, *others), largest)
    selected = h5py.h5s.create_simple((height, *others), largest)
    selected.select_hyperslab((0, 0, 0), (1, 1, 1), block=(n_rows or unlimited, *others))
    options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    options.set_virtual(selected, source.encode(), name.encode(), selected)
    h5py.h5d.create(file.id, b"cube", h5py.h5t.STD_U16LE, space, dcpl=options)


ESCAPES: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "external storage": (external, "stores its pixels in other files"),
    "link": (link_to_another_file, "is a link to another file"),
    "virtual file": (lambda file: virtual(file, "other.h5", "cube", 60), "consists of other"),
    "virtual, any size": (lambda file: virtual(file, "other.h5", "cube", None), "consists of"),
    "virtual pipe": (lambda file: virtual(file, "pipe", "cube", 60), "consists of other"),
    "virtual pipe, any size": (lambda file: virtual(file, "pipe", "cube", None), "consists of"),
    "virtual device": (lambda file: virtual(file, "/dev/zero", "cube", 60), "consists of other"),
    "virtual of itself": (
        lambda file: virtual(file, ".", "cube", 60),
        "consists of other files or of virtual",
    ),
    "itself, any size": (
        lambda file: virtual(file, ".", "cube", None),
        "consists of other files or of virtual",
    ),
    "virtual of missing": (lambda file: virtual(file, ".", "other", 60), "consists of other"),
}


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("variable", [None, "cube", "/cube/"])
def test_pixels_outside_the_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, variable: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "other.h5")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    write_escape, reason = ESCAPES[name]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        write_escape(file)
    with pytest.raises(CubeError, match=rf"^cube in a\.h5 {reason}.*any file of this computer"):
        read_cube(tmp_path / "a.h5", variable=variable)


def test_what_is_outside_the_file_does_not_hide_a_cube(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        external(file)
        file["pixels"] = CUBE
    assert read_cube(tmp_path / "a.h5").metadata["variable"] == "pixels"
    with pytest.raises(CubeError, match=r"cube in a\.h5 stores its pixels in other files"):
        read_cube(tmp_path / "a.h5", variable="cube")


def test_a_virtual_dataset_of_the_same_file_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        layout = h5py.VirtualLayout((*CUBE.shape[:2], 80), "u2")
        for n, name in enumerate(("left", "right")):
            file.create_dataset(f"parts/{name}/x", data=CUBE[0] + n, compression="gzip")
            file[f"cubes/{name}"] = CUBE + n
            source = h5py.VirtualSource(".", f"cubes/{name}", CUBE.shape)
            layout[..., 40 * n : 40 * (n + 1)] = source
        file.create_virtual_dataset("both", layout)
    cube = read_cube(tmp_path / "a.h5", variable="both")
    assert np.array_equal(cube.data, np.concatenate([CUBE, CUBE + 1], axis=2))


def test_cycles_of_links_are_followed_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/b/cube"] = CUBE
        file["a/b/up"] = file["a"]
        file["a/b/self"] = file["a/b"]
        file["soft"] = h5py.SoftLink("/soft")
        file["a/to"] = h5py.SoftLink("/a/fro")
        file["a/fro"] = h5py.SoftLink("/a/to")
        file["again"] = h5py.SoftLink("/a/b/cube")
    cube = read_cube(tmp_path / "a.h5")
    assert cube.metadata["variable"] == "a/b/cube"
    assert np.array_equal(cube.data, CUBE)


def test_the_depth_and_the_number_of_groups_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file["/".join("g" * 100) + "/cube"] = CUBE
    with pytest.raises(CubeError, match=r"deep\.h5 has more than .* 32 levels of groups"):
        read_cube(tmp_path / "deep.h5")
    monkeypatch.setattr(hdf5, "_MAX_OBJECTS", 100)
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        file["cube"] = CUBE
        for n in range(101):
            file.create_group(str(n))
    with pytest.raises(CubeError, match=r"wide\.h5 has more than 100 objects"):
        read_cube(tmp_path / "wide.h5")


def bomb(path: Path, chunks: tuple[int, ...], n_bytes: int, **options: Any) -> Path:
    """Write a cube with a chunk whose stream expands to a number of bytes."""
    with h5py.File(path, "w") as file:
        options = {"chunks": chunks, "compression": "gzip", **options}
        cube = file.create_dataset("cube", tuple(2 * n for n in chunks), "u1", **options)
        packer = zlib.compressobj(9)
        start = packer.flush(zlib.Z_FULL_FLUSH)
        megabyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
        cube.id.write_direct_chunk((0, 0, 0), start + (n_bytes >> 20) * megabyte)
    return path


BOMBS: dict[str, Callable[[Path], Path]] = {
    "a stream longer than its chunk": lambda path: bomb(path, (64, 64, 64), 1 << 30),
    "in a small chunk": lambda path: bomb(path, (8, 8, 8), 1 << 30),
    "with a checksum": lambda path: bomb(path, (64, 64, 64), 1 << 30, fletcher32=True),
    "a large chunk": lambda path: bomb(path, (1024, 1024, 1024), 1 << 30),
    "a huge chunk": lambda path: bomb(path, (1024, 1024, 4000), 1 << 20),
}

READ = """
import sys
from carl.errors import CubeError
from carl.io import read_cube
for path in sys.argv[1:]:
    try:
        read_cube(path).spectrum(0, 0)
    except CubeError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is that of Linux")
def test_chunks_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    paths = [str(make(tmp_path / f"{n}.h5")) for n, make in enumerate(BOMBS.values())]
    limit = 900 << 20

    def limit_memory() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    command = (sys.executable, "-c", READ, *paths)
    found = subprocess.check_output(command, text=True, preexec_fn=limit_memory)
    assert len(found.splitlines()) == len(BOMBS)
    assert "needs more memory" not in found
    assert "Traceback" not in found


def test_filters_that_contradict_the_chunks_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("cube", data=CUBE, chunks=(7, 9, 11), scaleoffset=0)
    assert np.array_equal(read_cube(tmp_path / "a.h5").data, CUBE)
    stated = np.array([7 * 9 * 11], "<u4").tobytes()
    content = (tmp_path / "a.h5").read_bytes()
    assert content.count(stated) == 1
    (tmp_path / "a.h5").write_bytes(content.replace(stated, np.array([1 << 30], "<u4").tobytes()))
    with pytest.raises(CubeError, match="the size of its chunks is contradictory"):
        read_cube(tmp_path / "a.h5")


@pytest.mark.parametrize("n_before", [0, 1 << 25])
def test_a_damaged_heap_is_refused(tmp_path: Path, n_before: int) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["before"] = np.zeros(n_before + 1, np.uint8)
        file["cube"] = CUBE
        file["cube"].attrs["wavelength"] = np.arange(400.0, 440)
        file["cube"].attrs["wavelength_units"] = "nm"
    assert read_cube(path).require_wavelengths()[0] == 400
    content = bytearray(path.read_bytes())
    size_of_first_object = content.index(b"GCOL") + 24
    content[size_of_first_object] = 200  # the next one would begin within a gap
    path.write_bytes(content)
    with pytest.raises(CubeError, match=r"a\.h5 is damaged"):
        read_cube(path)
