"""Run a network on patches in passes that fit the memory of its device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import chain, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from carl.arrays import Float32Array
from carl.errors import CarlError, is_out_of_memory
from carl.inference.backend import Backend, NumberFormat, full_budget
from carl.inference.fast import FastBackend
from carl.inference.plan import Plan
from carl.inference.turbo import band_statistics
from carl.inference.workers import Workers, equal_parts
from carl.model import CARL

_CPU_PASS_BYTES = 2 << 20
"""Bytes of all tokens and queries of a pass on a CPU: about the L2 cache of a core; of 1, 2, 4 and
8 MB the fastest over networks and number formats."""
_MIN_CPU_PATCHES = 8
"""Patches of a pass on a CPU: with fewer, the overhead dominates, and results differ in rounding
from those of larger passes."""
_GPU_BYTES_PER_TOKEN_VALUE = 64
"""Memory a pass needs on a GPU per value of its band tokens in float32, all layers counted."""
_GPU_MEMORY_FRACTION = 0.5
"""Fraction of the free memory of a GPU that a pass may need."""
_GPU_MAX_TOKEN_VALUES = 1 << 28
"""Values of the band tokens of a pass on a GPU: enough to keep the largest GPU busy."""
_UNKNOWN_GPU_BYTES = 1 << 31
"""Memory a pass may need on a GPU that does not report its free memory, such as Apple's."""


class Engine:
    """Compute features as a plan describes, from NumPy to NumPy.

    If the device runs out of memory, passes become smaller; if a single patch does not fit, a copy
    of the model does the rest of the work on the CPU. The caller's model is not changed.

    Args:
        model: in eval mode, on the device to compute on.
        workers: threads that share the passes.
        make_backend: returns the implementation of the network.

    Attributes:
        note: what is done differently from what was asked for, for the user; empty if nothing is.
    """

    def __init__(
        self,
        model: CARL,
        workers: Workers,
        make_backend: Callable[[CARL], Backend] = FastBackend,
    ) -> None:
        self.note = ""
        self._model = model
        self._workers = workers
        self._make_backend = make_backend
        self._backend = make_backend(model)
        self._max_patches: int | None = None
        """Patches of a pass that fit into memory; None as long as nothing was too large."""

    def encode_spectral(
        self,
        strip: Float32Array,
        wavelengths: NDArray[np.float64],
        plan: Plan,
        on_pass: Callable[[int], None] = lambda _: None,
    ) -> Float32Array:
        """Compute the features of single patches.

        Args:
            strip: (C, P, n·P) normalised patches side by side.
            wavelengths: (C,) in nm.
            plan: of the computation.
            on_pass: called after every pass with the number of patches done.

        Returns:
            (n, D).
        """
        groups, correction = plan.groups, plan.correction
        if groups is None:
            return self._run_passes(strip, wavelengths, plan, on_pass)
        size = strip.shape[1]
        n_patches = strip.shape[2] // size
        parts = equal_parts(n_patches, min(self._workers.count, n_patches))

        def pixels(part: slice) -> Float32Array:
            return strip[..., part.start * size : part.stop * size]

        merged = list(self._workers.map(lambda part: groups.merge(pixels(part)), parts))
        features = self._run_passes(
            np.concatenate(merged, axis=2), groups.wavelengths, plan, on_pass
        )
        if correction is None:
            return features
        corrected = self._workers.map(
            lambda part: correction(features[part], band_statistics(pixels(part))), parts
        )
        return np.concatenate(list(corrected))

    def encode_spatial(
        self,
        maps: Iterable[Float32Array],
        plan: Plan,
        waiting: Callable[[], None] = lambda: None,
    ) -> Iterator[Float32Array]:
        """Compute the features of patches in the context of their neighbours.

        Several maps are computed at the same time, one per thread; a single map is computed by all
        threads together.

        Args:
            maps: (h, w, D) spectral features each.
            plan: of the computation.
            waiting: called many times a second meanwhile; cancels by raising.

        Yields:
            (h, w, D) for each map, in order.
        """
        maps = iter(maps)
        first = list(islice(maps, 2))
        n_threads = self._workers.count if len(first) == 1 else 1

        def encode(features: Float32Array) -> Float32Array:
            with self._workers.threads_per_operation(n_threads):
                return self._encode_map(features, plan.spatial_format)

        yield from self._workers.map(encode, chain(first, maps), waiting)

    def _run_passes(
        self,
        strip: Float32Array,
        wavelengths: NDArray[np.float64],
        plan: Plan,
        on_pass: Callable[[int], None],
    ) -> Float32Array:
        """Run the spectral half on patches (C, P, n·P) with the bands given: (n, D)."""
        wavelengths_um = torch.as_tensor(wavelengths / 1000, dtype=torch.float32)
        features: list[Float32Array] = []
        n_done = 0
        passes = self._split(torch.from_numpy(strip), plan)
        for result in self._workers.map(
            lambda part: self._run_pass(part, wavelengths_um, plan), passes
        ):
            features.append(result)
            n_done += len(result)
            on_pass(n_done)
        return np.concatenate(features)

    def _split(self, strip: Tensor, plan: Plan) -> Iterator[Tensor]:
        """Split (C, P, n·P) into the passes."""
        n_bands, size, width = strip.shape
        dim = self._model.config.spec_encoder_kwargs.embed_dim
        n_queries = (plan.budget or full_budget(self._model)).queries
        value_bytes = 2 if plan.spectral_format == "bf16" else 4
        cpu_size = _CPU_PASS_BYTES // (value_bytes * (n_bands + n_queries) * dim)
        start, n_left = 0, width // size
        cpu_size = _balanced_pass(n_left, cpu_size, self._workers.count)
        while n_left:
            device = self._backend.device  # changes when its memory is full
            n_patches = cpu_size if device.type == "cpu" else _gpu_patches(device, n_bands * dim)
            n_patches = min(n_left, n_patches, self._max_patches or n_patches)
            yield strip[..., start : start + n_patches * size]
            start += n_patches * size
            n_left -= n_patches

    def _run_pass(self, strip: Tensor, wavelengths_um: Tensor, plan: Plan) -> Float32Array:
        """Compute features (n, D) of (C, P, n·P); in halves if memory is short."""
        n_patches = strip.shape[-1] // self._model.patch_size
        backend = self._backend
        try:
            return _to_numpy(
                backend.encode_spectral(
                    strip.to(backend.device, non_blocking=True),
                    wavelengths_um.to(backend.device),
                    plan.spectral_format,
                    plan.budget,
                )
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if n_patches == 1:
                self._move_to_cpu(error)
                return self._run_pass(strip, wavelengths_um, plan)
        self._max_patches = min(n_patches // 2, self._max_patches or n_patches)
        self.note = "in small passes, as memory is short"
        if backend.device.type == "cuda":
            torch.cuda.empty_cache()
        middle = n_patches // 2 * self._model.patch_size
        halves = strip[..., :middle], strip[..., middle:]
        return np.concatenate([self._run_pass(half, wavelengths_um, plan) for half in halves])

    def _encode_map(self, grid: Float32Array, number_format: NumberFormat) -> Float32Array:
        """Compute spatial features (h, w, D) of a map (h, w, D)."""
        features = torch.from_numpy(grid).permute(2, 0, 1)[None]
        backend = self._backend
        try:
            encoded = _to_numpy(backend.encode_spatial(features.to(backend.device), number_format))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._move_to_cpu(error)
            return self._encode_map(grid, number_format)
        return np.ascontiguousarray(encoded[0].transpose(1, 2, 0))

    def _move_to_cpu(self, error: RuntimeError | MemoryError) -> None:
        """Continue on the CPU.

        Raises:
            CarlError: this is the CPU.
        """
        if self._backend.device.type == "cpu":
            raise CarlError(
                "There is not enough memory to run this model even on a small part of the cube: "
                "close other programs or choose a smaller model."
            ) from error
        self._model = _copy_to_cpu(self._model)
        self._backend = self._make_backend(self._model)
        self._max_patches = None
        self.note = "on the CPU, as the memory of the graphics card is full"


def _balanced_pass(n_patches: int, size: int, n_workers: int) -> int:
    """Return a pass size near `size` with which all workers get equally many, equal passes."""
    size = max(_MIN_CPU_PATCHES, size)
    rounds = -(-n_patches // (size * n_workers))
    n_passes = min(rounds * n_workers, max(1, n_patches // _MIN_CPU_PATCHES))
    return -(-n_patches // n_passes)


def _gpu_patches(device: torch.device, token_values: int) -> int:
    """Return the patches of a pass that fits the free memory of a GPU; each has `token_values`."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        usable = int((free + cached) * _GPU_MEMORY_FRACTION)
    else:
        usable = _UNKNOWN_GPU_BYTES
    values = min(usable // _GPU_BYTES_PER_TOKEN_VALUE, _GPU_MAX_TOKEN_VALUES)
    return max(1, values // token_values)


def _to_numpy(features: Tensor) -> Float32Array:
    array: Float32Array = features.cpu().numpy()
    return array


def _copy_to_cpu(model: CARL) -> CARL:
    """Return a copy on the CPU, made without memory of the device."""
    memo: dict[int, Tensor] = {id(buffer): buffer.cpu() for buffer in model.buffers()}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().cpu(), parameter.requires_grad)
    return deepcopy(model, memo).to("cpu")
