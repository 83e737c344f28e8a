"""Zarr folders and OME-Zarr images, as zarr writes them, and damaged or hostile ones."""

from __future__ import annotations

import json
import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr

from carl.errors import CubeError
from carl.io import identify_cube, is_readable, read_cube

PIXELS = np.arange(6 * 7 * 12, dtype=np.uint16).reshape(6, 7, 12)
NM = np.arange(400.0, 520.0, 10.0)
LABELS = {"channels": [{"label": f"{nm:g} nm"} for nm in NM]}


def write_image(
    path: Path, *, version: str = "0.4", shape: str = "tczyx", n_times: int = 1, **attributes: Any
) -> Path:
    """Write an OME-Zarr image with the bands along c, and a smaller copy as second level."""
    order = {"t": n_times, "c": 12, "z": 1, "y": 6, "x": 7}
    bands_first = np.moveaxis(PIXELS, -1, 0)[:, None]
    stack = np.stack([bands_first] * n_times)
    pixels = stack[tuple(slice(None) if axis in shape else 0 for axis in order)]
    kinds = {"t": "time", "c": "channel"}
    axes = [
        {"name": axis, "type": kinds.get(axis, "space")}
        | ({"unit": "micrometer"} if axis in "yx" else {})
        for axis in shape
    ]
    scale = [{"y": 0.5, "x": 0.25}.get(axis, 1.0) for axis in shape]
    image = {
        "axes": axes,
        "datasets": [
            {"path": level, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
            for level in "01"
        ],
    }
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("0", data=pixels, chunks=(*[1] * (len(shape) - 2), 4, 4))
    group.create_array("1", data=pixels[..., ::2, ::2])
    if version == "0.4":
        group.attrs.update({"multiscales": [{"version": version, **image}], **attributes})
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [image], **attributes}
    return path


@pytest.mark.parametrize("shape", ["tczyx", "cyx", "czyx", "yxc"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_full_resolution_of_an_image_is_one_cube(tmp_path: Path, version: str, shape: str):
    path = write_image(tmp_path / "scan.zarr", version=version, shape="tczyx", omero=LABELS)
    if shape != "tczyx":
        path = tmp_path / "other.zarr"
        order = "cyx" if shape == "yxc" else shape
        write_image(path, version=version, shape=order, omero=LABELS)
    cube = read_cube(path)
    assert np.array_equal(cube.data[...], PIXELS)
    assert np.array_equal(cube.wavelengths, NM)
    assert cube.metadata["pixel_size"] == (0.5, 0.25)
    assert cube.metadata["pixel_unit"] == "µm"
    assert cube.metadata["format"] == "OME-Zarr"
    assert cube.name == path.stem
    assert is_readable(path)
    assert identify_cube(path) == path.resolve()


def test_frames_of_an_image_are_not_guessed(tmp_path: Path):
    path = write_image(tmp_path / "film.zarr", n_times=3)
    with pytest.raises(CubeError, match=r"film.zarr is several cubes, with the axes t \(3\)"):
        read_cube(path)
    assert read_cube(path, frame=2).n_bands == read_cube(path, frame="t=0").n_bands == 12


def test_one_of_several_images_is_chosen_by_its_path(tmp_path: Path):
    for name in ("a", "b"):
        write_image(tmp_path / "plate.zarr" / name)
    zarr.open_group(tmp_path / "plate.zarr", mode="a", zarr_format=2)
    with pytest.raises(CubeError, match=r"plate.zarr holds several cubes"):
        read_cube(tmp_path / "plate.zarr")
    assert np.array_equal(read_cube(tmp_path / "plate.zarr", variable="b/0").data[...], PIXELS)


COMPRESSORS_2 = [
    None, numcodecs.Blosc(), numcodecs.Zstd(), numcodecs.LZ4(), numcodecs.Zlib(), numcodecs.GZip(),
    numcodecs.BZ2(), numcodecs.LZMA(),
]  # fmt: skip


@pytest.mark.parametrize("compressor", COMPRESSORS_2, ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_format_2(tmp_path: Path, compressor: Any, order: str):
    zarr.create_array(
        tmp_path / "scan.zarr",
        data=PIXELS,
        chunks=(4, 3, 5),
        zarr_format=2,
        order=order,
        compressors=compressor,
        filters=[numcodecs.Delta(dtype="u2")],
        attributes={"wavelengths": [*NM / 1000], "wavelength_units": "um"},
    )
    cube = read_cube(tmp_path / "scan.zarr")
    assert np.array_equal(cube.data[...], PIXELS)
    assert np.array_equal(cube.data[1:5:2, ::-1, 3], PIXELS[1:5:2, ::-1, 3])
    assert cube.wavelengths == pytest.approx(NM)


@pytest.mark.parametrize(
    "compressor",
    [None, zarr.codecs.BloscCodec(), zarr.codecs.ZstdCodec(), zarr.codecs.GzipCodec()],
)
@pytest.mark.parametrize("shards", [None, (4, 6, 12)])
def test_arrays_of_format_3(tmp_path: Path, compressor: Any, shards: Any):
    array = zarr.create_array(
        tmp_path / "scan.zarr", shape=(12, 6, 7), chunks=(2, 3, 4), compressors=compressor,
        shards=shards and (4, 6, 8), dtype=">i2", dimension_names=["wavelength", "y", "x"],
    )  # fmt: skip
    array[...] = np.moveaxis(PIXELS, -1, 0)
    assert np.array_equal(read_cube(tmp_path / "scan.zarr").data[...], PIXELS)


def test_xarray_layout_with_scale_and_coordinate(tmp_path: Path):
    group = zarr.open_group(tmp_path / "scene.zarr", mode="w", zarr_format=2)
    cube = group.create_array("reflectance", data=np.moveaxis(PIXELS, -1, 1))
    cube.attrs.update({"_ARRAY_DIMENSIONS": ["y", "band", "x"], "scale_factor": 1e-4,
                       "add_offset": 0.5, "_FillValue": 9})  # fmt: skip
    group.create_array("wavelength", data=NM / 1000).attrs.update({"units": "micrometers"})
    read = read_cube(tmp_path / "scene.zarr")
    assert read.wavelengths == pytest.approx(NM)
    assert (read.scale, read.offset, read.nodata) == (1e-4, 0.5, 9.0)
    expected = np.where(PIXELS == 9, np.nan, PIXELS * 1e-4 + 0.5)
    assert np.allclose(read.to_numpy(), expected, equal_nan=True)


def test_chunks_without_files_are_noted(tmp_path: Path):
    path = tmp_path / "scan.zarr"
    zarr.create_array(path, data=PIXELS + 1, chunks=(3, 7, 12))
    (path / "c" / "1" / "0" / "0").unlink()
    cube = read_cube(path)
    assert "1 of 2 chunks have no file and are read as 0" in cube.metadata["notes"][0]
    assert np.array_equal(cube.data[:3], PIXELS[:3] + 1)
    assert not cube.data[3:].any()


def test_a_removed_folder_is_an_error(tmp_path: Path):
    path = tmp_path / "scan.zarr"
    zarr.create_array(path, data=PIXELS)
    cube = read_cube(path)
    shutil.rmtree(path)
    with pytest.raises(CubeError, match=r"scan.zarr was removed while it was being read"):
        cube.read()


def test_address_on_the_network(tmp_path: Path):
    pytest.importorskip("aiohttp")
    write_image(tmp_path / "scan.zarr", omero=LABELS)
    handler = partial(_QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/scan.zarr"
        for given in (address, Path(address)):
            cube = read_cube(given)
            assert np.array_equal(cube.data[...], PIXELS)
            assert np.array_equal(cube.wavelengths, NM)
        with pytest.raises(CubeError, match=r"absent.zarr"):
            read_cube(address.replace("scan", "absent"))
        server.shutdown()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_links_out_of_the_folder_are_refused(tmp_path: Path):
    path = tmp_path / "scan.zarr"
    zarr.create_array(path, data=PIXELS, chunks=PIXELS.shape, compressors=None)
    chunk = path / "c" / "0" / "0" / "0"
    secret = shutil.move(chunk, tmp_path / "secret")
    chunk.symlink_to(secret)
    with pytest.raises(CubeError, match="link that leads out of the folder"):
        read_cube(path).read()


@pytest.mark.parametrize("name", ["../other.zarr", "/etc", "a/../../other.zarr"])
def test_paths_out_of_the_folder_are_refused(tmp_path: Path, name: str):
    zarr.create_array(tmp_path / "other.zarr", data=PIXELS, zarr_format=2)
    path = write_image(tmp_path / "scan.zarr")
    _edit(path / ".zattrs", lambda each: each["multiscales"][0]["datasets"][0].update(path=name))
    with pytest.raises(CubeError, match=r"scan.zarr"):
        read_cube(path)


def test_a_named_pipe_does_not_block(tmp_path: Path):
    path = tmp_path / "scan.zarr"
    zarr.create_array(path, data=PIXELS, chunks=PIXELS.shape, compressors=None)
    chunk = path / "c" / "0" / "0" / "0"
    chunk.unlink()
    os.mkfifo(chunk)
    with pytest.raises(CubeError, match="not a regular file"):
        read_cube(path).read()


@pytest.mark.parametrize("codec", ["pickle", "json2", "vlen-bytes"])
def test_filters_that_could_run_code_are_refused(tmp_path: Path, codec: str):
    path = tmp_path / "scan.zarr"
    zarr.create_array(path, data=PIXELS, zarr_format=2)
    _edit(path / ".zarray", lambda each: each.update(filters=[{"id": codec}]))
    with pytest.raises(CubeError, match=r"scan.zarr"):
        read_cube(path)


def test_unknown_codecs_are_one_sentence(tmp_path: Path):
    path = tmp_path / "scan.zarr"
    zarr.create_array(path, data=PIXELS)
    _edit(path / "zarr.json", lambda each: each["codecs"].append({"name": "brotli"}))
    with pytest.raises(CubeError, match=r"scan.zarr cannot be read as Zarr \(.*brotli"):
        read_cube(path)


def test_large_descriptions_are_refused(tmp_path: Path):
    path = tmp_path / "scan.zarr"
    zarr.create_array(path, data=PIXELS)
    _edit(path / "zarr.json", lambda each: each.update(attributes={"x": "y" * (9 << 20)}))
    with pytest.raises(CubeError, match=r"zarr.json in scan.zarr has 9 MB"):
        read_cube(path)


@pytest.mark.parametrize("side", [10**5, 10**9])
def test_chunks_larger_than_the_memory_are_refused(tmp_path: Path, side: int):
    path = tmp_path / "scan.zarr"
    zarr.create_array(path, shape=PIXELS.shape, chunks=PIXELS.shape, dtype="u2")
    grid = {"chunk_shape": [side, side, 12]}
    _edit(path / "zarr.json", lambda each: each["chunk_grid"].update(configuration=grid))
    with pytest.raises(CubeError, match="memory"):
        read_cube(path)


def test_many_tiny_chunks_are_refused(tmp_path: Path):
    path = tmp_path / "scan.zarr"
    zarr.create_array(path, shape=(6, 7_000_000, 12), chunks=(6, 7, 1), dtype="u2")
    with pytest.raises(CubeError, match="12000000 chunks of 84 bytes, too many to read"):
        read_cube(path)


def test_large_cubes_open_without_reading_them(tmp_path: Path):
    path = tmp_path / "large.zarr"
    zarr.create_array(path, shape=(40_000, 50_000, 250), chunks=(64, 64, 250), dtype="u2")
    assert not read_cube(path).data[-2:, -3:, -4:].any()


def _edit(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
