"""Attributes of the CF conventions (CF 1.11): scaling and missing values of a variable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

ATTRIBUTES = ("scale_factor", "add_offset", "_FillValue", "missing_value")
"""Names of the attributes that `scaling` uses."""


def scaling(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return scale, offset and nodata of a variable, by the names of fields of `FileContents`.

    Of the attributes ``_FillValue`` and ``missing_value`` the first one that is a number applies
    (section 2.5.1); ``scale_factor`` and ``add_offset`` are those of section 8.1.
    """
    fill = (_number(attributes, name) for name in ("_FillValue", "missing_value"))
    return {
        "scale": _number(attributes, "scale_factor"),
        "offset": _number(attributes, "add_offset"),
        "nodata": next((value for value in fill if value is not None), None),
    }


def _number(attributes: Mapping[str, Any], name: str) -> float | None:
    """Return an attribute that is one finite number, else None."""
    try:
        values = np.ravel(np.asarray(attributes.get(name), np.float64))
    except (TypeError, ValueError, OverflowError):
        return None
    return float(values[0]) if values.size and np.isfinite(values[0]) else None
