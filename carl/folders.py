"""Where this program keeps what it needs again: downloaded weights and computed features.

``CARL_HOME`` in the environment names one folder for all of it; otherwise the system says where
the data and the caches of a program belong.
"""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

_NAME = "napari-carl"


def weights_folder() -> Path:
    """The folder of downloaded weights; it need not exist yet."""
    return _home("weights") or user_data_path(_NAME, appauthor=False) / "weights"


def features_folder() -> Path:
    """The folder of computed features; it need not exist yet, and may be emptied at any time."""
    return _home("features") or user_cache_path(_NAME, appauthor=False) / "features"


def _home(part: str) -> Path | None:
    home = os.environ.get("CARL_HOME")
    return Path(home).expanduser() / part if home else None
