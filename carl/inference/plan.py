"""Plan of a computation: number formats, and the approximations of turbo."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any, Self
from zipfile import ZipFile

import numpy as np

from carl.inference.backend import ComputeBudget, NumberFormat
from carl.inference.turbo import BandGroups, Correction

_VERSION = 1
"""Version of the format; the keys of remembered plans contain the version of the program, too."""


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
        arrays = {
            f"{name} {field}": values
            for name, part in (("groups", self.groups), ("correction", self.correction))
            if part is not None
            for field, values in asdict(part).items()
        }
        metadata: dict[str, Any] = {
            "version": _VERSION,
            "spectral_format": self.spectral_format,
            "spatial_format": self.spatial_format,
            "budget": self.budget,
            "fidelity": self.fidelity,
            "arrays": list(arrays),
        }
        file = BytesIO()
        np.savez(file, metadata=np.array(json.dumps(metadata)), **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Return the plan that `to_bytes` wrote; the archive has a checksum of each array.

        Raises:
            carl.inference.npz.READ_ERRORS: the content is damaged, or of another version.
        """
        with ZipFile(BytesIO(content)) as archive:  # NumPy compares only some checksums
            if archive.testzip() is not None:
                raise ValueError("a checksum that does not match")
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            metadata = json.loads(str(arrays["metadata"]))
            if metadata.pop("version") != _VERSION:
                raise ValueError("a plan of another version")
            budget = metadata.pop("budget")
            parts: dict[str, dict[str, Any]] = {"groups": {}, "correction": {}}
            for key in metadata.pop("arrays"):
                name, field = key.split()
                parts[name][field] = arrays[key]
        return cls(
            groups=BandGroups(**parts["groups"]) if parts["groups"] else None,
            correction=Correction(**parts["correction"]) if parts["correction"] else None,
            budget=ComputeBudget(*budget) if budget else None,
            **metadata,
        )
