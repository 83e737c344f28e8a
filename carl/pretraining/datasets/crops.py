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
from carl.pretraining.datasets.augment import BandChoice, Bands, random_crop, random_turn
from carl.pretraining.datasets.images import Images, View, Window
from carl.pretraining.datasets.mixing import BatchPlan
from carl.pretraining.randomness import Stream, generator
from carl.pretraining.statistics import patch_moments
from carl.spectra.missing import fill_missing

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
    """

    name: str
    images: Images
    bands: BandChoice
    fill_gaps: bool
    weight: float


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
    """

    image: Tensor
    wavelengths_um: Tensor
    position: int
    name: str
    files: tuple[str, ...]
    moments: Tensor | None = None


class Crops(Dataset["Batch | CarlError"]):
    """The batches of a run.

    What cannot be read is returned, not raised: an exception that crosses from a worker process
    loses its message among tracebacks.

    Args:
        sources: all cameras of all sets.
        size: S, pixels.
        seed: of the run.
        moments_of: side in pixels of the patches whose moments are asked for; None for none.
    """

    def __init__(
        self, sources: Sequence[Source], size: int, seed: int, moments_of: int | None = None
    ) -> None:
        self._sources = sources
        self._size = size
        self._seed = seed
        self._moments_of = moments_of

    def __getitem__(self, plan: BatchPlan) -> Batch | CarlError:
        """The batch of a plan, or what is wrong with its files."""
        source = self._sources[plan.camera]
        random = generator(self._seed, Stream.BANDS, plan.position)
        view = source.images.for_batch(random)
        bands = source.bands.draw(view.wavelengths, random)
        crops, files, moments = [], [], []
        try:
            for number, item in enumerate(plan.items, start=plan.first):
                random = generator(self._seed, Stream.CROP, plan.position, number)
                crop, window, whole = self._crop(source, view, item, bands, random)
                crops.append(crop)
                files.append(window.name)
                if self._moments_of is not None:
                    moments.append(self._moments(whole, view.wavelengths, window))
        except CarlError as error:
            return CubeError(f"The set '{source.name}': {error}")
        image = torch.from_numpy(np.stack(crops)).movedim(-1, 1).contiguous()
        wavelengths_um = torch.as_tensor(bands.wavelengths / 1000, dtype=torch.float32)
        told = torch.from_numpy(np.stack(moments)) if moments else None
        return Batch(image, wavelengths_um, plan.position, source.name, tuple(files), told)

    def _moments(
        self, whole: NDArray[np.float32], wavelengths: NDArray[np.float64], window: Window
    ) -> NDArray[np.float32]:
        assert self._moments_of is not None
        values = whole.copy()
        fill_missing(values, wavelengths)
        return patch_moments(values, wavelengths, window.mean, window.std, self._moments_of)

    def _crop(
        self,
        source: Source,
        view: View,
        item: int,
        bands: Bands,
        random: np.random.Generator,
    ) -> tuple[NDArray[np.float32], Window, NDArray[np.float32]]:
        """A crop of an item; of another item where there is little to see.

        Returns:
            (S, S, C') normalised values of the bands shown, the window it is from, and (S, S, C)
            values of all bands as they are.
        """
        for _ in range(_TRIES):
            window = view.read(item, self._size, random)
            whole = random_crop(window.values, self._size, random)
            crop = bands.of(whole)
            known = float(np.isfinite(crop).mean())
            if known < 1 and not (source.fill_gaps or window.gaps_declared):
                return crop, window, whole  # to be found by `check_batch`, which names the set
            if window.std > 0 and known >= _LEAST_KNOWN:
                crop = (crop - np.float32(window.mean)) / np.float32(window.std)
                fill_missing(crop, bands.wavelengths)
                both = random_turn(np.concatenate([crop, whole], axis=2), random)
                return both[..., : crop.shape[2]], window, both[..., crop.shape[2] :]
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
