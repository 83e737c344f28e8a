"""Run a model in passes that fit the memory of its device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from carl.errors import CarlError
from carl.inference.precision import Precision
from carl.inference.workers import Workers
from carl.model import CARL

FloatArray = NDArray[np.float32]

_CPU_TOKEN_BYTES = 1 << 20
"""Band tokens of one pass on a CPU: few enough to stay in its cache from layer to layer."""
_FEWEST_ON_CPU = 8
"""Patches of one pass on a CPU, however many bands: fewer and overhead rules."""
_GPU_TOKEN_SHARE = 0.01
"""Share of a GPU's free memory that band tokens may take; a layer needs dozens of times as much."""


class Engine:
    """The two halves of a model, from NumPy to NumPy, in a given precision.

    When the device runs out of memory, passes become smaller; when they cannot, a copy of the model
    does the rest of the work on the CPU. The caller's model is never changed.

    Args:
        model: in eval mode, on the device to compute on.
        precision: to compute in; results are float32.
        workers: to share the passes among.

    Attributes:
        note: what is done about a lack of memory, in words for the user; empty without one.
    """

    def __init__(self, model: CARL, precision: Precision, workers: Workers) -> None:
        self.note = ""
        self._model = model
        self._precision = precision
        self._workers = workers
        self._most_patches: int | None = None  # none known to be too many yet

    def spectral(
        self,
        strip: FloatArray,
        wavelengths_um: NDArray[np.floating],
        done: Callable[[int], None] = lambda _: None,
    ) -> FloatArray:
        """Features of patches from their spectra.

        Args:
            strip: (C, P, n·P) normalised patches side by side.
            wavelengths_um: (C,) in µm.
            done: told after every pass how many patches are done.

        Returns:
            (n, D).
        """
        bands = torch.as_tensor(wavelengths_um, dtype=torch.float32)[None]
        passes = self._passes(torch.from_numpy(strip)[None], len(wavelengths_um))
        pieces: list[FloatArray] = []
        n_done = 0
        for features in self._workers.map(lambda image: self._spectral_pass(image, bands), passes):
            pieces.append(features)
            n_done += len(features)
            done(n_done)
        return np.concatenate(pieces)

    def spatial(
        self, grids: Iterable[FloatArray], waiting: Callable[[], None] = lambda: None
    ) -> Iterator[FloatArray]:
        """Features of patches in the context of their neighbours, for several maps of patches.

        Args:
            grids: (h, w, D) each.
            waiting: called many times a second meanwhile; calls the work off by raising.

        Yields:
            (h, w, D) for each, in order.
        """
        yield from self._workers.map(self._spatial_pass, grids, waiting)

    def _passes(self, image: Tensor, n_bands: int) -> Iterator[Tensor]:
        """Parts of (1, C, P, n·P) that are computed at once."""
        size = self._model.patch_size
        start = 0
        while start < image.shape[-1]:
            stop = start + size * self._patches_per_pass(n_bands)
            yield image[..., start:stop]
            start = stop

    def _spectral_pass(self, image: Tensor, bands: Tensor) -> FloatArray:
        """(n, D) features of (1, C, P, n·P), in halves if all at once is too much."""
        n_patches = image.shape[-1] // self._model.patch_size
        try:
            features = self._run(
                partial(CARL.spectral_features, patches_per_chunk=n_patches), image, bands
            )
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if n_patches == 1:
                self._leave_device(error)
                return self._spectral_pass(image, bands)
        else:
            return features[0, :, 0].T
        self._shrink(n_patches // 2)
        middle = n_patches // 2 * self._model.patch_size
        halves = image[..., :middle], image[..., middle:]
        return np.concatenate([self._spectral_pass(half, bands) for half in halves])

    def _spatial_pass(self, grid: FloatArray) -> FloatArray:
        features = torch.from_numpy(grid).permute(2, 0, 1)[None]
        try:
            encoded = self._run(CARL.spatial_features, features)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            self._leave_device(error)
            return self._spatial_pass(grid)
        return np.ascontiguousarray(encoded[0].transpose(1, 2, 0))

    def _run(self, half: Callable[..., Tensor], *inputs: Tensor) -> FloatArray:
        device = self._device
        in_bf16 = self._precision == "bf16"
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, in_bf16):
            result = half(self._model, *(tensor.to(device) for tensor in inputs))
        array: FloatArray = result.float().cpu().numpy()
        return array

    @property
    def _device(self) -> torch.device:
        return next(self._model.parameters()).device

    def _patches_per_pass(self, n_bands: int) -> int:
        if self._device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self._device)
            token_bytes, fewest = int(free * _GPU_TOKEN_SHARE), 1
        else:
            token_bytes, fewest = _CPU_TOKEN_BYTES, _FEWEST_ON_CPU
        width = self._model.config.spec_encoder_kwargs.embed_dim
        wanted = max(fewest, token_bytes // (4 * n_bands * width))
        return min(wanted, self._most_patches or wanted)

    def _shrink(self, n_patches: int) -> None:
        """From now on, passes of no more than so many patches."""
        self._most_patches = min(n_patches, self._most_patches or n_patches)
        self.note = "in small pieces, as memory is short"
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _leave_device(self, error: RuntimeError | MemoryError) -> None:
        """Go on with the CPU.

        Raises:
            CarlError: this is the CPU.
        """
        if self._device.type == "cpu":
            raise CarlError(
                "There is not enough memory to run this model even on a small piece: close other "
                "programs or choose a smaller model."
            ) from error
        self._model = _copy_on_cpu(self._model)
        self._most_patches = None
        self.note = "on the CPU, as the memory of the graphics card is full"


def _copy_on_cpu(model: CARL) -> CARL:
    """A copy that needs no room on the device, which is full."""
    memo: dict[int, Tensor] = {id(buffer): buffer.cpu() for buffer in model.buffers()}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().cpu(), parameter.requires_grad)
    return deepcopy(model, memo).to("cpu")


def _is_out_of_memory(error: Exception) -> bool:
    # Only CUDA has a type of its own for it, the others are known by their words.
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(
        phrase in words for phrase in ("out of memory", "allocate memory", "not enough memory")
    )
