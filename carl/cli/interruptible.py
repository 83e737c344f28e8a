"""Reading from disks that take long, so that a command still ends at once when it is called off.

Python looks at signals only between its own instructions: while the system fetches a block from a
slow network, or a library decodes one, nothing can be interrupted. So each block is fetched by a
thread, which is left behind when nobody wants the block any more.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.errors import Cancelled
from carl.lazy_array import ArraySource, Block, LazyArray
from carl.mapped_files import read_mapped

cancelled = Event()
"""Set as soon as the command is interrupted: threads that read for it need not go on."""

_LOOK_EVERY = 0.1


def interrupt(number: int, frame: Any) -> None:
    """A handler of signals: what `KeyboardInterrupt` is to the main thread, to all others, too."""
    cancelled.set()
    signal.default_int_handler(number, frame)


class InterruptibleArray(LazyArray):
    """The pixels of a cube, each block fetched by a thread of its own.

    Args:
        source: the pixels.
    """

    def __init__(self, source: ArraySource) -> None:
        super().__init__(source.shape, source.dtype)
        self._source = source

    def _read_block(self, block: Block) -> NDArray[Any]:
        """Return a block, in memory.

        Raises:
            Cancelled: the command was interrupted.
        """
        values: NDArray[Any] = _fetched(lambda: _in_memory(np.asarray(self._source[block])))
        return values


def _in_memory(block: NDArray[Any]) -> NDArray[Any]:
    """The block, copied where it may be a view of a file still to be read."""
    read = read_mapped(block)
    return read if read is not block else np.array(block)


def _fetched(fetch: Callable[[], Any]) -> Any:
    """What a function returns or raises, called in a thread."""
    found: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(fetch())
        except BaseException as error:  # raised again by who waits
            failed.append(error)

    thread = Thread(target=run, name="carl reader", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK_EVERY)
        if cancelled.is_set():
            raise Cancelled("The work was called off.")
    if failed:
        raise failed[0]
    return found[0]
