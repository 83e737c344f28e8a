"""The space pixels are classified in: the filter bank's features, and CARL's beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from carl.inference import Embedding
from carl.learning.features import FeatureMap, FeatureStack
from carl.learning.filter_bank import SHORTEST_SIDE, FilterBank
from carl.learning.minimum_noise_fraction import MinimumNoiseFraction
from carl.learning.principal_components import PrincipalComponents

Arrays = Mapping[str, NDArray[Any]]

CARL_GROUPS = ("CARL spectral", "CARL spatial")
_N_COMPONENTS = 24
_SPATIAL_REACH = 3.0
"""The σ, in patches, of a Gaussian neighbourhood that sees about as far as spatial features do,
which are trained on squares of 12 patches."""
_CROSS_SENSOR_ERROR_VARIANCE = 0.05
"""Share of the variance of CARL's features that may be wrong under another camera. On the bladder
as seen by seven simulated cameras trusting them fully costs nothing; real cameras differ in more
than their filters."""
_SAMPLE = 20_000


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """How features are made from a cube and its embedding; fixed when fitted to cubes.

    Attributes:
        bank: the filter bank.
        projections: of CARL's feature maps by the name of their group; empty without a model.
    """

    bank: FilterBank
    projections: Mapping[str, PrincipalComponents]

    @classmethod
    def fit(cls, bank: FilterBank, embeddings: Sequence[Embedding]) -> Self:
        """The space of cubes that have been embedded, labels unseen.

        Args:
            bank: fitted to the cubes.
            embeddings: of the cubes; empty to do without a model.
        """
        if not embeddings:
            return cls(bank, {})
        projections = {}
        tell_places = any(sees_places(each) for each in embeddings)
        for i, name in enumerate(CARL_GROUPS[:1] if tell_places else CARL_GROUPS):
            maps = [_carl_maps(each)[i].reshape(-1, each.spatial.shape[2]) for each in embeddings]
            pooled = np.concatenate(maps)
            sample = pooled[:: max(1, len(pooled) // _SAMPLE)]
            projections[name] = PrincipalComponents.fit(sample, _N_COMPONENTS)
        return cls(bank, projections)

    @property
    def width(self) -> int:
        """Number of features p."""
        carl = sum(int(each.basis.shape[1]) for each in self.projections.values())
        return int(self.bank.centre.size) + carl

    def stack(self, bank_stack: FeatureStack, embedding: Embedding | None) -> FeatureStack:
        """The features of a cube: the bank's, shared and not copied, and CARL's.

        CARL's are much the same from any camera, but less so than the discriminants are sharp: seen
        by another camera than the one learned from, they are doubted.
        """
        if embedding is None:
            return bank_stack
        other_camera = any(each.error_variance is not None for each in bank_stack.maps)
        carl = []
        for name, features in zip(CARL_GROUPS, _carl_maps(embedding), strict=True):
            if name not in self.projections:
                continue
            values = self.projections[name](features)
            error_variance = (
                np.full(values.shape[2], _CROSS_SENSOR_ERROR_VARIANCE, np.float32)
                if other_camera
                else None
            )
            carl.append(FeatureMap(name, values, embedding.patch_size, error_variance))
        return FeatureStack(bank_stack.shape, (*bank_stack.maps, *carl), bank_stack.valid)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything there is to save, by name; `from_arrays` turns it back."""
        bank = self.bank
        arrays: dict[str, NDArray[Any]] = {
            f"bank.{name}": getattr(bank, name) for name in ("grid", "sigmas", "centre", "scale")
        }
        bases: dict[str, MinimumNoiseFraction | PrincipalComponents] = {"spectra": bank.spectra}
        for name, each in (bases | dict(self.projections)).items():
            arrays |= {f"{name}.{field.name}": getattr(each, field.name) for field in fields(each)}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """The inverse of `arrays`.

        Raises:
            KeyError: an array is missing.
        """
        bank = FilterBank(
            arrays["bank.grid"],
            MinimumNoiseFraction(*_fields(MinimumNoiseFraction, "spectra", arrays)),
            arrays["bank.sigmas"],
            arrays["bank.centre"],
            arrays["bank.scale"],
        )
        projections = {
            name: PrincipalComponents(*_fields(PrincipalComponents, name, arrays))
            for name in CARL_GROUPS
            if f"{name}.mean" in arrays
        }
        return cls(bank, projections)


def sees_places(embedding: Embedding) -> bool:
    """Whether spatial features would say where a patch lies in the cube, and not what it is."""
    return min(embedding.shape) < SHORTEST_SIDE * _SPATIAL_REACH * embedding.patch_size


def _carl_maps(embedding: Embedding) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """In the order of `CARL_GROUPS`."""
    return embedding.spectral, embedding.spatial


def _fields(
    kind: type[MinimumNoiseFraction] | type[PrincipalComponents], name: str, arrays: Arrays
) -> list[NDArray[Any]]:
    return [arrays[f"{name}.{field.name}"] for field in fields(kind)]
