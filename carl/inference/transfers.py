"""Pixels on their way to a graphics card while it computes on those before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


class Upload:
    """A strip of pixels, brought to a device.

    On CUDA the copy starts at once, from pinned memory and on a stream of its own, so that the
    device can compute meanwhile. On other devices it is made when it is asked for.

    Args:
        source: the strip, in main memory.
        device: where it is wanted.

    Attributes:
        source: as given.
    """

    def __init__(self, source: Tensor, device: torch.device) -> None:
        self.source = source
        self._copy: Tensor | None = None
        if device.type == "cuda":
            self._start(device)

    def take(self, device: torch.device) -> Tensor:
        """The strip on a device, to be used by what is queued there from now on.

        Raises:
            RuntimeError: the device is out of memory.
        """
        if self._copy is None or self._copy.device.type != device.type:
            return self.source.to(device)
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(self._stream)
        self._copy.record_stream(computing)
        return self._copy

    def _start(self, device: torch.device) -> None:
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        try:
            with torch.cuda.stream(self._stream):
                self._copy = self.source.contiguous().pin_memory().to(device, non_blocking=True)
        except torch.OutOfMemoryError:  # `take` tries again, when the work before is done
            self._copy = None


def uploads(strips: Iterable[Tensor], device: torch.device) -> Iterator[Upload]:
    """Uploads in order; on CUDA the next one is under way whenever one is given out."""
    ahead: Upload | None = None
    for strip in strips:
        upload = Upload(strip, device)
        if device.type != "cuda":
            yield upload
            continue
        if ahead is not None:
            yield ahead
        ahead = upload
    if ahead is not None:
        yield ahead
