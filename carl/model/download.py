"""One file from the internet: with progress, resumed where it broke off, checked before it counts.

What has come waits beside the target in a ``.part`` file whose name tells the checksum that is
expected: the rest of a file that changed on the server is never added to the beginning of the old
one. Only a file with the right checksum gets its proper name.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from filelock import FileLock, Timeout

from carl.errors import ModelError, OutputError
from carl.progress import Progress, no_progress

_BLOCK = 1 << 18
_PATIENCE = 30
"""Seconds without a sign of life from the server."""
_SHORT_PATIENCE = 5
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_CHECKSUM = re.compile(r"(md5|sha256|sha512):([0-9a-f]{32,128})")


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server.

    Attributes:
        url: its address.
        size: bytes.
        checksum: algorithm and hexadecimal digest, as ``md5:9e107d9d372bb6826bd81d3542a419d6``.
    """

    url: str
    size: int
    checksum: str

    def __post_init__(self) -> None:
        if self.size <= 0 or not _CHECKSUM.fullmatch(self.checksum):
            raise ModelError(f"Size or checksum of {self.url} is unknown: it is not downloaded.")

    @property
    def algorithm(self) -> str:
        """Of the checksum."""
        return self.checksum.partition(":")[0]

    @property
    def digest(self) -> str:
        """That the content must have."""
        return self.checksum.partition(":")[2]


def download(remote: RemoteFile, target: Path, *, progress: Progress = no_progress) -> None:
    """Bring a file to this machine. What breaks off is kept, and the next call goes on from there.

    Args:
        remote: the file.
        target: where it goes; left as it is if it is there. Missing folders are made.
        progress: told several times a second; cancels by raising.

    Raises:
        ModelError: it cannot be had, is not what its checksum promises, or another program is
            downloading it.
        OutputError: the folder cannot be written, or the disk is full.
        Cancelled: by `progress`.
    """
    if target.is_file():
        return
    part = target.with_name(f"{target.name}.{remote.digest[:12]}.part")
    with _alone(target):
        _fetch_rest(remote, part, progress)
        _check(remote, part)
        with _writing(target):
            os.replace(part, target)
            for older in target.parent.glob(f"{target.name}.*.part"):
                older.unlink()  # of a file that has changed on the server since


def read_small(url: str, *, most_bytes: int = 1 << 20) -> bytes:
    """The content of a small file on a server.

    Raises:
        ModelError: it cannot be had, or is not small.
    """
    with _listening(url), _open(url, 0) as response:
        content = response.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ModelError(f"{url} is not what it should be: it is far too large.")
    return content


def is_reachable(url: str) -> bool:
    """Whether a server answers at all, within a few seconds."""
    try:
        build_opener().open(Request(url, method="HEAD"), timeout=_SHORT_PATIENCE).close()
    except HTTPError:
        return True
    except (URLError, HTTPException, OSError):
        return False
    return True


def _fetch_rest(remote: RemoteFile, part: Path, progress: Progress) -> None:
    """Add to `part` what is missing in it."""
    have = part.stat().st_size if part.is_file() else 0
    if have == remote.size:
        return
    with _listening(remote.url), _open(remote.url, have) as response:
        if not _goes_on_at(response, have):
            have = 0  # all of it is sent again
        _require_space(part, remote.size - have)
        with _writing(part), part.open("ab" if have else "wb") as file:
            for block in _blocks(response, remote.url):
                file.write(block)
                have += len(block)
                if have > remote.size:
                    break  # the checksum will be wrong: no need to fill the disk
                progress(have / remote.size, f"{_mb(have)} of {_mb(remote.size)} MB")
    if have < remote.size:
        raise ModelError(_broken_off(remote.url, "the connection ended"))


def _check(remote: RemoteFile, part: Path) -> None:
    """Make sure that the content is what it should be, or remove it."""
    with _writing(part), part.open("rb") as file:
        found = hashlib.file_digest(
            file, lambda: hashlib.new(remote.algorithm, usedforsecurity=False)
        ).hexdigest()
    if found != remote.digest:
        part.unlink()
        raise ModelError(
            f"What came from {remote.url} was removed, for its checksum ({remote.algorithm} "
            f"{found}) is not {remote.digest}: try again later."
        )


class _SafeRedirects(HTTPRedirectHandler):
    """Follows a server that sends us elsewhere, if the way there is safe."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        _require_safe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, start: int) -> HTTPResponse:
    """The answer of a server that was asked for a file from a byte on."""
    _require_safe(url)
    headers = {"User-Agent": "napari-carl", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener = build_opener(_SafeRedirects)
    try:
        return cast(HTTPResponse, opener.open(Request(url, headers=headers), timeout=_PATIENCE))
    except HTTPError as error:
        if start and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _open(url, 0)
        raise


def _require_safe(url: str) -> None:
    """Refuse what others could read or change on its way: all but https and this machine itself."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _THIS_MACHINE):
        return
    raise ModelError(f"{url} is not an address with https: nothing is downloaded from there.")


def _goes_on_at(response: HTTPResponse, start: int) -> bool:
    """Whether the server sends the file from the byte it was asked for."""
    sent = response.headers.get("Content-Range", "")
    return response.status == HTTPStatus.PARTIAL_CONTENT and sent.startswith(f"bytes {start}-")


def _blocks(response: HTTPResponse, url: str) -> Iterator[bytes]:
    while True:
        try:
            block = response.read1(_BLOCK)
        except (HTTPException, OSError) as error:
            raise ModelError(_broken_off(url, _reason(error))) from error
        if not block:
            return
        yield block


@contextmanager
def _listening(url: str) -> Iterator[None]:
    """Whatever keeps a server from answering, in one sentence."""
    host = urlsplit(url).hostname
    try:
        yield
    except HTTPError as error:
        raise ModelError(
            f"{host} does not give {url} ({error.code} {error.reason}): "
            + (
                "try again later."
                if error.code == HTTPStatus.TOO_MANY_REQUESTS or error.code >= 500
                else "the address may have changed."
            )
        ) from error
    except (URLError, HTTPException, OSError) as error:
        raise ModelError(
            f"{host} cannot be reached ({_reason(error)}): connect this machine to the internet "
            "and try again."
        ) from error


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other programs from downloading the same."""
    lock = FileLock(target.with_name(f".{target.name}.lock"), timeout=0)
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise ModelError(f"{target.name} is being downloaded already: wait for it.") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}): free some space or set "
            "CARL_HOME to another folder; what has come is kept."
        ) from error


def _require_space(path: Path, needed: int) -> None:
    with _writing(path):
        free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OutputError(
            f"{path.parent} has {_mb(free)} MB left and {_mb(needed)} MB are needed: free some "
            "space or set CARL_HOME to another folder."
        )


def _broken_off(url: str, reason: str) -> str:
    host = urlsplit(url).hostname
    return f"The download from {host} broke off ({reason}): try again, it goes on from there."


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None)  # an URLError wraps what went wrong
    return str(getattr(inner, "strerror", None) or inner or error) or type(error).__name__


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f}"
