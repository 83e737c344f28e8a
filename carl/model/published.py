"""Weights that the authors of a network have published at Zenodo, brought here when asked for."""

from __future__ import annotations

import json
from pathlib import Path

from carl.errors import ModelError
from carl.model.download import RemoteFile, download, read_small
from carl.model.named_models import NAMED_MODELS, weights_path
from carl.progress import Progress, no_progress

SITE = "https://zenodo.org"


def download_weights(name: str, *, progress: Progress = no_progress) -> Path:
    """Bring the weights of a named network to this machine, unless they are there.

    Args:
        name: from `list_models`, of a network that is downloadable.
        progress: told several times a second; cancels by raising.

    Returns:
        the file, from which `load_model` reads the network by its name.

    Raises:
        ModelError: no such name, it has no published weights, or they cannot be had.
        OutputError: there is no space for them.
        Cancelled: by `progress`; the next call goes on from there.
    """
    published = [each for each, named in NAMED_MODELS.items() if named.publication is not None]
    if name not in published:
        what = "has no weights to download" if name in NAMED_MODELS else "is no known network"
        raise ModelError(f"'{name}' {what}: choose {' or '.join(published)}.")
    publication, target = NAMED_MODELS[name].publication, weights_path(name)
    if publication is not None and not target.is_file():
        progress(0.0, "Asking for size and checksum")
        remote = zenodo_file(publication.record, publication.file)
        download(remote, target, progress=progress)
    return target


def zenodo_file(record: int, name: str) -> RemoteFile:
    """Address, size and checksum of a file, as its record at Zenodo tells them.

    A record never changes once it is published. As the same server tells the checksum and gives the
    file, the checksum shows what broke on the way; that the server is Zenodo's is shown by https.

    Raises:
        ModelError: the record cannot be had, or has no such file.
    """
    url = f"{SITE}/api/records/{record}"
    try:
        files = {each["key"]: each for each in json.loads(read_small(url))["files"]}
        size, checksum = int(files[name]["size"]), str(files[name]["checksum"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The record {url} does not tell of a file '{name}'.") from error
    return RemoteFile(f"{SITE}/records/{record}/files/{name}", size, checksum)
