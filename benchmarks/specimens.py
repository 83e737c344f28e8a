"""A small intact file of every format that the project reads, and how the project reads it."""

from __future__ import annotations

import json
import pickle
import struct
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import scipy.io
import tifffile
import torch
from container_files import czi, emit, enmap, headwall, netcdf_3, ome_zarr, prisma, zarr_3
from mutations import (
    Mutation,
    any_numbers,
    by_chance,
    flipped,
    hdf5_rebuilt,
    json_mutated,
    leading_numbers,
    matlab_mutated,
    matlab_numbers,
    npy_mutated,
    numbers_changed,
    png_mutated,
    rearranged,
    safetensors_mutated,
    text_mutated,
    tiff_described,
    tiff_numbers,
    yaml_mutated,
    zip_numbers,
    zip_rebuilt,
)

from carl.cube import SpectralCube
from carl.inference import Embedding
from carl.io import (
    ChoiceError,
    LabelClass,
    info,
    is_readable,
    read_cube,
    read_labels,
    write_cube,
    write_labels,
)
from carl.io.geobench import GeoBenchSplit
from carl.learning import Segmenter, TrainConfig, load_predictor
from carl.learning.head_training.trained_head import TrainedHead
from carl.model import CARL, CARLConfig, read_model, save_model
from carl.model.checkpoint import (
    original_name,
    read_checkpoint,
    read_training_state,
    write_training_state,
)
from carl.model.config import SpatialEncoderConfig, SpectralEncoderConfig
from carl.model.heads import HeadConfig, build_head
from carl.pretraining.pretrain_config import PretrainConfig
from carl.spectra.normalise import check_pixels
from carl.wavelengths import read_wavelength_table
from napari_carl.stroke_versions import read_version, write_version

PIXELS = np.arange(6 * 7 * 12, dtype=np.uint16).reshape(6, 7, 12)
BANDS_FIRST = np.moveaxis(PIXELS, -1, 0)
NM = np.arange(400.0, 520.0, 10.0)
LABELS = np.arange(60).reshape(6, 10) % 5
CLASSES = (LabelClass(1, "lumen", (230, 159, 0)), LabelClass(4, "stroma", (0, 158, 115)))
CONFIG = CARLConfig(
    patch_size=4,
    spec_encoder_kwargs=SpectralEncoderConfig(
        embed_dim=8, n_queries=1, depth=2, num_heads=2, layer_scale=None
    ),
    spat_encoder_kwargs=SpatialEncoderConfig(
        "vit_tiny_patch16_224", 1, {"embed_dim": 8, "num_heads": 2, "depth": 1}
    ),
)
"""Of a network of a few kilobytes."""
_READ_VALUES = 1 << 20
"""Values of a cube that are read at a time, and blocks that are read of one cube."""
_READ_BLOCKS = 8

Opened = Callable[[], None]
"""Is called when a cube has been opened and none of its pixels was read."""


@dataclass(frozen=True)
class Specimen:
    """A format.

    Attributes:
        name: in the table.
        files: contents of the intact files by name.
        mutated: name of the file that is mutated.
        read: reads everything, given a folder with the files and a function to call between opening
            and reading; returns the pixels of a cube; raises only a `CarlError`.
        mutate: changes the content of the mutated file.
        is_mapped: whether `read` keeps the file open while it is shortened.
    """

    name: str
    files: Mapping[str, bytes]
    mutated: str
    read: Callable[[Path, Opened], object]
    mutate: Mutation
    is_mapped: bool = False


@cache
def all_specimens() -> list[Specimen]:
    """Return the specimens of all formats."""
    return [*cubes(), *containers(), *label_maps(), *tables(), *recipes(), *models(), *features()]


def cubes() -> list[Specimen]:
    """Return a cube of every format."""
    dat, hdr = _written(lambda path: write_cube(path / "cube.hdr", SpectralCube(PIXELS, NM)))
    envi = {"cube.hdr": hdr, "cube.dat": dat}
    arcgis = b"BYTEORDER I\nLAYOUT BIP\nNROWS 6\nNCOLS 7\nNBANDS 12\nNBITS 16\nSKIPBYTES 0\n"
    arcgis += b"WAVELENGTHS\n" + b"".join(b"%d\n" % nm for nm in NM) + b"WAVELENGTHS_END\n"
    tivita = struct.pack(">3i", 7, 6, 12)
    tivita += PIXELS[::-1].transpose(1, 0, 2).astype(">f4").tobytes()  # columns, from the bottom
    npy = _npy(PIXELS)
    npz = _saved(lambda file: np.savez(file, cube=PIXELS, wavelengths=NM))
    packed = _saved(lambda file: np.savez_compressed(file, cube=PIXELS))
    matlab = _saved(lambda file: scipy.io.savemat(file, {"cube": PIXELS, "wavelengths": NM}))
    matlab_packed = _saved(
        lambda file: scipy.io.savemat(file, {"cube": PIXELS}, do_compression=True)
    )
    header = by_chance(text_mutated, text_mutated, text_mutated, rearranged)
    raw = by_chance(rearranged)
    arrays = by_chance(npy_mutated, npy_mutated, rearranged, flipped)
    archive = by_chance(
        zip_rebuilt(arrays), zip_rebuilt(arrays), numbers_changed(zip_numbers), rearranged, flipped
    )
    version_5 = by_chance(
        matlab_mutated, matlab_mutated, numbers_changed(matlab_numbers), rearranged, flipped
    )
    hdf5_bytes = by_chance(numbers_changed(any_numbers), rearranged, flipped)
    hdf5 = by_chance(hdf5_rebuilt, hdf5_bytes)
    return [
        _cube("ENVI header", envi, "cube.hdr", header),
        _cube("ENVI data", envi, "cube.dat", raw),
        _cube("ArcGIS header", {"cube.hdr": arcgis, "cube.bil": dat}, "cube.hdr", header),
        _cube("Tivita", {"a_SpecCube.dat": tivita}, "", by_chance(
            numbers_changed(leading_numbers(12, ">")), rearranged, flipped)),
        *tiff_cubes(),
        _cube("npy", {"cube.npy": npy}, "", arrays),
        _cube("npz", {"cube.npz": npz}, "", archive),
        _cube("npz, compressed", {"cube.npz": packed}, "", archive),
        _cube("MATLAB 5", {"cube.mat": matlab}, "", version_5),
        _cube("MATLAB 5, compressed", {"cube.mat": matlab_packed}, "", version_5),
        _cube("MATLAB 7.3", {"cube.mat": _hdf5(matlab=True, packed=True)}, "", hdf5),
        _cube("HDF5", {"cube.h5": _hdf5(packed=False)}, "", hdf5),
        _cube("HDF5, newest", {"cube.h5": _hdf5("latest", packed=True)}, "", hdf5_bytes),
        *series_cubes(),
        *chosen_cubes(),
    ]  # fmt: skip


def series_cubes() -> list[Specimen]:
    """Return cubes with one file per band, one of which is mutated, and colour pictures."""
    pages = by_chance(numbers_changed(tiff_numbers), rearranged, flipped)
    images = by_chance(png_mutated, png_mutated, rearranged, flipped)
    bands = [np.ascontiguousarray(band) for band in BANDS_FIRST[:3]]
    lenses = {f"cube_{n}.tif": _xmp_tiff(band, NM[n]) for n, band in enumerate(bands)}
    wheel = {f"cube_{450 + 50 * n}nm.png": _picture(band) for n, band in enumerate(bands)}
    colours = np.stack(bands, axis=-1).astype(np.uint8)
    alpha = np.dstack([colours, colours[..., 0]])
    return [
        _cube("series, TIFF with XMP", lenses, "cube_1.tif", pages, is_mapped=False),
        _cube("series, PNG", wheel, "cube_500nm.png", images, is_mapped=False),
        _cube("picture, PNG", {"cube.png": _picture(alpha)}, "", images, is_mapped=False),
        _cube("picture, PNG of 16 bits", {"cube.png": _deep_png(np.stack(bands, -1))}, "", images,
              is_mapped=False),
        _cube("picture, JPEG", {"cube.jpg": _picture(colours, "JPEG")}, "",
              by_chance(rearranged, flipped), is_mapped=False),
        _cube("picture, BMP", {"cube.bmp": _picture(colours, "BMP")}, "",
              by_chance(numbers_changed(leading_numbers(54, "<")), rearranged, flipped),
              is_mapped=False),
    ]  # fmt: skip


def chosen_cubes() -> list[Specimen]:
    """Return files that may be several cubes, of which a frame, a height or an array is chosen."""
    frames = np.stack([BANDS_FIRST, BANDS_FIRST[::-1]])
    tiff = _saved(lambda file: tifffile.imwrite(
        file, frames, metadata={"axes": "TCYX"}, compression="zlib"))  # fmt: skip
    labels = (PIXELS[..., 0] % 3).astype(np.uint8)
    archive = by_chance(zip_rebuilt(by_chance(npy_mutated, rearranged)),
                        numbers_changed(zip_numbers), rearranged, flipped)  # fmt: skip
    return [
        _chosen("frame of a TIFF", {"cube.tif": tiff}, {"frame": "time=1"},
                by_chance(numbers_changed(tiff_numbers), rearranged, flipped)),
        _chosen("table", {"cube.npy": _npy(PIXELS.reshape(42, 12))}, {"height": 6},
                by_chance(npy_mutated, npy_mutated, rearranged, flipped)),
        _simple("labels in npz", {"cube.npz": _saved(
            lambda file: np.savez(file, cube=PIXELS, labels=labels))},
            lambda path: read_labels(path, PIXELS.shape, "labels"), archive),
    ]  # fmt: skip


def containers() -> list[Specimen]:
    """Return cubes in folders, products and files of other instruments."""
    tree = by_chance(json_mutated, json_mutated, json_mutated, text_mutated, rearranged)
    chunk = by_chance(numbers_changed(leading_numbers(24)), rearranged, flipped)
    header = by_chance(text_mutated, text_mutated, text_mutated, rearranged)
    binary = by_chance(numbers_changed(any_numbers), rearranged, flipped)
    classic = by_chance(numbers_changed(leading_numbers(300, ">")), rearranged, flipped)

    def folder(
        name: str, write: Callable[..., Path], mutated: str, mutate: Mutation, **options: Any
    ) -> Specimen:
        files, opened = _tree(write, **options)
        return _cube(name, files, mutated or opened, mutate, is_mapped=False, opened=opened)

    return [
        folder("Zarr 3", zarr_3, "cube.zarr/zarr.json", tree),
        folder("Zarr 3, chunk", zarr_3, "cube.zarr/c/0/0/0", chunk),
        folder("Zarr 3, shards", zarr_3, "cube.zarr/zarr.json", tree, shards=True),
        folder("Zarr 3, shard", zarr_3, "cube.zarr/c/0/0/0", binary, shards=True),
        folder("OME-Zarr, image", ome_zarr, "cube.zarr/.zattrs", tree),
        folder("OME-Zarr, array", ome_zarr, "cube.zarr/0/.zarray", tree),
        folder("OME-Zarr, chunk", ome_zarr, "cube.zarr/0/0.3.0.0.0", chunk),
        folder("PRISMA", prisma, "", binary),
        folder("EMIT", emit, "", binary),
        folder("NetCDF 3", netcdf_3, "", classic),
        folder("EnMAP, metadata", enmap, "cube-METADATA.XML", header),
        folder("EnMAP, image", enmap, "", by_chance(numbers_changed(tiff_numbers), rearranged)),
        folder("Zeiss CZI", czi, "", binary),
        folder("Headwall folder", headwall, "cube/raw_0.hdr", header),
    ]  # fmt: skip


def tiff_cubes() -> list[Specimen]:
    """Return a cube of every kind of TIFF."""
    numbers = numbers_changed(tiff_numbers)
    plain = by_chance(numbers, numbers, numbers, rearranged, flipped)
    wavelengths = json.dumps({"shape": BANDS_FIRST.shape, "wavelengths": NM.tolist()}).encode()
    ome = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="7" '
        'SizeY="6" SizeC="12" SizeZ="1" SizeT="1" PhysicalSizeX="1.0" PhysicalSizeY="1.0">'
        + "".join(
            f'<Channel ID="Channel:0:{band}" SamplesPerPixel="1" EmissionWavelength="{nm}"/>'
            for band, nm in enumerate(NM)
        )
        + '<TiffData IFD="0" PlaneCount="12"/></Pixels></Image></OME>'
    ).encode()
    gdal = "<GDALMetadata>" + "".join(
        f'<Item name="wavelength" sample="{band}">{nm}</Item>' for band, nm in enumerate(NM)
    )
    gdal_tag = (42112, "s", 0, gdal + "</GDALMetadata>", False)

    def described(content: bytes) -> bytes:
        return _tiff(description=content, metadata=None)

    def with_json(content: bytes, change: Mutation) -> Mutation:
        return by_chance(tiff_described(content, change, described), numbers)

    return [
        _cube("TIFF", {"cube.tif": _tiff(metadata={"axes": "CYX"})}, "", plain),
        _cube("TIFF, JSON", {"cube.tif": described(wavelengths)}, "",
              with_json(wavelengths, by_chance(json_mutated, json_mutated, text_mutated))),
        _cube("TIFF, strips", {"cube.tif": _tiff(
            compression="zlib", predictor=True, rowsperstrip=2)}, "", plain),
        _cube("TIFF, tiles", {"cube.tif": _tiff(tile=(16, 16), metadata=None)}, "", plain),
        _cube("TIFF, big-endian", {"cube.tif": _tiff(byteorder=">", metadata=None)}, "", plain),
        _cube("BigTIFF", {"cube.tif": _tiff(bigtiff=True, metadata=None)}, "", plain),
        _cube("ImageJ", {"cube.tif": _tiff(imagej=True, metadata={
            "Labels": [f"{nm} nm" for nm in NM]})}, "", plain),
        _cube("GeoTIFF", {"cube.tif": _tiff(extratags=[gdal_tag], metadata=None)}, "", plain),
        _cube("OME", {"cube.ome.tif": described(ome)}, "", with_json(ome, text_mutated)),
        _cube("Zeiss LSM", {"cube.lsm": _lsm()}, "", plain),
    ]  # fmt: skip


def label_maps() -> list[Specimen]:
    """Return a label map of every format, its classes, and a folder of GEO-Bench."""
    pages = by_chance(numbers_changed(tiff_numbers), rearranged, flipped)
    tif, classes = _written(lambda path: write_labels(path / "map.tif", LABELS, CLASSES), "map.tif")
    (png,) = _written(lambda path: write_labels(path / "map.png", LABELS))
    (npy,) = _written(lambda path: write_labels(path / "map.npy", LABELS))
    (strokes,) = _written(
        lambda path: write_version(
            path / "strokes.tif", LABELS.astype(np.uint8), CLASSES, ["a.tif"]
        )
    )
    tree = by_chance(json_mutated, json_mutated, json_mutated, text_mutated, rearranged)
    images = by_chance(png_mutated, png_mutated, rearranged, flipped)
    (geojson,) = _written(lambda path: write_labels(path / "map.geojson", LABELS, CLASSES))
    (coco,) = _written(lambda path: write_labels(path / "map.json", LABELS, CLASSES))
    (nrrd,) = _written(lambda path: write_labels(path / "map.seg.nrrd", LABELS, CLASSES))
    dat, hdr = _written(lambda path: write_labels(path / "map.hdr", LABELS, CLASSES))
    picture, dicom = _written(lambda path: write_labels(path / "map_seg.dcm", LABELS, CLASSES))
    header = by_chance(text_mutated, text_mutated, rearranged, flipped)
    numbers = by_chance(numbers_changed(any_numbers), rearranged, flipped)
    geobench = _geobench()
    sample = by_chance(numbers_changed(any_numbers), rearranged, flipped, _attribute_mutated)
    return [
        _labels("labels, TIFF", {"map.tif": tif}, "", pages),
        _labels("labels, PNG", {"map.png": png}, "", images),
        _labels("labels, npy", {"map.npy": npy}, "", by_chance(npy_mutated, rearranged, flipped)),
        _labels("labels, GeoJSON", {"map.geojson": geojson}, "", tree),
        _labels("labels, COCO", {"map.json": coco}, "", tree),
        _labels("labels, NRRD", {"map.seg.nrrd": nrrd}, "", header),
        _labels("labels, ENVI", {"map.hdr": hdr, "map.dat": dat}, "", header),
        _labels("labels, DICOM", {"map_seg.dcm": dicom, "map_colour.dcm": picture}, "", numbers),
        _labels("classes", {"map.tif": tif, "map.json": classes}, "map.json", tree),
        _simple("saved strokes", {"strokes.tif": strokes}, _read_strokes, pages),
        Specimen("GEO-Bench sample", geobench, "id_0.hdf5", _read_geobench, sample),
        Specimen("GEO-Bench list", geobench, "default_partition.json", _read_geobench, tree),
    ]


def tables() -> list[Specimen]:
    """Return tables of wavelengths, beside a cube and alone."""
    cube = {"cube.npy": _npy(PIXELS)}
    csv = "".join(["# camera\nwavelength_nm,fwhm\n", *(f"{nm},10\n" for nm in NM)]).encode()
    txt = "".join(f"{nm:.1f}\n" for nm in NM).encode()
    listed = json.dumps({"wavelengths": NM.tolist(), "unit": "nm", "fwhm": [10.0] * 12}).encode()
    text = by_chance(text_mutated, text_mutated, text_mutated, rearranged)
    tree = by_chance(json_mutated, json_mutated, text_mutated)
    return [
        _cube("wavelengths, CSV", {**cube, "cube.csv": csv}, "cube.csv", text, is_mapped=False),
        _cube("wavelengths, text", {**cube, "cube.txt": txt}, "cube.txt", text, is_mapped=False),
        _cube("wavelengths, JSON", {**cube, "cube.json": listed}, "cube.json", tree,
              is_mapped=False),
        _simple("table given", {"nm.csv": csv}, read_wavelength_table, text),
    ]  # fmt: skip


def recipes() -> list[Specimen]:
    """Return the configurations of training, pre-training and networks."""
    train = {
        "output": "head.carl",
        "pairs": [{"cube": "cube.hdr", "labels": "labels.png", "wavelengths": "400:510:10"}],
        "head": {"name": "linear"},
        "classes": ["lumen", "stroma"],
        "steps": 20,
        "bands": None,
        "learning_rate": 1e-3,
    }
    pretrain = {
        "data": [{"kind": "folder", "path": "cubes"}, {"kind": "simulated"}],
        "output": "run",
        "steps": 10,
        "model": "carl-nano",
        "ema": [0.99, 1.0],
        "optimiser": {"learning_rate": 1e-4},
    }
    network = CONFIG.to_dict()
    checkpoint = original_checkpoint()

    mutate = by_chance(yaml_mutated, yaml_mutated, yaml_mutated, text_mutated, rearranged)
    tree = by_chance(json_mutated, json_mutated, json_mutated, text_mutated, rearranged)
    return [
        _simple("recipe of training", {"train.yaml": _yaml(train)},
                lambda path: TrainConfig.from_file(path).resume_settings(), mutate),
        _simple("recipe of pre-training", {"pretrain.yaml": _yaml(pretrain)},
                lambda path: PretrainConfig.from_file(path).network, mutate),
        _simple("network, YAML", {"network.yaml": _yaml(network), **checkpoint},
                lambda path: read_checkpoint(path.with_name("original.ckpt"), path), mutate),
        _simple("network, JSON", {"network.json": json.dumps(network).encode(), **checkpoint},
                lambda path: read_checkpoint(path.with_name("original.ckpt"), path), tree),
    ]  # fmt: skip


def models() -> list[Specimen]:
    """Return a network, models that segment cubes, and checkpoints."""
    network = tiny_network()
    cube, labels = training_cube()
    network_file = _model(lambda path: save_model(network, path), "network.safetensors")
    bank = _model(lambda path: Segmenter(classes=CLASSES).fit(cube, labels).save(path), "bank.carl")
    with_network = Segmenter(network, precision="float32").fit(cube, labels)
    segmenter = _model(with_network.save, "segmenter.carl")
    head = build_head("linear", network, 2)
    trained = TrainedHead(head, HeadConfig(), CLASSES, 16, {"scores": {"miou": 0.9}})
    head_file = _model(trained.save, "head.carl")
    training = {"step": 3, "settings": {"steps": "3"}, "weights": network.state_dict()}
    resumed = _model(lambda path: write_training_state(path, training), "state.ckpt")
    packed = by_chance(safetensors_mutated, safetensors_mutated, rearranged, flipped)
    pickled = by_chance(
        zip_rebuilt(by_chance(rearranged, flipped)), _state_mutated, rearranged, flipped
    )

    def embed_cube(path: Path) -> object:
        return Segmenter(read_model(path), precision="float32").fit(cube, labels).predict(cube)

    def predict_cube(path: Path) -> object:
        predictor = load_predictor(path, "cpu")
        repr(predictor)
        prediction = predictor.predict(cube)
        return prediction.fractions(), prediction.confidence

    return [
        _simple("network", network_file, embed_cube, packed),
        _simple("segmenter", bank, predict_cube, packed),
        _simple("segmenter, network", segmenter, predict_cube, packed),
        _simple("trained head", head_file, predict_cube, packed),
        _simple(
            "checkpoint", original_checkpoint(), lambda path: read_checkpoint(path, CONFIG), pickled
        ),
        _simple("training state", resumed, read_training_state, pickled),
    ]  # fmt: skip


def features() -> list[Specimen]:
    """Return saved features."""
    features = np.random.default_rng(0).random((4, 6, 8), np.float32)
    embedding = Embedding(features, features, (16, 24), 4, "tiny", "0" * 64, "float32", "exact")
    files = _model(embedding.save, "cube.npz")

    def read(path: Path) -> None:
        for mapped in (False, True):
            loaded = Embedding.load(path, mapped=mapped)
            repr(loaded)
            loaded.picture()

    archive = by_chance(
        zip_rebuilt(by_chance(npy_mutated, rearranged, _metadata_mutated, _metadata_mutated)),
        numbers_changed(zip_numbers),
        rearranged,
        flipped,
    )
    return [_simple("saved features", files, read, archive)]


@cache
def tiny_network() -> CARL:
    """Return a network of a few kilobytes with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CARL(CONFIG, name="tiny", trained=True).eval()


@cache
def original_checkpoint() -> Mapping[str, bytes]:
    """Return the network as a checkpoint of the original implementation."""
    own = tiny_network().state_dict()
    state = {f"model.{original_name(name)}": tensor for name, tensor in own.items()}
    return {"original.ckpt": _saved(lambda file: torch.save({"state_dict": state}, file))}


@cache
def training_cube() -> tuple[SpectralCube, np.ndarray[Any, Any]]:
    """Return a cube of 48 × 48 pixels and three bands, and labels of two classes."""
    rng = np.random.default_rng(0)
    truth = np.repeat([[1, 4]], 24, axis=1).repeat(48, axis=0)
    spectra = np.array([[0.2, 0.8, 0.3], [0.9, 0.4, 0.7]])[(truth == 4).astype(int)]
    cube = SpectralCube(spectra + rng.normal(0, 0.02, spectra.shape), [450, 550, 650])
    labels = np.zeros_like(truth)
    labels[8:12, ::6] = truth[8:12, ::6]
    labels[30:34, ::6] = truth[30:34, ::6]
    return cube, labels


def read_whole_cube(path: Path, opened: Opened, **arguments: Any) -> np.ndarray[Any, Any]:
    """Read and describe a cube as the window and the command line do; return its first rows.

    Args:
        path: of the cube.
        opened: called before pixels are read.
        arguments: of `read_cube`.
    """
    is_readable(path)
    cube = read_cube(path, **arguments)
    opened()
    repr(cube)
    str(info(cube))
    check_pixels(cube)
    assert cube.spectrum(0, 0).shape == (cube.n_bands,)
    rows = cube.row_blocks(_READ_VALUES)[:_READ_BLOCKS]
    pixels = np.concatenate([cube.read(each) for each in rows])
    assert pixels.shape == (rows[-1].stop, *cube.shape[1:])
    return pixels


def _cube(
    name: str,
    files: Mapping[str, bytes],
    mutated: str,
    mutate: Mutation,
    is_mapped: bool = True,
    opened: str | None = None,
) -> Specimen:
    """Return the specimen of a cube; the first file is opened, if no other path is given."""
    first = opened or next(iter(files))

    def read(folder: Path, when_opened: Opened) -> object:
        return read_whole_cube(folder / first, when_opened)

    return Specimen(name, files, mutated or first, read, mutate, is_mapped)


def _chosen(
    name: str, files: Mapping[str, bytes], arguments: Mapping[str, Any], mutate: Mutation
) -> Specimen:
    """Return the specimen of a file that may be several cubes; it is also read without a choice."""
    first = next(iter(files))

    def read(folder: Path, opened: Opened) -> object:
        with suppress(ChoiceError):
            read_cube(folder / first)
        return read_whole_cube(folder / first, opened, **arguments)

    return Specimen(name, files, first, read, mutate)


def _labels(name: str, files: Mapping[str, bytes], mutated: str, mutate: Mutation) -> Specimen:
    first = next(iter(files))

    def read(folder: Path, opened: Opened) -> None:
        repr(read_labels(folder / first))
        read_labels(folder / first, LABELS.shape)

    return Specimen(name, files, mutated or first, read, mutate)


def _simple(
    name: str, files: Mapping[str, bytes], read: Callable[[Path], object], mutate: Mutation
) -> Specimen:
    """Return the specimen of a format whose first file is read and mutated."""
    first = next(iter(files))
    return Specimen(name, files, first, lambda folder, opened: read(folder / first), mutate)


def _read_strokes(path: Path) -> None:
    version = read_version(path)
    repr(version)
    repr(version.read())


def _read_geobench(folder: Path, opened: Opened) -> None:
    samples = GeoBenchSplit(folder, "train")
    for path in samples.paths[:2]:
        samples.read_image(path)
        samples.read_label(path)


def _tree(write: Callable[..., Path], **options: Any) -> tuple[dict[str, bytes], str]:
    """Return the files that a function writes into a folder, by path, and the path to open."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        opened = write(folder, PIXELS.shape, PIXELS, **options)
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        return files, opened.relative_to(folder).as_posix()


def _written(write: Callable[[Path], object], first: str | None = None) -> tuple[bytes, ...]:
    """Return the contents of the files that a function writes into a folder, `first` in front."""
    with TemporaryDirectory() as folder:
        write(Path(folder))
        files = sorted(Path(folder).iterdir(), key=lambda path: (path.name != first, path.name))
        return tuple(path.read_bytes() for path in files)


def _model(write: Callable[[Path], object], name: str) -> dict[str, bytes]:
    """Return the file that a function writes to a path."""
    return {name: _written(lambda folder: write(folder / name))[0]}


def _saved(write: Callable[[BytesIO], object]) -> bytes:
    """Return what a function writes to an open file."""
    file = BytesIO()
    write(file)
    return file.getvalue()


def _npy(values: Any) -> bytes:
    return _saved(lambda file: np.save(file, values))


def _yaml(values: Any) -> bytes:
    import yaml

    return str(yaml.safe_dump(values)).encode()


def _tiff(**options: Any) -> bytes:
    return _saved(lambda file: tifffile.imwrite(file, BANDS_FIRST, **options))


def _xmp_tiff(band: np.ndarray[Any, Any], nm: float) -> bytes:
    """Return a TIFF of one band with its wavelength in XMP, as MicaSense cameras write it."""
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'xmlns:Camera="http://pix4d.com/camera/1.0"><Camera:CentralWavelength>{nm}'
        "</Camera:CentralWavelength></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()
    tag = (700, "B", len(xmp), xmp, True)
    return _saved(lambda file: tifffile.imwrite(file, band, metadata=None, extratags=[tag]))


def _picture(pixels: np.ndarray[Any, Any], kind: str = "PNG") -> bytes:
    from PIL import Image

    return _saved(lambda file: Image.fromarray(pixels).save(file, format=kind))


def _deep_png(colours: np.ndarray[Any, Any]) -> bytes:
    """Return a PNG of (H, W, 3) uint16, which Pillow reads but does not write."""
    height, width, _ = colours.shape
    rows = colours.astype(">u2").reshape(height, -1).view(np.uint8)
    stream = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def _lsm() -> bytes:
    """Return a Zeiss LSM file: a page, a preview, and the edges of 12 lambda channels."""
    record = np.zeros((), tifffile.TIFF.CZ_LSMINFO)
    record["MagicNumber"], record["StructureSize"] = 67127628, record.nbytes
    record["DimensionX"], record["DimensionY"], record["DimensionChannels"] = 7, 6, 12
    record["DimensionZ"] = record["DimensionTime"] = 1
    edges = np.stack([NM - 5, NM + 5], axis=1) * 1e-9
    content = _tiff_of_lsm(record)
    record["OffsetChannelWavelength"] = len(content)
    return _tiff_of_lsm(record) + struct.pack("<i", len(NM)) + edges.astype("<f8").tobytes()


def _tiff_of_lsm(record: np.ndarray[Any, Any]) -> bytes:
    tag = (34412, "B", record.nbytes, record.tobytes(), False)

    def write(target: BytesIO) -> None:
        with tifffile.TiffWriter(target) as file:
            file.write(
                BANDS_FIRST,
                photometric="minisblack",
                planarconfig="separate",
                extratags=[tag],
                metadata=None,
            )
            thumbnail = np.zeros((3, 4, 4), np.uint8)
            file.write(thumbnail, photometric="rgb", planarconfig="separate", subfiletype=1)

    return _saved(write)


def _hdf5(version: str = "earliest", *, packed: bool, matlab: bool = False) -> bytes:
    options = {"chunks": (4, 7, 6), "compression": "gzip"} if packed else {}

    def write(target: BytesIO) -> None:
        with h5py.File(target, "w", libver=version) as file:
            cube = file.create_dataset("cube", data=PIXELS.T if matlab else PIXELS, **options)
            if matlab:
                cube.attrs["MATLAB_class"] = np.bytes_(b"uint16")
            file.create_dataset("group/wavelengths", data=NM).attrs["units"] = "nm"

    return _saved(write)


def _geobench() -> dict[str, bytes]:
    """Return the files of one sample as GEO-Bench writes them."""
    names = ("Blue", "Green", "Red", "NIR")
    attributes = {"label": [0, 1, 1], "bands_order": names}

    def write(target: BytesIO) -> None:
        with h5py.File(target, "w") as file:
            for number, name in enumerate(names):
                file.create_dataset(name, data=np.full((8, 9), number, np.int16))
            file.attrs["pickle"] = str(pickle.dumps(attributes))

    splits = {"train": ["id_0"], "valid": [], "test": []}
    return {
        "default_partition.json": json.dumps(splits).encode(),
        "id_0.hdf5": _saved(write),
    }


def _attribute_mutated(content: bytes, rng: Random) -> bytes:
    """Change the text of the pickle in a sample of GEO-Bench."""
    file = BytesIO(content)
    with h5py.File(file, "r+") as sample:
        text = str(sample.attrs["pickle"]).encode()
        text = by_chance(rearranged, flipped, text_mutated)(text, rng)
        sample.attrs["pickle"] = text.replace(b"\0", b"").decode("utf-8", "replace")
    return file.getvalue()


def _metadata_mutated(content: bytes, rng: Random) -> bytes:
    """Change the JSON text in a .npy file of one string; other arrays stay as they are."""
    values = np.load(BytesIO(content))
    if values.dtype.kind != "U":
        return content
    text = json_mutated(str(values).encode(), rng)
    return _npy(np.array(text.decode("utf-8", "replace")))


def _state_mutated(content: bytes, rng: Random) -> bytes:
    """Change names, values or tensors of a PyTorch file."""
    state = torch.load(BytesIO(content), weights_only=True)
    tables = [state, *(each for each in state.values() if isinstance(each, dict))]
    table = rng.choice(tables)
    key = rng.choice([*table])
    values = (None, 0, "x", [], {}, float("nan"), torch.zeros(0), torch.zeros(3, 3), state)
    if rng.random() < 0.3:
        table[rng.choice(("", 3, "\x1b[31m", "model.spectral_tf.x"))] = table.pop(key)
    elif rng.random() < 0.2:
        del table[key]
    else:
        table[key] = rng.choice(values)
    return _saved(lambda file: torch.save(state, file))
