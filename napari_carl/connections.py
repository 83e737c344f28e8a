"""Signal connections that are undone together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any


class Connections(ExitStack):
    """The signal connections of one owner; `close` undoes all of them."""

    def connect(self, signal: Any, slot: Callable[..., object]) -> None:
        """Connect a signal of psygnal, napari or Qt to a slot until `close` is called."""
        signal.connect(slot)
        self.callback(signal.disconnect, slot)
