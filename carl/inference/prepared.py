"""A network made ready for inference: rewritten, packed, in its number format; and kept so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from carl.inference.attention import FastAttention
from carl.inference.context_parallel import ContextParallelGroup
from carl.inference.folded import ComputeBudget, FoldedSpectral
from carl.inference.packed import with_packed_linears
from carl.inference.precision import Precision
from carl.model import CARL
from carl.model.spatial_encoder import SpatialEncoder

Spectral = Callable[[Tensor, Tensor, ComputeBudget | None], Tensor]

_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


class Prepared:
    """Both halves of a network, as they are on its device now.

    Args:
        model: in eval mode.
        precision: to compute the spectral half in.
        spatial_precision: to compute the spatial half in; the same by default.
        compiled: whether to run the spectral half through `torch.compile`; on CUDA as CUDA graphs.

    Attributes:
        patch_size: P, pixels.
        device: to compute on.
    """

    def __init__(
        self,
        model: CARL,
        precision: Precision,
        spatial_precision: Precision | None = None,
        *,
        compiled: bool = False,
    ) -> None:
        spatial_precision = spatial_precision or precision
        self.patch_size = model.patch_size
        self.device = next(model.parameters()).device
        self._in_bf16 = spatial_precision == "bf16"
        self._folded = FoldedSpectral(model, _DTYPES[precision], packs=not compiled)
        self._spectral: Spectral = self._folded
        if compiled:
            self._spectral = _compiled(self._folded, self.device)
        encoder = model.spatial_encoder
        self._spatial = _sharing_weights(encoder)
        with_packed_linears(self._spatial, _DTYPES[spatial_precision])

    def encode(self, wavelengths_um: Tensor) -> Tensor:
        """The code of bands (C,) that `spectral` takes."""
        with torch.inference_mode():
            return self._folded.encode(wavelengths_um.to(self.device))

    def spectral(self, strip: Tensor, code: Tensor, budget: ComputeBudget | None = None) -> Tensor:
        """(n, D) features of patches side by side (C, P, n·P), on the device."""
        with torch.inference_mode():
            return self._spectral(strip, code, budget)

    def spatial(self, features: Tensor) -> Tensor:
        """(1, D, h, w) features of patches among their neighbours, on the device."""
        with self._inference(), FastAttention():
            encoded: Tensor = self._spatial(features)
        return encoded

    def spatial_team(self, grid: tuple[int, int], n_members: int) -> ContextParallelGroup:
        """A team for `spatial_part` on a map of (h, w) patches."""
        return ContextParallelGroup(grid[0] * grid[1], n_members, self._spatial.n_prefix)

    def spatial_part(self, features: Tensor, team: ContextParallelGroup, member: int) -> Tensor:
        """What one member of a team has to do for `spatial`: (patches of the part, D).

        Raises:
            RuntimeError: out of memory, this network cannot be shared out, or as
                `ContextParallelGroup.run`.
        """
        encoder, rows = self._spatial, team.parts[member]
        grid = (features.shape[2], features.shape[3])
        with self._inference():
            tokens = encoder.tokens(features)
            n_prefix = encoder.n_prefix
            prefix, patches = tokens[:, :n_prefix], tokens[:, n_prefix:]
            part = torch.cat([prefix, patches[:, rows]], dim=1)
            encoded = team.run(
                member, lambda: encoder.run_blocks(part, grid, rows=rows), len(encoder.blocks)
            )
            return encoded[0, n_prefix:]

    @contextmanager
    def _inference(self) -> Iterator[None]:
        in_bf16 = torch.autocast(self.device.type, torch.bfloat16, self._in_bf16)
        with torch.inference_mode(), in_bf16:
            yield


_lock = Lock()
_known: WeakKeyDictionary[CARL, tuple[object, dict[Any, Prepared]]] = WeakKeyDictionary()


def prepared(
    model: CARL,
    precision: Precision,
    spatial_precision: Precision | None = None,
    *,
    compiled: bool = False,
) -> Prepared:
    """A network made ready; the same one again until its weights change or move.

    Args:
        model: in eval mode, on the device to compute on.
        precision: to compute the spectral half in.
        spatial_precision: to compute the spatial half in; the same by default.
        compiled: whether through `torch.compile`.
    """
    state = model.fingerprint, next(model.parameters()).device
    key = precision, spatial_precision or precision, compiled
    with _lock:
        if model not in _known or _known[model][0] != state:
            _known[model] = state, {}
        of_model = _known[model][1]
        if key not in of_model:
            of_model[key] = Prepared(model, precision, spatial_precision, compiled=compiled)
        return of_model[key]


def _sharing_weights(module: SpatialEncoder) -> SpatialEncoder:
    """A copy of the tree of modules; its tensors are the same ones."""
    tensors = (*module.parameters(), *module.buffers())
    return deepcopy(module, {id(each): each for each in tensors})


def _compiled(module: nn.Module, device: torch.device) -> Spectral:
    compiled: Spectral
    if device.type == "cuda":
        compiled = torch.compile(module, mode="reduce-overhead")
    else:
        compiled = torch.compile(module, options={"freezing": True})
    return compiled
