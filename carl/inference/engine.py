"""Run a model in passes that fit the memory of its device."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carl.errors import CarlError
from carl.inference.precision import Precision
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

    Attributes:
        note: what is done about a lack of memory, in words for the user; empty without one.
    """

    def __init__(self, model: CARL, precision: Precision) -> None:
        self.note = ""
        self._model = model
        self._precision = precision
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
        image = torch.from_numpy(strip)[None]
        bands = torch.as_tensor(wavelengths_um, dtype=torch.float32)[None]
        size = self._model.patch_size
        n_patches = strip.shape[2] // size
        pieces: list[FloatArray] = []
        start = 0
        while start < n_patches:
            step = self._patches_per_pass(len(wavelengths_um))
            passed = image[..., start * size : (start + step) * size]
            try:
                features = self._run(CARL.spectral_features, passed, bands)
            except (RuntimeError, MemoryError) as error:
                self._make_room(error, step)
                continue
            pieces.append(features[0, :, 0].T)
            start += step
            done(min(start, n_patches))
        return np.concatenate(pieces)

    def spatial(self, features: FloatArray) -> FloatArray:
        """Features of patches in the context of their neighbours: (h, w, D) to (h, w, D)."""
        grid = torch.from_numpy(features).permute(2, 0, 1)[None]
        while True:
            try:
                encoded = self._run(CARL.spatial_features, grid)
            except (RuntimeError, MemoryError) as error:
                self._make_room(error, 1)
                continue
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

    def _make_room(self, error: RuntimeError | MemoryError, n_patches: int) -> None:
        """After a pass of so many patches failed: smaller passes, or the CPU, or an end of it."""
        if not _is_out_of_memory(error):
            raise error
        device = self._device
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if n_patches > 1:
            self._most_patches = n_patches // 2
            self.note = "in small pieces, as memory is short"
        elif device.type != "cpu":
            self._model = deepcopy(self._model).to("cpu")
            self._most_patches = None
            self.note = "on the CPU, as the memory of the graphics card is full"
        else:
            raise CarlError(
                "There is not enough memory to run this model even on a single patch: close other "
                "programs or choose a smaller model."
            ) from error


def _is_out_of_memory(error: Exception) -> bool:
    # Only CUDA has a type of its own for it, the others are known by their words.
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(
        phrase in words for phrase in ("out of memory", "allocate memory", "not enough memory")
    )
