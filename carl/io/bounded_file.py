"""Files for libraries that reserve as much memory as a damaged file states."""

from __future__ import annotations

import os
from io import FileIO


class BoundedFile(FileIO):
    """A file of which no more bytes are requested than it has."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read some bytes, or what there is of them."""
        remaining = max(0, os.fstat(self.fileno()).st_size - self.seek(0, os.SEEK_CUR))
        wanted = remaining if size is None or size < 0 else min(size, remaining)
        return super().read(wanted) or b""
