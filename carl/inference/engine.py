"""Run a model in passes that fit the memory of its device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from itertools import chain, islice
from time import thread_time
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from carl.arrays import Float32Array
from carl.errors import CarlError, is_out_of_memory
from carl.inference.folded import ComputeBudget
from carl.inference.pass_size import PassSizes
from carl.inference.precision import Precision
from carl.inference.prepared import Prepared, prepared
from carl.inference.transfers import Upload, uploads
from carl.inference.workers import Workers
from carl.model import CARL

_GPU_BYTES_PER_TOKEN_VALUE = 64
"""That a pass needs on a GPU for every value of its band tokens, in float32, all layers counted."""
_GPU_MEMORY_SHARE = 0.5
"""Of the free memory of a GPU that a pass may need."""
_GPU_MOST_VALUES = 1 << 28
"""Of the band tokens of a pass on a GPU: enough to keep the largest busy, in several passes."""
_OTHER_GPU_BYTES = 1 << 31
"""That a pass may need on a GPU which does not tell what is free, as Apple's."""


class _Features(NamedTuple):
    """Features of a pass, and the seconds of a processor core they took."""

    values: Float32Array
    seconds: float


class Engine:
    """The two halves of a model, from NumPy to NumPy, in a given precision.

    When the device runs out of memory, passes become smaller; when they cannot, a copy of the model
    does the rest of the work on the CPU. The caller's model is never changed.

    Args:
        model: in eval mode, on the device to compute on.
        precision: to compute the spectral half in; results are float32.
        workers: to share the passes among.
        spatial_precision: to compute the spatial half in; the same by default.
        compiled: whether to run the spectral half through `torch.compile`. The first passes then
            take up to a minute, so that this pays for large cubes; without a compiler on this
            machine it is done without.

    Attributes:
        workers: as given.
        note: what is done otherwise than asked for, in words for the user; empty if nothing is.
    """

    def __init__(
        self,
        model: CARL,
        precision: Precision,
        workers: Workers,
        spatial_precision: Precision | None = None,
        *,
        compiled: bool = False,
    ) -> None:
        self.note = ""
        self._model = model
        self._precision = precision
        self._spatial_precision = spatial_precision
        self.workers = workers
        self._compiled = compiled
        self._network = self._prepared(compiled=compiled)
        self._most_patches: int | None = None  # none known to be too many yet

    def spectral(
        self,
        strip: Float32Array,
        wavelengths_um: NDArray[np.floating],
        done: Callable[[int], None] = lambda _: None,
        *,
        budget: ComputeBudget | None = None,
    ) -> Float32Array:
        """Features of patches from their spectra.

        Args:
            strip: (C, P, n·P) normalised patches side by side.
            wavelengths_um: (C,) in µm.
            done: told after every pass how many patches are done.
            budget: how much of the spectral encoder to run; all by default.

        Returns:
            (n, D).
        """
        bands = torch.as_tensor(wavelengths_um, dtype=torch.float32)
        sizes = PassSizes(self._model, self._precision, len(bands), budget, self.workers.count)
        pieces: list[Float32Array] = []
        n_done = 0

        def run(upload: Upload) -> _Features:
            began = thread_time()
            values = self._spectral_pass(upload, bands, budget)
            return _Features(values, thread_time() - began)

        passes = self._passes(torch.from_numpy(strip), sizes)
        for features, seconds in self.workers.map(run, uploads(passes, self._device)):
            sizes.took(len(features), seconds)
            pieces.append(features)
            n_done += len(features)
            done(n_done)
        return np.concatenate(pieces)

    def spatial(
        self, grids: Iterable[Float32Array], waiting: Callable[[], None] = lambda: None
    ) -> Iterator[Float32Array]:
        """Features of patches in the context of their neighbours, for several maps of patches.

        Args:
            grids: (h, w, D) each.
            waiting: called many times a second meanwhile; calls the work off by raising.

        Yields:
            (h, w, D) for each, in order.
        """
        ahead = iter(grids)
        first = list(islice(ahead, 2))
        if len(first) == 1 and self.workers.count > 1:
            yield self._spatial_together(first[0], waiting)
        else:
            yield from self.workers.map(self._spatial_pass, chain(first, ahead), waiting)

    def _passes(self, strip: Tensor, sizes: PassSizes) -> Iterator[Tensor]:
        """Parts of (C, P, n·P) that are computed at once."""
        size = self._model.patch_size
        start, n_left = 0, strip.shape[-1] // size
        while n_left:
            n_patches = min(n_left, self._patches_per_pass(n_left, sizes))
            yield strip[..., start : start + n_patches * size]
            start += n_patches * size
            n_left -= n_patches

    def _spectral_pass(
        self, upload: Upload, bands: Tensor, budget: ComputeBudget | None
    ) -> Float32Array:
        """(n, D) features of (C, P, n·P), in halves if all at once is too much."""
        n_patches = upload.source.shape[-1] // self._model.patch_size
        try:
            return self._run_spectral(upload, bands, budget)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if n_patches == 1:
                self._leave_device(error)
                return self._spectral_pass(Upload(upload.source, self._device), bands, budget)
        self._shrink(n_patches // 2)
        middle = n_patches // 2 * self._model.patch_size
        halves = upload.source[..., :middle], upload.source[..., middle:]
        return np.concatenate(
            [self._spectral_pass(Upload(half, self._device), bands, budget) for half in halves]
        )

    def _run_spectral(
        self, upload: Upload, bands: Tensor, budget: ComputeBudget | None
    ) -> Float32Array:
        network = self._network
        code, strip = network.encode(bands), upload.take(network.device)
        try:
            features = network.spectral(strip, code, budget)
        except Exception as error:
            if not self._compiled or is_out_of_memory(error):
                raise
            self._compiled = False
            self.note = "not compiled, as this machine has no working compiler"
            self._network = network = self._prepared()
            features = network.spectral(strip, code, budget)
        return _to_numpy(features)

    def _spatial_pass(self, grid: Float32Array) -> Float32Array:
        features = torch.from_numpy(grid).permute(2, 0, 1)[None]
        try:
            encoded = _to_numpy(self._network.spatial(features.to(self._device)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._leave_device(error)
            return self._spatial_pass(grid)
        return np.ascontiguousarray(encoded[0].transpose(1, 2, 0))

    def _spatial_together(self, grid: Float32Array, waiting: Callable[[], None]) -> Float32Array:
        """As `_spatial_pass`, by all workers at once."""
        features = torch.from_numpy(grid).permute(2, 0, 1)[None]
        h, w, _ = grid.shape
        team = self._network.spatial_team((h, w), self.workers.count)

        def part(member: int) -> Float32Array:
            return _to_numpy(self._network.spatial_part(features, team, member))

        try:
            parts = list(self.workers.map(part, range(len(team.parts)), waiting))
        except RuntimeError:  # also where there is not enough memory for all at once
            team.leave()
            return next(self.workers.map(self._spatial_pass, [grid], waiting))
        except BaseException:
            team.leave()
            raise
        return np.concatenate(parts).reshape(h, w, -1)

    def _prepared(self, *, compiled: bool = False) -> Prepared:
        return prepared(self._model, self._precision, self._spatial_precision, compiled=compiled)

    @property
    def _device(self) -> torch.device:
        return self._network.device

    def _patches_per_pass(self, n_left: int, sizes: PassSizes) -> int:
        if self._device.type == "cpu":
            wanted = sizes.next(n_left)
        else:
            wanted = _gpu_patches(self._device, sizes.token_values)
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
        self._network = self._prepared()
        self._most_patches = None
        self.note = "on the CPU, as the memory of the graphics card is full"


def _gpu_patches(device: torch.device, token_values: int) -> int:
    """Patches that one pass on a GPU takes by its free memory, if one has so many token values."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        fitting = int((free + kept) * _GPU_MEMORY_SHARE)
    else:
        fitting = _OTHER_GPU_BYTES
    return max(1, min(fitting // _GPU_BYTES_PER_TOKEN_VALUE, _GPU_MOST_VALUES) // token_values)


def _to_numpy(features: Tensor) -> Float32Array:
    array: Float32Array = features.float().cpu().numpy()
    return array


def _copy_on_cpu(model: CARL) -> CARL:
    """A copy that needs no room on the device, which is full."""
    memo: dict[int, Tensor] = {id(buffer): buffer.cpu() for buffer in model.buffers()}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().cpu(), parameter.requires_grad)
    return deepcopy(model, memo).to("cpu")
