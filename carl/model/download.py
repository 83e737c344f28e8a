"""Download of published network weights, with progress, resumption and a checksum.

A partial download is stored beside the target as ``NAME.CHECKSUM.part``, so that a file that has
changed on the server is never appended to the beginning of its previous version. Only a file with
the expected checksum is renamed to the target.
"""

from __future__ import annotations

import hashlib
import json
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
from carl.files import sync_file, sync_folder
from carl.model.named_models import NAMED_MODELS, weights_path
from carl.progress import Progress, no_progress

ZENODO = "https://zenodo.org"
_BLOCK_BYTES = 1 << 18
"""Bytes read at once: progress is reported several times per second on slow connections."""
_TIMEOUT_S = 30
"""Seconds without any data after which a download fails."""
_PROBE_TIMEOUT_S = 5
"""Seconds after which a server counts as unreachable."""
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_CHECKSUM = re.compile(r"(md5|sha256|sha512):([0-9a-f]{32,128})")


def download_weights(name: str, *, progress: Progress = no_progress) -> Path:
    """Download the published weights of a named network, unless they are already installed.

    Args:
        name: a network of `list_models` that is downloadable.
        progress: called several times per second with the completed fraction; cancels by raising.

    Returns:
        the installed file; `load_model` then loads the network by its name.

    Raises:
        ModelError: the name is unknown, the network has no published weights, or the download
            fails.
        OutputError: the file cannot be written, or the disk has too little space.
        Cancelled: raised by `progress`; the next call resumes the download.
    """
    downloadable = [each for each, model in NAMED_MODELS.items() if model.published is not None]
    if name not in downloadable:
        problem = "has no weights to download" if name in NAMED_MODELS else "is not a known network"
        raise ModelError(f"'{name}' {problem}: choose {' or '.join(downloadable)}.")
    published, target = NAMED_MODELS[name].published, weights_path(name)
    if published is not None and not target.is_file():
        progress(0.0, "Requesting size and checksum")
        remote = zenodo_file(published.record, published.file)
        download(remote, target, progress=progress)
    return target


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server.

    Attributes:
        url: address.
        size: size in bytes.
        checksum: algorithm and hexadecimal digest, as ``md5:9e107d9d372bb6826bd81d3542a419d6``.
    """

    url: str
    size: int
    checksum: str

    def __post_init__(self) -> None:
        if self.size <= 0 or not _CHECKSUM.fullmatch(self.checksum):
            raise ModelError(
                f"{self.url} is not downloaded, because its size or checksum is unknown: try again "
                "later."
            )


def zenodo_file(record: int, name: str) -> RemoteFile:
    """Look up address, size and checksum of a file in a Zenodo record.

    Zenodo never changes a published record. The checksum comes from the same server as the file: it
    detects transfer errors, while https authenticates the server.

    Raises:
        ModelError: the record cannot be read, or has no such file.
    """
    url = f"{ZENODO}/api/records/{record}"
    try:
        files = {each["key"]: each for each in json.loads(read_small(url))["files"]}
        size, checksum = int(files[name]["size"]), str(files[name]["checksum"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"The record {url} does not list the file '{name}': try again later."
        ) from error
    return RemoteFile(f"{ZENODO}/records/{record}/files/{name}", size, checksum)


def download(remote: RemoteFile, target: Path, *, progress: Progress = no_progress) -> None:
    """Download a file to `target` unless it exists, resuming a previous partial download.

    Missing folders are created. `progress` receives the completed fraction and cancels by raising.

    Raises:
        ModelError: the download fails, the content does not have the expected checksum, or another
            process is downloading the same file.
        OutputError: the folder cannot be written, or the disk has too little space.
        Cancelled: raised by `progress`.
    """
    if target.is_file():
        return
    part = target.with_name(f"{target.name}.{remote.checksum.partition(':')[2][:12]}.part")
    with _exclusive_lock(target):
        _download_rest(remote, part, progress)
        _verify_checksum(remote, part)
        with _convert_write_errors(target):
            sync_file(part)
            os.replace(part, target)
            sync_folder(target.parent)
            for outdated in target.parent.glob(f"{target.name}.*.part"):
                outdated.unlink()  # of a previous version on the server


def read_small(url: str, *, max_bytes: int = 1 << 20) -> bytes:
    """Read the content of a small file on a server.

    Raises:
        ModelError: the request fails, or the file has more than `max_bytes` bytes.
    """
    with _convert_network_errors(url), _open(url, 0) as response:
        content = response.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ModelError(f"{url} has an unexpected content of more than {max_bytes} bytes.")
    return content


def is_reachable(url: str) -> bool:
    """Return whether a server answers within a few seconds, with any HTTP status."""
    try:
        build_opener().open(Request(url, method="HEAD"), timeout=_PROBE_TIMEOUT_S).close()
    except HTTPError:
        return True
    except (URLError, HTTPException, OSError):
        return False
    return True


def _download_rest(remote: RemoteFile, part: Path, progress: Progress) -> None:
    """Append the missing bytes to the partial file."""
    received = part.stat().st_size if part.is_file() else 0
    if received == remote.size:
        return
    with _convert_network_errors(remote.url), _open(remote.url, received) as response:
        if not _starts_at(response, received):
            received = 0  # the server ignored the range and sends the whole file
        _check_free_space(part, remote.size - received)
        with _convert_write_errors(part), part.open("ab" if received else "wb") as file:
            for block in _read_blocks(response, remote.url):
                file.write(block)
                received += len(block)
                if received > remote.size:
                    break  # longer than expected: the checksum test will reject it
                progress(received / remote.size, f"{_mb(received)} of {_mb(remote.size)} MB")
    if received < remote.size:
        raise ModelError(_interrupted(remote.url, "the server closed the connection"))


def _verify_checksum(remote: RemoteFile, part: Path) -> None:
    """Compare the checksum of the downloaded file; remove the file if it differs."""
    algorithm, _, expected = remote.checksum.partition(":")
    with _convert_write_errors(part), part.open("rb") as file:
        hashing = hashlib.new(algorithm, usedforsecurity=False)
        found = hashlib.file_digest(file, lambda: hashing).hexdigest()
    if found != expected:
        part.unlink()
        raise ModelError(
            f"The file from {remote.url} was removed, because its checksum ({algorithm} {found}) "
            f"is not {expected}: try again later."
        )


class _SafeRedirects(HTTPRedirectHandler):
    """Redirect handler that follows only addresses accepted by `_require_https`."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        _require_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, start: int) -> HTTPResponse:
    """Request a file from byte `start` on."""
    _require_https(url)
    headers = {"User-Agent": "napari-carl", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener = build_opener(_SafeRedirects)
    try:
        return cast(HTTPResponse, opener.open(Request(url, headers=headers), timeout=_TIMEOUT_S))
    except HTTPError as error:
        if start and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _open(url, 0)
        raise


def _require_https(url: str) -> None:
    """Raise unless the address uses https, or http to this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS):
        return
    raise ModelError(f"{url} is not downloaded, because its address does not use https.")


def _starts_at(response: HTTPResponse, start: int) -> bool:
    """Return whether the response contains the file from byte `start` on."""
    sent = response.headers.get("Content-Range", "")
    return response.status == HTTPStatus.PARTIAL_CONTENT and sent.startswith(f"bytes {start}-")


def _read_blocks(response: HTTPResponse, url: str) -> Iterator[bytes]:
    while True:
        try:
            block = response.read1(_BLOCK_BYTES)
        except (HTTPException, OSError) as error:
            raise ModelError(_interrupted(url, _reason(error))) from error
        if not block:
            return
        yield block


@contextmanager
def _convert_network_errors(url: str) -> Iterator[None]:
    """Convert errors of a request to a `ModelError` with one sentence."""
    host = urlsplit(url).hostname
    try:
        yield
    except HTTPError as error:
        temporary = error.code == HTTPStatus.TOO_MANY_REQUESTS or error.code >= 500
        raise ModelError(
            f"{host} refuses the request for {url} ({error.code} {error.reason}): "
            + ("try again later." if temporary else "the address may have changed.")
        ) from error
    except (URLError, HTTPException, OSError) as error:
        raise ModelError(
            f"{host} cannot be reached ({_reason(error)}): connect this machine to the internet "
            "and try again."
        ) from error


@contextmanager
def _exclusive_lock(target: Path) -> Iterator[None]:
    """Hold a lock file that prevents other processes from downloading the same file."""
    lock = FileLock(target.with_name(f".{target.name}.lock"), timeout=0)
    with _convert_write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise ModelError(
                f"{target.name} is already being downloaded by another process: wait for it."
            ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _convert_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}): free some space or set "
            "CARL_HOME to another folder; the partial download is saved and will be resumed."
        ) from error


def _check_free_space(path: Path, needed: int) -> None:
    with _convert_write_errors(path):
        free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OutputError(
            f"{path.parent} has {_mb(free)} MB left and {_mb(needed)} MB are needed: free some "
            "space or set CARL_HOME to another folder."
        )


def _interrupted(url: str, reason: str) -> str:
    host = urlsplit(url).hostname
    return f"The download from {host} was interrupted ({reason}): try again to resume it."


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None)  # a URLError wraps the original error
    return str(getattr(inner, "strerror", None) or inner or error) or type(error).__name__


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f}"
