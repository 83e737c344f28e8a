"""Features of whole cubes: computed once, held by the caller, in memory or on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lcm

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array
from carl.cube import SpectralCube
from carl.inference import Embedding, embed_cached, embed_finely
from carl.inference.options import DEFAULT_OPTIONS, ComputeOptions
from carl.learning.feature_space import NETWORK_GROUPS, FeatureSpace
from carl.learning.features import FeatureMap, FeatureStack, Region, grid_windows
from carl.learning.filter_bank import ComponentReader, FilterBank, PixelComponents
from carl.mapped_files import read_mapped
from carl.model import CARL
from carl.progress import Progress, no_progress, subprogress
from carl.scratch import DiskArray, ScratchFolder

MAX_BYTES = 3 << 30
"""Features of one cube that are held in memory; larger ones are held on disk. About 17 megapixels,
within the memory of a computer with 8 GB."""
_ROWS, _COLUMNS = 384, 1024
"""Approximate size in pixels of the tiles features are computed in where the whole cube does not
fit: a few hundred megabytes with all features, and a small part of it margin."""
_SMALL_PIXELS = 1 << 20
"""Pixels up to which an embedding is always held in memory: small cubes are upsampled first."""
_WINDOW = 512
"""Side in pixels of the windows of features that are held."""

Scratch = tuple[ScratchFolder, ...]
"""Folders that exist as long as something refers to them."""


@dataclass(frozen=True, eq=False, repr=False)
class CubeFeatures:
    """Features of one cube, for fitting and predicting as often as needed.

    Make them by `compute_features` or `Segmenter.compute_features`.

    Attributes:
        cube: the cube.
        space: transforms the features were computed by.
        stack: the features, in memory or memory-mapped.
        model: network whose features take part, or None.
        embedding: of the cube by that network, or None.
        options: of the network's computation.
        max_bytes: size above which features are held on disk.
        scratch: folders of features on disk, removed together with the last object that uses them.

    Examples:
        >>> import numpy as np
        >>> from carl import Segmenter, SpectralCube, compute_features
        >>> pixels = np.random.default_rng(0).random((48, 48, 3))
        >>> features = compute_features(SpectralCube(pixels, [450, 550, 650], name="random"))
        >>> features  # doctest: +ELLIPSIS
        <CubeFeatures of 'random': 48 × 48 pixels, ... features, no network, ... MB in memory>
        >>> labels = np.zeros((48, 48), int)
        >>> labels[8, :24], labels[40, :24] = 1, 2
        >>> first = Segmenter().fit(features, labels)
        >>> labels[8, 24:] = 1
        >>> second = Segmenter().fit(features, labels)  # the features are not computed again
    """

    cube: SpectralCube
    space: FeatureSpace
    stack: FeatureStack
    model: CARL | None = None
    embedding: Embedding | None = None
    options: ComputeOptions = DEFAULT_OPTIONS
    max_bytes: int = MAX_BYTES
    scratch: Scratch = ()

    def __repr__(self) -> str:
        height, width = self.stack.shape
        where = "on disk" if self.scratch else "in memory"
        network = "no network" if self.model is None else self.model.name
        return (
            f"<CubeFeatures of {self.cube.name!r}: {height} × {width} pixels, "
            f"{self.stack.width} features, {network}, {self.nbytes / 1e6:.0f} MB {where}>"
        )

    @property
    def nbytes(self) -> int:
        """Size of the features in bytes, in memory and on disk."""
        return self.stack.nbytes

    @property
    def windows(self) -> list[Region]:
        """Rectangles that cover the cube."""
        return grid_windows(self.stack.shape, _WINDOW)

    def window(
        self, region: Region, progress: Progress = no_progress
    ) -> tuple[FeatureStack, Region]:
        """Return a stack that holds the features of a region, and where they are in it."""
        return self.stack, region

    def add_network(
        self,
        model: CARL,
        options: ComputeOptions = DEFAULT_OPTIONS,
        *,
        progress: Progress = no_progress,
    ) -> CubeFeatures:
        """Compute a network's features and return them beside those of the filter bank.

        Args:
            model: in eval mode, on the device to compute on.
            options: of the network's computation.
            progress: called often; cancels by raising.

        Raises:
            CarlError: there is not enough memory for a single patch.
            OutputError: the disk is too full for the features of a large cube.
            Cancelled: by `progress`.
        """
        (features,) = add_network([self], model, options, progress=progress)
        return features

    def with_network(
        self, model: CARL, embedding: Embedding, options: ComputeOptions = DEFAULT_OPTIONS
    ) -> CubeFeatures:
        """Return the features with those of a network that has embedded the cube already."""
        return self._in_space(self.space.with_network([embedding]), model, embedding, options)

    def _in_space(
        self,
        space: FeatureSpace,
        model: CARL,
        embedding: Embedding,
        options: ComputeOptions,
        scratch: Scratch = (),
    ) -> CubeFeatures:
        """Return the filter bank's features, shared and not copied, and a network's."""
        maps = tuple(each for each in self.stack.maps if each.name not in NETWORK_GROUPS)
        bank_stack = replace(self.stack, maps=maps)
        return replace(
            self,
            space=space,
            stack=space.stack(bank_stack, embedding),
            model=model,
            embedding=embedding,
            options=options,
            scratch=(*self.scratch, *scratch),
        )


def compute_features(
    cube: SpectralCube,
    model: CARL | None = None,
    options: ComputeOptions = DEFAULT_OPTIONS,
    *,
    max_bytes: int = MAX_BYTES,
    progress: Progress = no_progress,
) -> CubeFeatures:
    """Compute the features of a cube, to fit and predict with as often as needed.

    Args:
        cube: with known wavelengths.
        model: network whose features are added to the filter bank's; None for the bank alone.
        options: of the network's computation.
        max_bytes: size above which features are held in a scratch folder on disk.
        progress: called often; cancels by raising.

    Raises:
        WavelengthError: the wavelengths are not known.
        CubeError: the cube has no usable values.
        OutputError: the disk is too full for the features of a large cube.
        Cancelled: by `progress`.

    Examples:
        >>> import numpy as np
        >>> from carl import Segmenter, SpectralCube, compute_features
        >>> pixels = np.random.default_rng(0).uniform(0.1, 1, (32, 32, 4)).astype("float32")
        >>> cube = SpectralCube(pixels, wavelengths=[450, 550, 650, 750], name="noise")
        >>> features = compute_features(cube)
        >>> features
        <CubeFeatures of 'noise': 32 × 32 pixels, 20 features, no network, 0 MB in memory>
        >>> labels = np.zeros((32, 32), int)
        >>> labels[4, 4:28], labels[28, 4:28] = 1, 2
        >>> Segmenter().fit(features, labels).predict(features).labels.shape
        (32, 32)
    """
    (features,) = compute_joint_features(
        [cube], model, options, max_bytes=max_bytes, progress=progress
    )
    return features


def compute_joint_features(
    cubes: Sequence[SpectralCube],
    model: CARL | None = None,
    options: ComputeOptions = DEFAULT_OPTIONS,
    *,
    max_bytes: int = MAX_BYTES,
    progress: Progress = no_progress,
) -> list[CubeFeatures]:
    """Compute the features of several cubes in one feature space.

    Args:
        cubes: with known wavelengths that overlap.
        model: network whose features are added, or None.
        options: of the network's computation.
        max_bytes: size above which the features of a cube are held on disk.
        progress: called often; cancels by raising.

    Raises:
        WavelengthError: wavelengths are missing, or the cubes share no range.
        CubeError, OutputError, Cancelled: as `compute_features`.
    """
    scratches: list[Scratch] = []

    def make_stack(bank: FilterBank, cube: SpectralCube, progress: Progress) -> FeatureStack:
        stack, scratch = _bank_stack(bank, cube, max_bytes, progress)
        scratches.append(scratch)
        return stack

    bank_end = 1.0 if model is None else 0.2
    bank, stacks = FilterBank.fit(cubes, make_stack, subprogress(progress, 0.0, bank_end))
    space = FeatureSpace(bank, {})
    features = [
        CubeFeatures(cube, space, stack, options=options, max_bytes=max_bytes, scratch=scratch)
        for cube, stack, scratch in zip(cubes, stacks, scratches, strict=True)
    ]
    if model is None:
        return features
    return add_network(features, model, options, progress=subprogress(progress, bank_end, 1.0))


def add_network(
    features: Sequence[CubeFeatures],
    model: CARL,
    options: ComputeOptions = DEFAULT_OPTIONS,
    *,
    progress: Progress = no_progress,
) -> list[CubeFeatures]:
    """Add a network's features to those of several cubes, in one feature space.

    A network that the features have already is replaced; arguments and errors are those of
    `CubeFeatures.add_network`.
    """
    n = len(features)
    embedded = [
        _embed(each.cube, model, options, each.max_bytes, subprogress(progress, i / n, (i + 1) / n))
        for i, each in enumerate(features)
    ]
    space = features[0].space.with_network([embedding for embedding, _ in embedded])
    return [
        each._in_space(space, model, embedding, options, scratch)
        for each, (embedding, scratch) in zip(features, embedded, strict=True)
    ]


def features_in_space(
    cube: SpectralCube,
    space: FeatureSpace,
    model: CARL | None,
    options: ComputeOptions = DEFAULT_OPTIONS,
    *,
    embedding: Embedding | None = None,
    max_bytes: int = MAX_BYTES,
    progress: Progress = no_progress,
) -> CubeFeatures:
    """Compute the features of a cube of any camera in a space that was fitted to other cubes.

    `model` is the network of the space, and `embedding` that of the cube by this network, where it
    is known. The other arguments, and the other errors, are those of `compute_features`.

    Raises:
        WavelengthError: the cube does not cover the wavelengths of the space.
    """
    bank_end = 1.0 if model is None else 0.2
    stack, scratch = _bank_stack(space.bank, cube, max_bytes, subprogress(progress, 0.0, bank_end))
    embedding_scratch: Scratch = ()
    if model is not None and embedding is None:
        embedding, embedding_scratch = _embed(
            cube, model, options, max_bytes, subprogress(progress, bank_end, 1.0)
        )
    return CubeFeatures(
        cube,
        space,
        space.stack(stack, embedding),
        model,
        embedding,
        options,
        max_bytes,
        (*scratch, *embedding_scratch),
    )


class StreamedFeatures:
    """Features of a cube of any camera that are computed window by window and not held.

    A window is computed with a margin as wide as the neighbourhoods reach, and begins where cells
    and patches begin, so its features are those of the whole cube. Rows that successive windows
    share are read once. Arguments and errors are those of `features_in_space`.

    Attributes:
        windows: rectangles that cover the cube, in the order in which it is read once.
        has_views: whether the features hold the views of the spectra.
    """

    def __init__(
        self,
        cube: SpectralCube,
        space: FeatureSpace,
        model: CARL | None = None,
        options: ComputeOptions = DEFAULT_OPTIONS,
        *,
        progress: Progress = no_progress,
    ) -> None:
        self._space = space
        self._shape = cube.shape[:2]
        self._reader = space.bank.reader(cube)
        self._embedding: Embedding | None = None
        if model is not None:
            self._embedding, self._scratch = _embed(cube, model, options, 0, progress)
        patch_size = 1 if self._embedding is None else self._embedding.patch_size
        self._alignment = lcm(*space.bank.cells, patch_size)
        self._margin = _round_up(space.bank.reach, self._alignment)
        self._rows = _RowBuffer(self._reader)
        self.has_views = self._reader.views is not None
        down, across = (
            _spans(length, _round_up(side, self._alignment))
            for length, side in zip(self._shape, (_ROWS, _COLUMNS), strict=True)
        )
        self.windows: list[Region] = [(rows, columns) for rows in down for columns in across]

    def window(
        self, region: Region, progress: Progress = no_progress
    ) -> tuple[FeatureStack, Region]:
        """Compute a stack that holds the features of a region, and return where they are in it."""
        rows, columns = (self._with_margin(*each) for each in zip(region, self._shape, strict=True))
        self._rows.move_to(rows, subprogress(progress, 0.0, 0.3))
        stack = self._space.bank.stack_of(
            self._rows.columns(columns),
            self._reader.mapping.error_variance,
            subprogress(progress, 0.3, 1.0),
        )
        stack = self._space.stack(stack, _cropped(self._embedding, rows, columns))
        return stack, (_relative(region[0], rows), _relative(region[1], columns))

    def _with_margin(self, span: slice, length: int) -> slice:
        start = span.start // self._alignment * self._alignment
        stop = _round_up(span.stop, self._alignment)
        return slice(max(0, start - self._margin), min(length, stop + self._margin))


class _RowBuffer:
    """Components of successive rows of a cube; rows that are held are not read again."""

    def __init__(self, reader: ComponentReader) -> None:
        self._reader = reader
        shape = (0, reader.cube.shape[1])
        self._values: Float32Array = np.empty((*shape, reader.n_components), np.float32)
        self._valid: NDArray[np.bool_] = np.empty(shape, bool)
        self._rows = slice(0, 0)

    def move_to(self, rows: slice, progress: Progress) -> None:
        """Hold these rows and drop all others."""
        overlap = self._rows.start <= rows.start <= self._rows.stop
        kept = slice(rows.start, max(rows.start, self._rows.stop)) if overlap else slice(0, 0)
        known = _relative(kept, self._rows)
        values, valid = self._values[known], self._valid[known]
        first_missing = kept.stop if overlap else rows.start
        if first_missing < rows.stop:
            new = self._reader.read(slice(first_missing, rows.stop), progress)
            new_valid = np.ones(new.values.shape[:2], bool) if new.valid is None else new.valid
            values = np.concatenate([values, new.values])
            valid = np.concatenate([valid, new_valid])
        n_rows = rows.stop - rows.start
        self._values, self._valid, self._rows = values[:n_rows], valid[:n_rows], rows

    def columns(self, columns: slice) -> PixelComponents:
        """Return a copy of some columns, as features are normalised in place."""
        valid = self._valid[:, columns]
        return PixelComponents(self._values[:, columns].copy(), None if valid.all() else valid)


def _bank_stack(
    bank: FilterBank, cube: SpectralCube, max_bytes: int, progress: Progress
) -> tuple[FeatureStack, Scratch]:
    """Compute the filter bank's features, tile by tile into a scratch folder if they are large."""
    if bank.nbytes(cube.shape) <= max_bytes:
        return bank.stack(cube, progress), ()
    scratch = ScratchFolder()
    height, width, _ = cube.shape
    streamed = StreamedFeatures(cube, FeatureSpace(bank, {}))
    arrays = [
        DiskArray(scratch.path / f"{number}.raw", (-(-height // cell), -(-width // cell), depth))
        for number, (cell, depth) in enumerate(bank.layout(streamed.has_views))
    ]
    valid = np.ones((height, width), bool)
    groups: tuple[FeatureMap, ...] = ()
    n = len(streamed.windows)
    for done, region in enumerate(streamed.windows):
        tile, inside = streamed.window(region, subprogress(progress, done / n, (done + 1) / n))
        groups = tile.maps
        for array, group in zip(arrays, groups, strict=True):
            rows, columns = (_in_cells(span, group.cell) for span in region)
            cells = tuple(_in_cells(span, group.cell) for span in inside)
            array.write(rows, columns, group.values[cells])
        if tile.valid is not None:
            valid[region] = tile.valid[inside]
    maps = tuple(
        replace(group, values=array.mapped()) for array, group in zip(arrays, groups, strict=True)
    )
    return FeatureStack((height, width), maps, None if valid.all() else valid), (scratch,)


def _embed(
    cube: SpectralCube,
    model: CARL,
    options: ComputeOptions,
    max_bytes: int,
    progress: Progress,
) -> tuple[Embedding, Scratch]:
    """Compute the embedding of a cube, in a scratch folder if it is large."""
    n_pixels = cube.shape[0] * cube.shape[1]
    nbytes = 8 * model.embed_dim * n_pixels // model.patch_size**2  # two maps of float32
    scratch: Scratch = ()
    if n_pixels > _SMALL_PIXELS and nbytes > max_bytes // 4:
        scratch = (ScratchFolder(),)

    def embed(seen: SpectralCube) -> Embedding:
        file = scratch[0].path / "embedding.npz" if scratch else None
        return embed_cached(seen, model, options, scratch=file, progress=progress)

    return embed_finely(cube, model.patch_size, embed), scratch


def _cropped(embedding: Embedding | None, rows: slice, columns: slice) -> Embedding | None:
    """Return the embedding of a rectangle that begins where patches begin."""
    if embedding is None:
        return None
    at = tuple(_in_cells(span, embedding.patch_size) for span in (rows, columns))
    return replace(
        embedding,
        spatial=read_mapped(embedding.spatial[at]),
        spectral=read_mapped(embedding.spectral[at]),
        shape=(rows.stop - rows.start, columns.stop - columns.start),
    )


def _spans(length: int, step: int) -> list[slice]:
    """Cut an axis into pieces of `step`; the last one is up to half as long again."""
    starts = range(0, max(length - step // 2, 1), step)
    return [slice(at, length if at == starts[-1] else at + step) for at in starts]


def _in_cells(span: slice, cell: int) -> slice:
    """Return the cells that cover pixels which begin with a cell."""
    return slice(span.start // cell, -(-span.stop // cell))


def _relative(span: slice, outer: slice) -> slice:
    return slice(span.start - outer.start, span.stop - outer.start, span.step)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
