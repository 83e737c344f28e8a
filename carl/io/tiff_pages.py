"""Check of the chain of pages of a TIFF.

Each page of a TIFF states the position of the next one. tifffile logs some damaged positions, does
not notice others, and follows certain circles for ever; the pages after a damaged position are then
missing from the cube. Here the chain is followed first. If the file does not state the number of
its pages, bytes that belong to no page are searched for pages that the chain skips.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from carl.errors import CubeError

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of little-endian and big-endian TIFF, and of BigTIFF."""
MAX_PAGES = 1 << 16
"""Most pages of a file: tifffile needs about 1 kB of memory for each."""
_MAX_TAGS = 4096
"""Most tags of a page, as in tifffile."""
_MAX_SHARED = 4
"""Most times that the bytes of a file may be covered by values of tags: shared values are legal,
but thousands of pages that share a large one would take a time that grows with its square."""
_MAX_DESCRIPTION = 16 << 20
"""Largest size of a description, bytes: parsed JSON or XML takes about 30 times as much memory."""
_SEARCH_BYTES = 1 << 22
"""Bytes that are searched at once."""
_HEAD_BYTES = 40
"""Bytes that contain the first two tags of a page."""

_WIDTH, _LENGTH, _STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES = 256, 257, 273, 279, 324, 325
_SUB_PAGES, _DESCRIPTION = 330, 270
_USED = frozenset({_WIDTH, _LENGTH, _STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES, _SUB_PAGES})
"""Codes of the tags that are used here."""
_TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
    16: 8, 17: 8, 18: 8,
}  # fmt: skip
"""Size of a value by the code of its type."""
_UNSIGNED = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""Codes of `struct` of the types of sizes and positions."""


@dataclass(frozen=True)
class _Format:
    """Layout of the directory of a page, which differs between TIFF and BigTIFF."""

    order: str
    count: str  # code of `struct` of the number of tags
    offset: str  # of a position

    @property
    def count_bytes(self) -> int:
        return struct.calcsize(self.count)

    @property
    def offset_bytes(self) -> int:
        return struct.calcsize(self.offset)

    @property
    def of_tag(self) -> str:
        """Format of the code, type and number of values of a tag, which its value follows."""
        return f"{self.order}HH{self.offset}"

    @property
    def tag_bytes(self) -> int:
        return 4 + 2 * self.offset_bytes


@dataclass(frozen=True)
class _Page:
    """Position and size of a page and of all that belongs to it, in pixels and bytes."""

    width: int
    length: int
    strips: tuple[int, ...]  # positions of the strips or tiles
    sub_pages: tuple[int, ...]  # positions
    next: int  # position of the next page, 0 for the last one
    parts: tuple[tuple[int, int], ...]  # start and stop of all that belongs to the page


@dataclass(frozen=True)
class PageChain:
    """Pages of a TIFF in the order of their chain, then those below them, such as previews."""

    path: Path
    form: _Format
    size: int  # of the file, bytes
    pages: tuple[_Page, ...]

    def check_complete(self) -> None:
        """Check that the rest of the file holds no page of the same size.

        Programs that change a page write it anew at the end of the file. The old page remains, with
        the same pixels, and is no missing one.

        Raises:
            CubeError: there is such a page, which the chain should have reached.
        """
        known = {position for page in self.pages for position in page.strips[:1]}
        shapes = {(page.width, page.length) for page in self.pages}
        widths = (struct.pack(self.form.of_tag, _WIDTH, kind, 1) for kind in (3, 4))
        tag = re.compile(b"|".join(map(re.escape, widths)))
        with self.path.open("rb") as file:
            for start, stop in self._gaps():
                for found in _matches(file, tag, start, stop):
                    page = self._page_around(file, found)
                    if (
                        page is not None
                        and (page.width, page.length) in shapes
                        and known.isdisjoint(page.strips[:1])
                    ):
                        raise CubeError(
                            f"{self.path.name} is damaged: it holds pages that cannot be reached "
                            "from the first one. Copy it again from its source."
                        )

    def _gaps(self) -> Iterator[tuple[int, int]]:
        """Yield start and stop of each part of the file that belongs to no page."""
        parts = [part for page in self.pages for part in page.parts]
        starts, stops = np.array([(0, 8), *sorted(parts), (self.size, self.size)], np.float64).T
        ends = np.maximum.accumulate(stops)[:-1]
        for number in np.flatnonzero(starts[1:] > ends):
            yield int(ends[number]), min(int(starts[number + 1]), self.size)

    def _page_around(self, file: IO[bytes], at: int) -> _Page | None:
        """Return the page with pixels whose width is at a position of the file, if there is one."""
        # The width is the first tag, or follows the one for the kind of the page.
        for n_before in (0, 1):
            start = at - self.form.count_bytes - n_before * self.form.tag_bytes
            try:
                page = _parse(file, start, self.form, self.size) if start > 0 else None
            except struct.error:
                continue
            if page is not None and page.strips:
                return page
        return None


def follow_pages(path: Path) -> PageChain:
    """Follow the chain of the pages of a TIFF, whose signature was recognised.

    Raises:
        CubeError: the chain leaves the file, returns to an earlier page, has a damaged page or is
            too long.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        order = "<" if head.startswith(b"II") else ">"
        is_big = head.startswith(SIGNATURES[2:])
        form = _Format(order, "Q", "Q") if is_big else _Format(order, "H", "I")
        try:
            first = struct.unpack_from(order + form.offset, head, 8 if is_big else 4)[0]
            return PageChain(path, form, size, tuple(_follow(file, first, form, size, path)))
        except struct.error as error:
            raise CubeError(f"{path.name} is cut off: copy it again from its source.") from error


def _follow(file: IO[bytes], first: int, form: _Format, size: int, path: Path) -> list[_Page]:
    """Return all pages of the chain, and the pages below them."""
    pages: list[_Page] = []
    seen: set[int] = set()
    covered = 0
    below: list[int] = []
    at = first
    while at:
        if at in seen:
            raise CubeError(
                f"{path.name} is damaged: its page {len(pages) + 1} is an earlier one again. Copy "
                "it again from its source."
            )
        if at >= size:
            raise CubeError(
                f"{path.name} is cut off or damaged: pages at its end are missing. Copy it again "
                "from its source."
            )
        seen.add(at)
        if len(pages) == MAX_PAGES:
            raise CubeError(
                f"{path.name} has more than {MAX_PAGES} pages: save the cube with one page per "
                "band."
            )
        page = _parse(file, at, form, size)
        covered += sum(stop - start for start, stop in page.parts) if page else 0
        if page is None or covered > _MAX_SHARED * size:
            raise CubeError(
                f"{path.name} is damaged: its page {len(pages) + 1} cannot be read. Copy it again "
                "from its source."
            )
        pages.append(page)
        below.extend(page.sub_pages)
        at = page.next
    # tifffile reads the pages below others from a list, without following a chain.
    parsed = (_parse(file, at, form, size) for at in sorted({*below} - seen) if at < size)
    return [*pages, *(page for page in parsed if page is not None)]


def _parse(file: IO[bytes], at: int, form: _Format, size: int) -> _Page | None:
    """Return the page whose directory begins at a position; None if it is damaged."""
    file.seek(at)
    n_tags = struct.unpack(form.order + form.count, file.read(form.count_bytes))[0]
    if not 0 < n_tags <= _MAX_TAGS:
        return None
    content = file.read(n_tags * form.tag_bytes + form.offset_bytes)
    following = struct.unpack_from(form.order + form.offset, content, n_tags * form.tag_bytes)[0]
    tags: dict[int, tuple[int, ...]] = {}
    stop = at + form.count_bytes + n_tags * form.tag_bytes + form.offset_bytes
    parts = [(at, stop)]
    for number in range(n_tags):
        tag = content[number * form.tag_bytes : (number + 1) * form.tag_bytes]
        code, kind, count = struct.unpack_from(form.of_tag, tag)
        n_bytes = _TYPE_BYTES.get(kind, 0) * count
        where = struct.unpack_from(form.order + form.offset, tag, 4 + form.offset_bytes)[0]
        inline = n_bytes <= form.offset_bytes
        if not inline and where + n_bytes <= size:
            parts.append((where, where + n_bytes))
        if code == _DESCRIPTION and n_bytes > _MAX_DESCRIPTION:
            return None
        if code not in _USED:
            continue
        if kind not in _UNSIGNED or not count or (not inline and where + n_bytes > size):
            return None
        if inline:
            values = tag[4 + form.offset_bytes :]
        else:
            file.seek(where)
            values = file.read(n_bytes)
        tags[code] = struct.unpack_from(f"{form.order}{count}{_UNSIGNED[kind]}", values)
    if _WIDTH not in tags or _LENGTH not in tags:
        return None
    strips = tags.get(_TILES, tags.get(_STRIPS, ()))
    sizes = tags.get(_TILE_SIZES, tags.get(_STRIP_SIZES, ()))
    return _Page(
        tags[_WIDTH][0],
        tags[_LENGTH][0],
        strips,
        tags.get(_SUB_PAGES, ()),
        following,
        (*parts, *((start, start + length) for start, length in zip(strips, sizes, strict=False))),
    )


def _matches(file: IO[bytes], tag: re.Pattern[bytes], start: int, stop: int) -> Iterator[int]:
    """Yield the positions of a pattern of a few bytes in a part of a file."""
    for at in range(start, stop, _SEARCH_BYTES):
        file.seek(at)
        content = file.read(min(_SEARCH_BYTES + _HEAD_BYTES, stop - at))
        for found in tag.finditer(content):
            if found.start() < _SEARCH_BYTES:
                yield at + found.start()
