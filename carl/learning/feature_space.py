"""Feature space that pixels are classified in: the filter bank, and a network's features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from carl.arrays import Float32Array, check_arrays
from carl.errors import ModelError
from carl.inference import Embedding
from carl.learning.features import FeatureMap, FeatureStack
from carl.learning.filter_bank import SHORTEST_SIDE, FilterBank
from carl.learning.principal_components import MinimumNoiseFraction, PrincipalComponents
from carl.learning.spectral_views import VIEWS, SpectralViews
from carl.mapped_files import read_mapped

Arrays = Mapping[str, NDArray[Any]]

NETWORK_GROUPS = ("CARL spectral", "CARL spatial")
"""Names of the feature groups of a network, in the order in which maps are given."""
_N_COMPONENTS = 24
"""Principal components of each of the network's maps."""
_SPATIAL_SIGMA = 3.0
"""σ, in patches, of a Gaussian as wide as the context of spatial features: the network is trained
on squares of 12 patches."""
_CROSS_SENSOR_ERROR_VARIANCE = 0.05
"""Relative error variance of the network's features under another camera. For seven simulated
cameras, 0 is as good; real cameras differ in more than their filters."""
_STRIP_PATCHES = 1 << 16
"""Patches that are projected at once: about 50 MB of features of 192 dimensions."""
_BANK_AXES = {
    "bank.grid": "G",
    "bank.sigmas": "S",
    "bank.centre": "p",
    "bank.scale": "p",
    "spectra.mean": "G",
    "spectra.basis": "G k",
    "spectra.loadings": "k G",
    "spectra.spread": "k",
    "spectra.residual": "G G",
}
"""Axes of the arrays of a filter bank in a file: G wavelengths, S neighbourhoods, k components."""
_SAMPLE = 20_000
"""Patches that the principal components are computed from."""


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Transforms from a cube and its embedding to features, fitted to cubes without labels.

    Attributes:
        bank: the filter bank.
        projections: principal components of the network's maps, by name of their group; empty
            without a network.
    """

    bank: FilterBank
    projections: Mapping[str, PrincipalComponents]

    def with_network(self, embeddings: Sequence[Embedding]) -> FeatureSpace:
        """Return the space with projections of a network's features, fitted to embeddings."""
        projections = {}
        only_spectral = any(encodes_position(each) for each in embeddings)
        for i, name in enumerate(NETWORK_GROUPS[:1] if only_spectral else NETWORK_GROUPS):
            samples = [_maps(each)[i].reshape(-1, each.spatial.shape[2]) for each in embeddings]
            pooled = samples[0] if len(samples) == 1 else np.concatenate(samples)
            sample = np.asarray(pooled[:: max(1, len(pooled) // _SAMPLE)])
            if not np.isfinite(sample).all():
                raise ModelError("The network computes features that are not finite: use another.")
            projections[name] = PrincipalComponents.fit(sample, _N_COMPONENTS)
        return replace(self, projections=projections)

    @property
    def width(self) -> int:
        """Number of features p."""
        projected = sum(int(each.basis.shape[1]) for each in self.projections.values())
        views = 0 if self.bank.views is None else sum(self.bank.views.widths.values())
        return int(self.bank.centre.size) + projected + views

    def stack(self, bank_stack: FeatureStack, embedding: Embedding | None) -> FeatureStack:
        """Return the filter bank's features, shared and not copied, with the network's.

        The views of the spectra come last, as cubes of other cameras have none. For a camera other
        than the one the bank was fitted to, the network's features get a relative error variance
        as well.
        """
        if embedding is None:
            return bank_stack
        is_other_camera = any(each.error_variance is not None for each in bank_stack.maps)
        projected = []
        for name, features in zip(NETWORK_GROUPS, _maps(embedding), strict=True):
            if name not in self.projections:
                continue
            values = _projected(self.projections[name], features)
            variance = None
            if is_other_camera:
                variance = np.full(values.shape[2], _CROSS_SENSOR_ERROR_VARIANCE, np.float32)
            projected.append(FeatureMap(name, values, embedding.patch_size, variance))
        own = [each for each in bank_stack.maps if each.name not in VIEWS]
        views = [each for each in bank_stack.maps if each.name in VIEWS]
        return FeatureStack(bank_stack.shape, (*own, *projected, *views), bank_stack.valid)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name, for a file; `from_arrays` is the inverse."""
        bank = self.bank
        arrays: dict[str, NDArray[Any]] = {
            f"bank.{name}": getattr(bank, name) for name in ("grid", "sigmas", "centre", "scale")
        }
        transforms: dict[str, MinimumNoiseFraction | PrincipalComponents] = {
            "spectra": bank.spectra
        }
        for name, each in (transforms | dict(self.projections)).items():
            arrays |= {f"{name}.{field.name}": getattr(each, field.name) for field in fields(each)}
        if bank.views is not None:
            arrays |= {f"views.{name}": each for name, each in bank.views.to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the space whose `to_arrays` are given.

        Raises:
            KeyError: an array is missing.
            ValueError: the arrays do not fit each other, or are not those of a space.
        """
        check_arrays(arrays, _BANK_AXES)
        bank = FilterBank(
            arrays["bank.grid"],
            MinimumNoiseFraction(*_fields(MinimumNoiseFraction, "spectra", arrays)),
            arrays["bank.sigmas"],
            arrays["bank.centre"],
            arrays["bank.scale"],
            _views_from(arrays, len(arrays["bank.grid"])),
        )
        bank.check()
        projections = {}
        for name in NETWORK_GROUPS:
            if f"{name}.mean" in arrays:
                check_arrays(arrays, {f"{name}.mean": "D", f"{name}.basis": "D d"})
                projections[name] = PrincipalComponents(*_fields(PrincipalComponents, name, arrays))
        return cls(bank, projections)

    def check_network(self, n_features: int | None) -> None:
        """Check that the projections are those of a network.

        Args:
            n_features: D of the network; None for no network.

        Raises:
            ValueError: they are those of another one.
        """
        found = {len(each.mean) for each in self.projections.values()}
        if found != (set() if n_features is None else {n_features}):
            raise ValueError(f"projections of {found} features for a network of {n_features}")


def _views_from(arrays: Arrays, n_bands: int) -> SpectralViews | None:
    """Return the views in a file; None for one of an earlier version."""
    prefix = "views."
    of_views = {
        name.removeprefix(prefix): each for name, each in arrays.items() if name.startswith(prefix)
    }
    if not of_views:
        return None
    views = SpectralViews.from_arrays(of_views)
    if len(views.unit_mean) != n_bands:
        raise ValueError(f"views of {len(views.unit_mean)} bands, a filter bank of {n_bands}")
    return views


def encodes_position(embedding: Embedding) -> bool:
    """Return whether a cube is so small that spatial features encode the position of a patch."""
    return min(embedding.shape) < SHORTEST_SIDE * _SPATIAL_SIGMA * embedding.patch_size


def _projected(components: PrincipalComponents, features: Float32Array) -> Float32Array:
    """Project a map (h, w, D), strip by strip, as it may be memory-mapped: (h, w, d)."""
    step = max(1, _STRIP_PATCHES // features.shape[1])
    strips = (read_mapped(features[top : top + step]) for top in range(0, len(features), step))
    return np.concatenate([components(strip) for strip in strips])


def _maps(embedding: Embedding) -> tuple[Float32Array, Float32Array]:
    """Return the maps of an embedding in the order of `NETWORK_GROUPS`."""
    return embedding.spectral, embedding.spatial


def _fields(
    kind: type[MinimumNoiseFraction] | type[PrincipalComponents], name: str, arrays: Arrays
) -> list[NDArray[Any]]:
    return [arrays[f"{name}.{field.name}"] for field in fields(kind)]
