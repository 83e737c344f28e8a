"""From the plan of a batch to its tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from carl.errors import CarlError, CubeError
from carl.pretraining.datasets.augment import (
    BandChoice,
    Bands,
    random_crop,
    random_turn,
    random_zoom,
    resized,
)
from carl.pretraining.datasets.images import Images, View, Window
from carl.pretraining.datasets.mixing import BatchPlan
from carl.pretraining.statistics import patch_moments
from carl.pretraining.truth import patch_truth
from carl.random_streams import Stream, generator
from carl.spectra.normalise import fill_missing, spectra_statistics

_TRIES = 10
_LEAST_KNOWN = 0.5
"""A crop with a smaller share of known values is not worth showing; another is drawn."""


@dataclass(frozen=True, eq=False)
class Source:
    """One camera of one set.

    Attributes:
        name: of the set, for messages.
        images: what to draw crops from.
        bands: which bands a batch shows.
        fill_gaps: fill values that are missing, even where the file does not declare it.
        weight: share of the batches, up to a factor.
        zoom: least and greatest magnification of crops.
    """

    name: str
    images: Images
    bands: BandChoice
    fill_gaps: bool
    weight: float
    zoom: tuple[float, float] = (1.0, 1.0)


class Batch(NamedTuple):
    """Crops of one camera.

    Attributes:
        image: (B, C, S, S) normalised; bands in order of wavelength.
        wavelengths_um: (C,) in µm.
        position: of the batch, counted from the start of the run.
        name: of the set.
        files: that the crops are from.
        moments: (B, M, S/P, S/P) of `carl.pretraining.statistics.patch_moments`, from all bands of
            the images; None where they are not asked for.
        truth: (B, N_TRUTHS, S/P, S/P) of `carl.pretraining.truth.patch_truth`; None likewise.
    """

    image: Tensor
    wavelengths_um: Tensor
    position: int
    name: str
    files: tuple[str, ...]
    moments: Tensor | None = None
    truth: Tensor | None = None


class _Crop(NamedTuple):
    """A crop and what is known about it.

    Attributes:
        image: (S, S, C') normalised values of the bands shown.
        values: (S, S, C) of all bands, as they are.
        truth: (S, S, N_TRUTHS), or None.
        window: that it is from.
    """

    image: NDArray[np.float32]
    values: NDArray[np.float32]
    truth: NDArray[np.float32] | None
    window: Window


class Crops(Dataset["Batch | CarlError"]):
    """The batches of a run.

    What cannot be read is returned, not raised: an exception that crosses from a worker process
    loses its message among tracebacks.

    Args:
        sources: all cameras of all sets.
        size: S, pixels.
        seed: of the run.
        patch_size: P of the patches whose moments and truth are asked for; None for neither.
    """

    def __init__(
        self, sources: Sequence[Source], size: int, seed: int, patch_size: int | None = None
    ) -> None:
        self._sources = sources
        self._size = size
        self._seed = seed
        self._patch_size = patch_size

    def __getitem__(self, plan: BatchPlan) -> Batch | CarlError:
        """The batch of a plan, or what is wrong with its files."""
        source = self._sources[plan.camera]
        random = generator(self._seed, Stream.BANDS, plan.position)
        view = source.images.for_batch(random)
        bands = source.bands.draw(view.wavelengths, random)
        crops, files, moments, truths = [], [], [], []
        try:
            for number, item in enumerate(plan.items, start=plan.first):
                random = generator(self._seed, Stream.CROP, plan.position, number)
                crop = self._crop(source, view, item, bands, random)
                crops.append(crop.image)
                files.append(crop.window.name)
                if self._patch_size is not None:
                    moments.append(self._moments(crop, view.wavelengths, self._patch_size))
                    truths.append(patch_truth(crop.truth, self._size, self._patch_size))
        except CarlError as error:
            return CubeError(f"The set '{source.name}': {error}")
        image = torch.from_numpy(np.stack(crops)).movedim(-1, 1).contiguous()
        wavelengths_um = torch.as_tensor(bands.wavelengths / 1000, dtype=torch.float32)
        told = [torch.from_numpy(np.stack(each)) if each else None for each in (moments, truths)]
        return Batch(image, wavelengths_um, plan.position, source.name, tuple(files), *told)

    def _moments(
        self, crop: _Crop, wavelengths: NDArray[np.float64], patch_size: int
    ) -> NDArray[np.float32]:
        values = crop.values.copy()
        fill_missing(values, wavelengths)
        mean, std = spectra_statistics(crop.window.spectra, wavelengths)
        return patch_moments(values, wavelengths, mean, std, patch_size)

    def _crop(
        self,
        source: Source,
        view: View,
        item: int,
        bands: Bands,
        random: np.random.Generator,
    ) -> _Crop:
        """A crop of an item; of another item where there is little to see."""
        for _ in range(_TRIES):
            zoom = random_zoom(source.zoom, random)
            side = self._size if zoom == 1 else max(1, round(self._size / zoom))
            window = view.read(item, side, random)
            n_bands = window.values.shape[2]
            known_of = [window.values] if window.truth is None else [window.values, window.truth]
            whole = random_crop(np.concatenate(known_of, axis=2), side, random)
            whole = resized(whole, self._size)
            image = bands.of(whole[..., :n_bands])
            known = float(np.isfinite(image).mean())
            if known < 1 and not (source.fill_gaps or window.gaps_declared):
                # To be found by `check_batch`, which names the set.
                return _Crop(image, whole[..., :n_bands], None, window)
            mean, std = spectra_statistics(bands.of(window.spectra[None])[0], bands.wavelengths)
            if known >= _LEAST_KNOWN and std > 0:
                image = (image - np.float32(mean)) / np.float32(std)
                fill_missing(image, bands.wavelengths)
                turned = random_turn(np.concatenate([image, whole], axis=2), random)
                image, values, truth = np.split(
                    turned, [image.shape[2], image.shape[2] + n_bands], axis=2
                )
                return _Crop(image, values, truth if truth.shape[2] else None, window)
            item = int(random.integers(len(source.images)))
        raise CubeError(
            f"{window.name} and {_TRIES - 1} other images hold hardly any values, or the same "
            "everywhere: leave such files out."
        )


def check_batch(batch: Batch) -> None:
    """See that a batch holds numbers.

    Raises:
        CubeError: it does not; the message names the set and the files.
    """
    spoilt = ~torch.isfinite(batch.image).flatten(1).all(dim=1)
    if spoilt.any():
        files = {file for file, bad in zip(batch.files, spoilt.tolist(), strict=True) if bad}
        raise CubeError(
            f"The set '{batch.name}' holds values that are not numbers (in "
            f"{', '.join(sorted(files))}): correct them, or write 'missing: fill' in the set."
        )
