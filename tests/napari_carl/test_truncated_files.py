"""Files that become shorter while a cube of them is open: every read ends in an error of CARL.

The reads are made in other processes, as the operating system ends a process that reads a part of a
memory map that its file no longer has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile

from carl.cli.files import InterruptibleArray
from carl.cube import SpectralCube
from carl.errors import CarlError
from carl.io import chunked, read_cube, write_cube
from carl.spectra.colour import true_colour
from carl.spectra.normalise import check_pixels
from napari_carl.layer_data import BandStack, band_stack, cube_layer, every_nth_pixel

PIXELS = np.random.default_rng(0).integers(1, 4000, (61, 47, 25)).astype("<u2")
NM = np.linspace(420, 700, PIXELS.shape[2])

FINE, FAILED, WRONG, OTHER = "fine", "failed", "wrong", "other exception"
"""Outcomes of a read: the right values, an error of CARL, other values, and any other exception."""


def write_envi(interleave: str, folder: Path) -> Path:
    axes = {"bip": (0, 1, 2), "bil": (0, 2, 1), "bsq": (2, 0, 1)}[interleave]
    lines, samples, bands = PIXELS.shape
    (folder / "cube.hdr").write_text(
        f"ENVI\nsamples = {samples}\nlines = {lines}\nbands = {bands}\ndata type = 12\n"
        f"interleave = {interleave}\nbyte order = 0\nwavelength = {{{', '.join(map(str, NM))}}}\n"
    )
    (folder / "cube.dat").write_bytes(PIXELS.transpose(axes).tobytes())
    return folder / "cube.dat"


def write_npy(order: Any, folder: Path) -> Path:
    np.save(folder / "cube.npy", np.asarray(PIXELS, order=order))
    return folder / "cube.npy"


def write_npz(folder: Path) -> Path:
    np.savez(folder / "cube.npz", cube=PIXELS, wavelengths=NM)
    return folder / "cube.npz"


def write_matlab(folder: Path) -> Path:
    scipy.io.savemat(folder / "cube.mat", {"cube": PIXELS, "wavelengths": NM})
    return folder / "cube.mat"


def write_tiff(options: Mapping[str, Any], folder: Path) -> Path:
    tifffile.imwrite(folder / "cube.tif", np.moveaxis(PIXELS, -1, 0), **options)
    return folder / "cube.tif"


def write_tivita(folder: Path) -> Path:
    stored = PIXELS.transpose(1, 0, 2)[:, ::-1].astype(">f4")
    path = folder / "cube_SpecCube.dat"
    path.write_bytes(np.array(stored.shape, ">i4").tobytes() + stored.tobytes())
    return path


def write_hdf5(name: str, options: Mapping[str, Any], folder: Path) -> Path:
    with h5py.File(folder / name, "w") as file:
        file.create_dataset("cube", data=PIXELS if name == "cube.h5" else PIXELS.T, **options)
        file["wavelengths"] = NM
    return folder / name


FORMATS: dict[str, Callable[[Path], Path]] = {
    "ENVI bip": partial(write_envi, "bip"),
    "ENVI bil": partial(write_envi, "bil"),
    "ENVI bsq": partial(write_envi, "bsq"),
    "npy": partial(write_npy, "C"),
    "npy in Fortran order": partial(write_npy, "F"),
    "npz": write_npz,
    "MATLAB 5": write_matlab,
    "MATLAB 7.3": partial(write_hdf5, "cube.mat", {}),
    "TIFF": partial(write_tiff, {}),
    "TIFF in strips": partial(write_tiff, {"rowsperstrip": 7, "compression": "zlib"}),
    "Tivita": write_tivita,
    "HDF5": partial(write_hdf5, "cube.h5", {}),
    "HDF5 in bands": partial(write_hdf5, "cube.h5", {"chunks": (61, 47, 13)}),
    "HDF5 in small chunks": partial(write_hdf5, "cube.h5", {"chunks": (4, 4, 25)}),
    "HDF5 compressed": partial(
        write_hdf5, "cube.h5", {"chunks": (61, 47, 13), "compression": "gzip", "shuffle": True}
    ),
    "HDF5 with checksums": partial(
        write_hdf5, "cube.h5", {"chunks": (61, 47, 13), "compression": "gzip", "fletcher32": True}
    ),
}

INDICES: dict[str, Any] = {
    "first spectrum": (0, 0),
    "spectrum": (30, 20),
    "last spectrum": (-1, -1),
    "first number": (0, 0, 0),
    "last number": (-1, -1, -1),
    "window": (slice(20, 24), slice(30, 33)),
    "short runs": (slice(5, 50), slice(7, 9), slice(3, 5)),
    "row": 17,
    "rows": slice(10, 40),
    "column": (slice(None), 46),
    "band": (..., 11),
    "last band": (..., slice(-1, None)),
    "steps": (slice(None, None, 7), slice(1, None, 5), slice(2, None, 3)),
    "rows reversed": slice(None, None, -1),
    "columns reversed": (slice(None), slice(None, None, -1)),
    "bands reversed": (..., slice(None, None, -2)),
    "all reversed": (slice(40, 3, -3), slice(None, None, -2), slice(None, 1, -1)),
    "list of rows": [3, 60, 3],
    "pixels": ([0, 30, 60], [46, 20, 0]),
    "mask": PIXELS[..., 3] > 3000,
    "everything": ...,
}


def reads_of(path: Path) -> dict[str, Callable[[], Any]]:
    """Open the cube of a file and return reads by name; they return parts of `PIXELS`."""
    cube = read_cube(path)
    layer = cube_layer(read_cube(path))[0]  # with chunks of its own in the cache
    interruptible = InterruptibleArray(cube.data)
    coarse = BandStack(read_cube(path), 2)
    reads: dict[str, Callable[[], Any]] = {
        name: (lambda key=key: cube.data[key]) for name, key in INDICES.items()
    }
    return reads | {
        "cube.read": lambda: cube.read(slice(2, 60, 3)),
        "cube.to_numpy": cube.to_numpy,
        "cube.spectrum": lambda: cube.spectrum(60, 46),
        "good bands": lambda: without_band(cube, 12).spectrum(60, 46),
        "interruptible": lambda: interruptible[:, 46],
        "check": lambda: check_pixels(cube),
        "colours": lambda: true_colour(cube),
        "written": lambda: write_cube(path.with_name("copy.hdr"), cube),
        "preview": lambda: every_nth_pixel(cube, 4).data,
        "layer": lambda: layer[11],
        "layer reversed": lambda: layer[::-1, 40:, 5],
        "layer of a copy": lambda: band_stack(cube)[24, ::2],
        "whole layer": lambda: np.asarray(layer),
        "coarse layer": lambda: coarse[3, 5:20],
        "representation": lambda: (repr(cube), cube._repr_html_(), repr(layer)),
    }


def without_band(cube: SpectralCube, band: int) -> SpectralCube:
    good = np.arange(cube.n_bands) != band
    return SpectralCube(cube.data, NM, good_bands=good).usable_bands()


def expected() -> dict[str, Any]:
    """Return what some of the reads give in a file that is complete."""
    bands_first = np.moveaxis(PIXELS, -1, 0)
    return {name: PIXELS[key] for name, key in INDICES.items()} | {
        "cube.read": PIXELS[2:60:3],
        "cube.to_numpy": PIXELS,
        "cube.spectrum": PIXELS[60, 46],
        "good bands": np.delete(PIXELS[60, 46], 12),
        "interruptible": PIXELS[:, 46],
        "preview": PIXELS[::4, ::4],
        "layer": bands_first[11],
        "layer reversed": bands_first[::-1, 40:, 5],
        "layer of a copy": bands_first[24, ::2],
        "whole layer": bands_first,
        "coarse layer": bands_first[3, 10:40:2, ::2],
    }


def outcome(name: str, read: Callable[[], Any]) -> str:
    try:
        values = read()
    except CarlError:
        return FAILED
    except BaseException as error:
        return f"{OTHER}: {error!r}"
    right = expected().get(name)
    return FINE if right is None or np.array_equal(np.asarray(values), right) else WRONG


def outcomes(reads: Mapping[str, Callable[[], Any]]) -> dict[str, str]:
    """Return the outcomes of reads made in a process of its own, up to the one that ends it."""
    receive, send = os.pipe()
    process = os.fork()
    if process == 0:
        for name, read in reads.items():
            os.write(send, f"{json.dumps({name: outcome(name, read)})}\n".encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, encoding="utf-8") as pipe:
        found = {name: result for line in pipe for name, result in json.loads(line).items()}
    status = os.waitpid(process, 0)[1]
    return found if status == 0 else found | {"after these": f"ended by signal {status & 127}"}


def main(folder: Path) -> None:
    """Print the outcomes of all reads of the file in each folder, as JSON.

    There are three outcomes each: of the whole file, of half of it, and when it is empty.
    """
    found = {}
    for path in folder.glob("*/cube*.*"):
        if path.suffix == ".hdr":
            continue
        reads = reads_of(path)
        chunked._cache.discard(lambda key: True)  # chunks that the contrast was measured on
        n_bytes = path.stat().st_size
        per_size = []
        for size in (n_bytes, n_bytes // 2, 0):
            os.truncate(path, size)
            per_size.append(outcomes(reads))
        found[path.parent.name] = per_size
    print(json.dumps(found))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """Outcomes of the reads of every format."""
    folder = tmp_path_factory.mktemp("truncated")
    for name, write in FORMATS.items():
        (folder / name).mkdir()
        write(folder / name)
    command = (sys.executable, __file__, str(folder))
    result: dict[str, list[dict[str, str]]] = json.loads(
        subprocess.check_output(command, text=True)
    )
    return result


@pytest.mark.skipif(not hasattr(os, "fork"), reason="reads are made in forked processes")
@pytest.mark.parametrize("name", FORMATS)
def test_every_read_of_a_file_that_became_shorter_is_an_error(
    found: dict[str, list[dict[str, str]]], name: str
) -> None:
    whole, half, empty = found[name]
    assert whole == dict.fromkeys(whole, FINE)
    assert set(half.values()) == {FINE, FAILED}
    assert empty == dict.fromkeys(whole, FAILED) | {"representation": FINE}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
