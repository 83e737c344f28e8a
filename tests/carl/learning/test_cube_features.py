"""Features of cubes are the same in memory, on disk and computed window by window."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from carl.cube import SpectralCube
from carl.errors import Cancelled, OutputError
from carl.inference import embed_to_file, upsampled_cube
from carl.learning import CubeFeatures, Segmenter, compute_features, cube_features
from carl.learning.cube_features import StreamedFeatures, add_network, compute_joint_features
from carl.learning.feature_space import NETWORK_GROUPS
from carl.learning.filter_bank import ComponentReader, FilterBank
from carl.learning.predictor import predict_all
from carl.learning.segmenter import BoundSegmenter
from carl.learning.spectral_views import VIEWS
from carl.model import CARL
from carl.progress import no_progress

NM = np.linspace(450, 700, 10)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make tiles so small that a few hundred pixels are several, and no cube a small one."""
    monkeypatch.setenv("CARL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(cube_features, "_ROWS", 48)
    monkeypatch.setattr(cube_features, "_COLUMNS", 60)
    monkeypatch.setattr(cube_features, "_WINDOW", 100)
    monkeypatch.setattr(cube_features, "_SMALL_PIXELS", 1000)
    monkeypatch.setattr(upsampled_cube, "_MAX_PIXELS", 1000)


def scene(height: int = 450, width: int = 230, seed: int = 0) -> SpectralCube:
    """Return a cube of smooth mixtures of three spectra, with some noise."""
    generator = np.random.default_rng(seed)
    spectra = np.exp(-(((NM - np.array([[480], [560], [650]])) / 60) ** 2))
    amounts = np.abs(ndimage.gaussian_filter(generator.normal(size=(height, width, 3)), (6, 6, 0)))
    data = 0.2 + 6 * amounts @ spectra + generator.normal(size=(height, width, NM.size)) * 0.01
    return SpectralCube(data.astype(np.float32), wavelengths=NM, name=f"scene {seed}")


def strokes(cube: SpectralCube) -> np.ndarray:
    """Return labels along rows, 1 or 2 by which of two bands is brighter."""
    labels = np.zeros(cube.shape[:2], np.uint8)
    ratio = np.asarray(cube.data)[::20, :, 1] / np.asarray(cube.data)[::20, :, 8]
    labels[::20] = np.where(ratio > np.median(ratio), 1, 2)
    return labels


def streamed(segmenter: Segmenter, cube: SpectralCube) -> BoundSegmenter:
    """Bind a segmenter as it binds cubes that do not fit in memory."""
    fitted = segmenter._fitted()
    features = StreamedFeatures(cube, fitted.space, fitted.model, fitted.options)
    return BoundSegmenter(fitted, cube, features)


@pytest.fixture
def bank_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cubes whose filter-bank features are computed in memory."""
    names: list[str] = []
    compute = FilterBank.stack

    def recording(bank: FilterBank, cube: SpectralCube, *rest):  # type: ignore[no-untyped-def]
        names.append(cube.name)
        return compute(bank, cube, *rest)

    monkeypatch.setattr(FilterBank, "stack", recording)
    return names


def test_fitting_and_predicting_again_computes_no_features(bank_calls: list[str]) -> None:
    cube = scene(60, 70)
    features = compute_features(cube)
    for labels in (strokes(cube), strokes(cube)[::-1].copy()):
        Segmenter().fit(features, labels).predict(features)
    assert bank_calls == ["scene 0"]


def test_the_features_of_a_fit_serve_its_predictions(
    bank_calls: list[str], tiny_model: CARL, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = scene(60, 70)
    embedded: list[str] = []
    compute = cube_features.embed_cached

    def recording(cube: SpectralCube, *rest, **options):  # type: ignore[no-untyped-def]
        embedded.append(cube.name)
        return compute(cube, *rest, **options)

    monkeypatch.setattr(cube_features, "embed_cached", recording)
    segmenter = Segmenter(tiny_model).fit(cube, strokes(cube))
    assert segmenter.bind(cube).is_precomputed
    segmenter.predict(cube)
    assert bank_calls == embedded == ["scene 0"]


def test_a_network_reuses_the_maps_of_the_filter_bank(
    bank_calls: list[str], tiny_model: CARL
) -> None:
    bank = compute_features(scene(60, 70))
    both = bank.add_network(tiny_model)
    assert bank_calls == ["scene 0"]
    of_both = {each.name: each.values for each in both.stack.maps}
    assert NETWORK_GROUPS[0] in of_both
    assert all(each.values is of_both[each.name] for each in bank.stack.maps)
    assert both.stack.maps[-1].name in VIEWS  # which come last
    assert both.stack.width == both.space.width
    assert both.embedding is not None
    again = both.with_network(tiny_model, both.embedding)
    assert again.stack.width == both.stack.width


def test_spatial_features_need_a_large_cube(tiny_model: CARL) -> None:
    def groups(side: int) -> list[str]:
        data = np.random.default_rng(0).uniform(0.1, 1, (side, side, 4)).astype(np.float32)
        cube = SpectralCube(data, wavelengths=np.linspace(450, 700, 4))
        return list(compute_features(cube, tiny_model).space.projections)

    # A patch has 4 pixels: 20 × 3 patches are 240 pixels.
    assert groups(236) == ["CARL spectral"]
    assert groups(240) == ["CARL spectral", "CARL spatial"]


def test_another_camera_gives_the_network_an_error_variance(tiny_model: CARL) -> None:
    cube = scene(60, 70)
    segmenter = Segmenter(tiny_model).fit(cube, strokes(cube))
    (own,) = segmenter.training_features
    assert not own.stack.error_variance.any()
    fewer = SpectralCube(np.asarray(cube.data)[..., ::2], wavelengths=NM[::2])
    other = segmenter.compute_features(fewer).stack
    for name in own.space.projections:
        assert (other.error_variance[other.columns()[name]] > 0).all()


@pytest.mark.parametrize("shape", [(450, 230), (70, 400), (21, 40)])
@pytest.mark.parametrize("with_network", [False, True])
def test_features_on_disk_equal_those_in_memory(
    tiny_model: CARL, shape: tuple[int, int], with_network: bool
) -> None:
    cube = scene(*shape)
    model = tiny_model if with_network else None
    in_memory, on_disk = (compute_features(cube, model, max_bytes=n) for n in (1 << 30, 0))
    assert "in memory" in repr(in_memory)
    assert "on disk" in repr(on_disk)
    everywhere = slice(None), slice(None)
    for one, other in zip(in_memory.stack.maps, on_disk.stack.maps, strict=True):
        np.testing.assert_allclose(one.read(*everywhere), other.read(*everywhere), atol=2e-4)
    segmenter = Segmenter(model).fit(in_memory, strokes(cube))
    spilled = Segmenter(model).fit(on_disk, strokes(cube))
    assert np.array_equal(spilled.predict(on_disk).labels, segmenter.predict(in_memory).labels)


@pytest.mark.parametrize("shape", [(450, 230), (70, 400), (21, 40)])
@pytest.mark.parametrize("with_network", [False, True])
def test_streamed_windows_equal_the_whole_cube(
    tiny_model: CARL, shape: tuple[int, int], with_network: bool
) -> None:
    cube = scene(*shape)
    segmenter = Segmenter(tiny_model if with_network else None, precision="float32")
    segmenter.fit(cube, strokes(cube))
    whole = segmenter.predict(cube)
    bound = streamed(segmenter, cube)
    assert not bound.is_precomputed
    found = predict_all(bound)
    np.testing.assert_allclose(found.scores, whole.scores, atol=1e-4 * np.abs(whole.scores).max())
    assert np.array_equal(found.labels, whole.labels)
    region = np.s_[shape[0] // 3 : shape[0] - 3 : 2, 7 : shape[1] - 1 : 3]  # anywhere, with steps
    anywhere = bound.predict_window(region)
    assert np.array_equal(anywhere.labels, whole.labels[region])


@pytest.mark.parametrize("where", ["memory", "disk", "stream"])
def test_pixels_without_data_get_no_label(where: str) -> None:
    cube = scene()
    segmenter = Segmenter().fit(cube, strokes(cube))
    data = np.array(cube.data)
    data[130:170, 40:90] = np.nan
    holes = SpectralCube(data, wavelengths=NM)
    if where == "stream":
        labels = predict_all(streamed(segmenter, holes)).labels
    else:
        max_bytes = {"memory": 1 << 30, "disk": 0}[where]
        features = segmenter.compute_features(holes, max_bytes=max_bytes)
        labels = segmenter.predict(features).labels
    assert (labels[130:170, 40:90] == 0).all()
    assert (labels == 0).sum() == 40 * 50


def test_streaming_reads_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cube = scene()
    segmenter = Segmenter().fit(cube, strokes(cube))
    rows: list[int] = []
    read = ComponentReader.read

    def recording(self: ComponentReader, span: slice, *rest: object) -> object:
        rows.extend(range(span.start, span.stop))
        return read(self, span, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ComponentReader, "read", recording)
    predict_all(streamed(segmenter, cube))
    assert rows == list(range(450))


def test_a_mapped_embedding_is_cropped_without_a_copy_of_the_whole(
    tmp_path: Path, tiny_model: CARL
) -> None:
    cube = scene(96, 64)
    embedding = embed_to_file(cube, tiny_model, tmp_path / "a.npz", progress=no_progress)
    size = embedding.patch_size
    part = cube_features._cropped(embedding, slice(8 * size, 12 * size), slice(4 * size, 64))
    assert part is not None
    assert np.array_equal(part.spatial, embedding.spatial[8:12, 4:])
    assert part.shape == (4 * size, 64 - 4 * size)
    assert not isinstance(part.spatial, np.memmap)


def test_streaming_needs_no_more_memory_for_a_larger_cube() -> None:
    cube = scene()
    segmenter = Segmenter().fit(cube, strokes(cube))

    def peak(n_times: int) -> int:
        rows = np.tile(np.arange(450), n_times)
        long = SpectralCube(_Repeated(np.asarray(cube.data), rows), wavelengths=NM)
        bound = streamed(segmenter, long)
        tracemalloc.start()
        for region in bound.windows:
            bound.predict_window(region)
        _, at_most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return at_most

    assert peak(4) < 1.1 * peak(1)


class _Repeated:
    """Rows of an array, several times."""

    def __init__(self, values: np.ndarray, rows: np.ndarray) -> None:
        self.values, self.rows = values, rows
        self.shape, self.dtype = (len(rows), *values.shape[1:]), values.dtype

    def __getitem__(self, key: tuple[slice, slice, slice]) -> np.ndarray:
        return self.values[self.rows[key[0]]][:, key[1], key[2]]


def scratch_folders(tmp_path: Path) -> list[Path]:
    parent = tmp_path / "home" / "scratch"
    return list(parent.iterdir()) if parent.exists() else []


def test_scratch_files_go_with_the_last_features_that_use_them(
    tmp_path: Path, tiny_model: CARL
) -> None:
    features = compute_features(scene(), max_bytes=0)
    assert len(scratch_folders(tmp_path)) == 1
    both = features.add_network(tiny_model)
    assert len(scratch_folders(tmp_path)) == 2
    del features
    gc.collect()
    assert len(scratch_folders(tmp_path)) == 2
    del both
    gc.collect()
    assert scratch_folders(tmp_path) == []


@pytest.mark.parametrize("max_bytes", [0, 1 << 30])
def test_cancelling_leaves_nothing_on_disk(tmp_path: Path, max_bytes: int) -> None:
    reported: list[float] = []

    def progress(fraction: float, message: str) -> None:
        reported.append(fraction)
        if fraction > 0.5:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        compute_features(scene(), max_bytes=max_bytes, progress=progress)
    assert reported == sorted(reported)
    gc.collect()
    assert scratch_folders(tmp_path) == []


def test_a_full_disk_is_reported_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("carl.scratch.shutil.disk_usage", lambda _: Usage)
    with pytest.raises(OutputError, match="free space"):
        compute_features(scene(), max_bytes=0)
    gc.collect()
    assert scratch_folders(tmp_path) == []


def test_several_cubes_share_one_space(tiny_model: CARL) -> None:
    cubes = [scene(60, 70, seed) for seed in (0, 1)]
    one, other = compute_joint_features(cubes)
    assert one.space is other.space
    one, other = add_network([one, other], tiny_model)
    assert one.space is other.space
    labels = [strokes(cube) for cube in cubes]
    segmenter = Segmenter().fit([one, other], labels)
    direct = Segmenter(tiny_model).fit(cubes, labels)
    assert segmenter.model is tiny_model
    np.testing.assert_array_equal(segmenter.predict(other).labels, direct.predict(cubes[1]).labels)


def test_features_of_another_space_are_computed_in_the_segmenters(tiny_model: CARL) -> None:
    cubes = [scene(60, 70, seed) for seed in (0, 1)]
    segmenter = Segmenter(tiny_model).fit(cubes[0], strokes(cubes[0]))
    features: CubeFeatures = compute_features(cubes[1], tiny_model)
    np.testing.assert_array_equal(
        segmenter.predict(features).labels, segmenter.predict(cubes[1]).labels
    )


def test_another_cube_is_streamed_unless_its_features_are_asked_for() -> None:
    one, other = scene(60, 70, 0), scene(60, 70, 1)
    segmenter = Segmenter().fit(one, strokes(one))
    bound, precomputed = segmenter.bind(other), segmenter.bind(other, precompute=True)
    assert (bound.is_precomputed, precomputed.is_precomputed) == (False, True)
    np.testing.assert_array_equal(predict_all(bound).labels, predict_all(precomputed).labels)
