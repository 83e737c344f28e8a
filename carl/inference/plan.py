"""Plan of a computation: number formats, and the approximations of turbo."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any, Self

import numpy as np

from carl.inference.backend import ComputeBudget, NumberFormat
from carl.inference.turbo import BandGroups, Correction


@dataclass(frozen=True, eq=False)
class Plan:
    """How to compute the features of a cube; by default exactly.

    Attributes:
        spectral_format: number format of the spectral half.
        spatial_format: number format of the spatial half.
        groups: bands to merge, or None.
        budget: part of the spectral encoder to run; None for all of it.
        correction: of the error that merging and the budget cause, or None.
        fidelity: measured similarity to the exact features, the lower one of both halves, see
            `carl.inference.planning.fidelity`; None if nothing is approximated.
    """

    spectral_format: NumberFormat = "float32"
    spatial_format: NumberFormat = "float32"
    groups: BandGroups | None = None
    budget: ComputeBudget | None = None
    correction: Correction | None = None
    fidelity: float | None = None

    def to_bytes(self) -> bytes:
        """Return the plan as the content of an ``.npz`` file."""
        metadata: dict[str, Any] = {
            "spectral_format": self.spectral_format,
            "spatial_format": self.spatial_format,
            "budget": self.budget,
            "fidelity": self.fidelity,
        }
        arrays = {
            f"{name} {field}": values
            for name, part in (("groups", self.groups), ("correction", self.correction))
            if part is not None
            for field, values in asdict(part).items()
        }
        file = BytesIO()
        np.savez(file, metadata=np.array(json.dumps(metadata)), **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Return the plan that `to_bytes` wrote.

        Raises:
            ValueError, KeyError, OSError, BadZipFile: the content is damaged.
        """
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            metadata = json.loads(str(arrays["metadata"]))
            budget = metadata.pop("budget")
            parts: dict[str, dict[str, Any]] = {"groups": {}, "correction": {}}
            for key in set(arrays.files) - {"metadata"}:
                name, field = key.split()
                parts[name][field] = arrays[key]
        return cls(
            groups=BandGroups(**parts["groups"]) if parts["groups"] else None,
            correction=Correction(**parts["correction"]) if parts["correction"] else None,
            budget=ComputeBudget(*budget) if budget else None,
            **metadata,
        )
