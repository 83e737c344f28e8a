"""Maps of features in pieces, each of which can be made, kept and read on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[np.float32]
T = TypeVar("T")

_STRIP_BYTES = 8 << 20


class Tile(NamedTuple):
    """A rectangle of a map.

    Attributes:
        rows: of the map.
        columns: of the map.
        weights: (rows, columns) share of this piece where others overlap it; None where none do.
    """

    rows: slice
    columns: slice
    weights: FloatMap | None = None

    @property
    def size(self) -> int:
        """Number of positions."""
        return len(range(self.rows.stop)[self.rows]) * len(range(self.columns.stop)[self.columns])


class Chunks(Protocol):
    """Where pieces are kept, in memory or on disk."""

    def __contains__(self, name: object) -> bool:
        """Whether a piece is there, whole."""

    def __getitem__(self, name: str) -> FloatMap:
        """A piece, (t, u, D)."""

    def __setitem__(self, name: str, values: FloatMap) -> None:
        """Keep a piece."""

    def recall(self, name: str, compute: Callable[[], Any]) -> Any:
        """A fact as JSON knows it, from last time or computed and kept."""


class MemoryChunks(dict[str, FloatMap]):
    """Pieces and facts that live as long as the process."""

    def recall(self, name: str, compute: Callable[[], T]) -> T:
        """A fact, computed."""
        return compute()


@dataclass(frozen=True)
class TileGrid:
    """How a map is cut into pieces.

    Attributes:
        name: of the map; pieces are named after it.
        shape: (h, w) of the map.
        pieces: in the order of work. They cover the map; where they overlap, weights add up to 1.
    """

    name: str
    shape: tuple[int, int]
    pieces: Sequence[Tile]

    def key(self, index: int) -> str:
        """Name of a piece among the chunks."""
        return f"{self.name}-{index:06d}"

    def missing(self, chunks: Chunks) -> list[int]:
        """Which pieces are still to be made."""
        return [index for index in range(len(self.pieces)) if self.key(index) not in chunks]

    def done(self, chunks: Chunks) -> float:
        """Share of the map whose pieces are made."""
        missing = sum(self.pieces[index].size for index in self.missing(chunks))
        return 1 - missing / sum(piece.size for piece in self.pieces)

    def read(
        self, chunks: Chunks, rows: slice = slice(None), columns: slice = slice(None)
    ) -> FloatMap:
        """A rectangle of the map, put together from the pieces that touch it.

        Returns:
            (rows, columns, D).
        """
        top, bottom, _ = rows.indices(self.shape[0])
        left, right, _ = columns.indices(self.shape[1])
        result: FloatMap | None = None
        for index, piece in enumerate(self.pieces):
            down = slice(max(top, piece.rows.start), min(bottom, piece.rows.stop))
            across = slice(max(left, piece.columns.start), min(right, piece.columns.stop))
            if down.start >= down.stop or across.start >= across.stop:
                continue
            inside = _moved(down, piece.rows.start), _moved(across, piece.columns.start)
            values = chunks[self.key(index)][inside]
            if piece.weights is not None:
                values = values * piece.weights[inside][..., None]
            if result is None:
                result = np.zeros((bottom - top, right - left, values.shape[-1]), np.float32)
            result[_moved(down, top), _moved(across, left)] += values
        assert result is not None  # pieces cover the map
        return result

    def strips(self, chunks: Chunks, depth: int) -> Iterator[FloatMap]:
        """The map from top to bottom, some rows (rows, w, D) at a time.

        Args:
            chunks: where the pieces are.
            depth: D.
        """
        height, width = self.shape
        step = max(1, _STRIP_BYTES // (4 * width * depth))
        for top in range(0, height, step):
            yield self.read(chunks, slice(top, min(top + step, height)))


def _moved(span: slice, start: int) -> slice:
    return slice(span.start - start, span.stop - start)
