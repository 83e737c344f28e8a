"""The space pixels are classified in: the filter bank's features and CARL's, on common scales."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from threading import RLock
from typing import Self

import numpy as np
from numpy.typing import NDArray

from carl.cube import SpectralCube
from carl.inference import Embedding, FeatureCache
from carl.inference.cache import cube_key
from carl.learning.bank import FilterBank
from carl.learning.components import Components
from carl.learning.features import FeatureMap, FeatureStack
from carl.learning.spectral_basis import SpectralBasis
from carl.model import CARL
from carl.progress import Progress, no_progress, part

FloatArray = NDArray[np.float32]

CARL_GROUPS = ("CARL spectral", "CARL spatial")
_CARL_COMPONENTS = 24
_SAMPLE = 20_000
_MOST_SPACES = 16


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """How features are made from a cube and its embedding; fixed when fitted to cubes.

    Attributes:
        bank: the filter bank.
        projections: of CARL's feature maps by the name of their group; empty without a model.
        centre: (p,) mean of every feature over the cubes.
        scale: (p,) what every feature is multiplied by after that.
    """

    bank: FilterBank
    projections: dict[str, Components]
    centre: FloatArray
    scale: FloatArray

    @cached_property
    def key(self) -> str:
        """A digest of all its numbers."""
        digest = hashlib.blake2b(digest_size=16)
        for array in self.arrays().values():
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything there is to save, by name; `from_arrays` turns it back."""
        arrays: dict[str, NDArray[np.generic]] = {
            "grid": self.bank.grid,
            "sigmas": np.asarray(self.bank.sigmas),
            "centre": self.centre,
            "scale": self.scale,
        }
        bases: dict[str, SpectralBasis | Components] = {"spectra": self.bank.spectra}
        for name, each in (bases | self.projections).items():
            arrays |= {f"{name}.{field.name}": getattr(each, field.name) for field in fields(each)}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """The inverse of `arrays`.

        Raises:
            KeyError: an array is missing.
        """
        bank = FilterBank(
            np.asarray(arrays["grid"], np.float64),
            SpectralBasis(*_fields(SpectralBasis, "spectra", arrays)),
            tuple(np.asarray(arrays["sigmas"], float).tolist()),
        )
        projections = {
            name: Components(*_fields(Components, name, arrays))
            for name in CARL_GROUPS
            if f"{name}.mean" in arrays
        }
        return cls(bank, projections, _float(arrays["centre"]), _float(arrays["scale"]))

    @classmethod
    def fit(
        cls,
        cubes: Sequence[SpectralCube],
        embeddings: Sequence[Embedding | None],
        progress: Progress = no_progress,
    ) -> tuple[Self, list[FeatureStack]]:
        """The space that suits these cubes, labels unseen, and their features in it.

        Raises:
            WavelengthError: wavelengths are missing, or the cubes share no range.
            CubeError: a cube has no usable values.
        """
        bank = FilterBank.fit(list(cubes))
        projections = {
            name: Components.fit(
                np.concatenate([_sampled(values, len(cubes)) for values in maps]), _CARL_COMPONENTS
            )
            for name, maps in _carl_maps(embeddings).items()
        }
        raw = cls(bank, projections, np.zeros(1, np.float32), np.ones(1, np.float32))
        stacks = [
            raw._raw_stack(cube, embedding, part(progress, i / len(cubes), (i + 1) / len(cubes)))
            for i, (cube, embedding) in enumerate(zip(cubes, embeddings, strict=True))
        ]
        sample = np.concatenate([_sample_stack(stack, len(stacks)) for stack in stacks])
        scale = _scales(stacks[0], sample.std(axis=0))
        space = cls(bank, projections, sample.mean(axis=0), scale)
        return space, [space._scaled(stack) for stack in stacks]

    def stack(
        self, cube: SpectralCube, embedding: Embedding | None, progress: Progress = no_progress
    ) -> FeatureStack:
        """The features of a cube in this space.

        Raises:
            WavelengthError: the cube does not cover the wavelengths of the space.
            CubeError: the cube has no usable values.
        """
        return self._scaled(self._raw_stack(cube, embedding, progress))

    def _raw_stack(
        self, cube: SpectralCube, embedding: Embedding | None, progress: Progress
    ) -> FeatureStack:
        groups, valid = self.bank.maps(cube, progress)
        carl = tuple(
            FeatureMap(name, self.projections[name](maps[0]), embedding.patch_size)
            for name, maps in _carl_maps([embedding]).items()
            if embedding is not None
        )
        return FeatureStack(cube.shape[:2], groups + carl, valid)

    def _scaled(self, stack: FeatureStack) -> FeatureStack:
        """The stack centred and scaled, in place: features are large."""
        for group, columns in zip(stack.maps, stack.columns().values(), strict=True):
            values = group.values
            values -= self.centre[columns]
            values *= self.scale[columns]
        return stack


def _fields(
    kind: type[SpectralBasis] | type[Components],
    name: str,
    arrays: Mapping[str, NDArray[np.generic]],
) -> list[FloatArray]:
    return [_float(arrays[f"{name}.{field.name}"]) for field in fields(kind)]


def _float(array: NDArray[np.generic]) -> FloatArray:
    return np.asarray(array, np.float32)


def _carl_maps(embeddings: Sequence[Embedding | None]) -> dict[str, list[FloatArray]]:
    known = [embedding for embedding in embeddings if embedding is not None]
    if not known:
        return {}
    return dict(
        zip(CARL_GROUPS, ([e.spectral for e in known], [e.spatial for e in known]), strict=True)
    )


def _sampled(values: FloatArray, n_cubes: int) -> FloatArray:
    flat = values.reshape(-1, values.shape[-1])
    return flat[:: max(1, n_cubes * len(flat) // _SAMPLE)]


def _sample_stack(stack: FeatureStack, n_stacks: int) -> FloatArray:
    """Features of pixels drawn evenly from where there is data."""
    pixels = np.arange(stack.shape[0] * stack.shape[1])
    if stack.valid is not None:
        pixels = pixels[stack.valid.ravel()]
    n = min(len(pixels), max(1, _SAMPLE // n_stacks))
    drawn = np.random.default_rng(0).choice(pixels, n, replace=False)
    return stack.at(*np.divmod(drawn, stack.shape[1]))


def _scales(stack: FeatureStack, spread: FloatArray) -> FloatArray:
    """(p,) factors that give neighbourhoods the spreads of the pixels' own components.

    Components come with later ones made smaller (`soften`); their neighbourhoods, whose spreads
    depend on the scale, are brought to the same.
    """
    columns = stack.columns()
    own = spread[columns["spectrum"]]
    scale = np.ones_like(spread)
    for name, where in columns.items():
        if name.startswith("texture"):
            scale[where] = np.tile(own, 2) / np.where(spread[where] > 0, spread[where], 1)
    return scale


class FeatureStore:
    """Spaces and features used last, so that new strokes on known cubes cost nothing.

    Safe to share between threads.

    Args:
        max_bytes: of features to keep.
    """

    def __init__(self, max_bytes: int = 3 << 30) -> None:
        self.embeddings = FeatureCache(max_bytes // 4)
        self._max_bytes = max_bytes
        self._spaces: OrderedDict[str, FeatureSpace] = OrderedDict()
        self._stacks: OrderedDict[str, FeatureStack] = OrderedDict()
        self._lock = RLock()

    def fit(
        self,
        cubes: Sequence[SpectralCube],
        model: CARL | None,
        precision: str = "auto",
        speed: str = "exact",
        progress: Progress = no_progress,
    ) -> tuple[FeatureSpace, list[FeatureStack]]:
        """The space of these cubes under a model, and their features in it."""
        keys = [cube_key(cube) for cube in cubes]
        space_key = "|".join([*keys, model.fingerprint if model else "", precision, speed])
        with self._lock:
            space = self._spaces.get(space_key)
            if space is not None:
                return space, [
                    self.stack(cube, space, model, precision, speed, progress) for cube in cubes
                ]
            share = part(progress, 0.0, 0.8)
            embeddings = [
                self._embedding(
                    cube, model, precision, speed, part(share, i / len(cubes), (i + 1) / len(cubes))
                )
                for i, cube in enumerate(cubes)
            ]
            space, stacks = FeatureSpace.fit(cubes, embeddings, part(progress, 0.8, 1.0))
            self._spaces[space_key] = space
            while len(self._spaces) > _MOST_SPACES:
                self._spaces.popitem(last=False)
            for key, stack in zip(keys, stacks, strict=True):
                self._keep(f"{space.key}|{key}", stack)
            return space, stacks

    def stack(
        self,
        cube: SpectralCube,
        space: FeatureSpace,
        model: CARL | None,
        precision: str = "auto",
        speed: str = "exact",
        progress: Progress = no_progress,
    ) -> FeatureStack:
        """The features of a cube in a space."""
        key = f"{space.key}|{cube_key(cube)}"
        with self._lock:
            if key in self._stacks:
                self._stacks.move_to_end(key)
                return self._stacks[key]
            embedding = self._embedding(cube, model, precision, speed, part(progress, 0.0, 0.8))
            stack = space.stack(cube, embedding, part(progress, 0.8, 1.0))
            self._keep(key, stack)
            return stack

    def _embedding(
        self,
        cube: SpectralCube,
        model: CARL | None,
        precision: str,
        speed: str,
        progress: Progress,
    ) -> Embedding | None:
        if model is None:
            return None
        return self.embeddings.embed(
            cube, model, precision=precision, speed=speed, progress=progress
        )

    def _keep(self, key: str, stack: FeatureStack) -> None:
        self._stacks[key] = stack
        total = sum(each.nbytes for each in self._stacks.values())
        while total > self._max_bytes and self._stacks:
            _, dropped = self._stacks.popitem(last=False)
            total -= dropped.nbytes
