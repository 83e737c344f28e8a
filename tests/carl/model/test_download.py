from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from carl.errors import Cancelled, ModelError, OutputError
from carl.model import CARL, download_weights, list_models, load_model
from carl.model import download as download_module
from carl.model.checkpoint import original_name
from carl.model.download import ZENODO, RemoteFile, download, is_reachable, read_small
from carl.model.named_models import NAMED_MODELS, weights_path

CONTENT = os.urandom(3 << 20)
SATELLITE = "carl-small-satellite"


def remote(server: Any, content: bytes = CONTENT, algorithm: str = "md5") -> RemoteFile:
    """Put a file on the server and return its description."""
    server.files["/weights"] = content
    digest = hashlib.new(algorithm, content).hexdigest()
    return RemoteFile(f"{server.address}/weights", len(content), f"{algorithm}:{digest}")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "weights.ckpt"


def names(target: Path) -> list[str]:
    """Return the names of the files in the target folder, except for the lock file."""
    return sorted(each.name for each in target.parent.iterdir() if each.suffix != ".lock")


def interrupt(server: Any, target: Path, after: int = 1 << 20) -> None:
    """Leave a partial download in the target folder."""
    server.breaks_after = after
    with pytest.raises(ModelError, match=r"was interrupted .* try again to resume it\.$"):
        download(remote(server), target)
    server.breaks_after = None
    assert len(names(target)) == 1
    assert names(target)[0].endswith(".part")
    assert 0 < (target.parent / names(target)[0]).stat().st_size <= after


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_download_is_complete_and_reports_progress(
    server: Any, target: Path, algorithm: str
) -> None:
    reports: list[tuple[float, str]] = []
    download(
        remote(server, algorithm=algorithm), target, progress=lambda *each: reports.append(each)
    )
    assert target.read_bytes() == CONTENT
    assert names(target) == [target.name]
    fractions = [fraction for fraction, _ in reports]
    assert fractions == sorted(fractions)
    assert reports[-1] == (1.0, "3 of 3 MB")
    assert len(reports) > 5


def test_existing_file_is_not_requested_again(server: Any, target: Path) -> None:
    download(remote(server), target)
    server.asked.clear()
    download(remote(server), target)
    assert not server.asked


def test_interrupted_download_is_resumed(server: Any, target: Path) -> None:
    interrupt(server, target)
    received = (target.parent / names(target)[0]).stat().st_size
    fractions: list[float] = []
    download(remote(server), target, progress=lambda fraction, _: fractions.append(fraction))
    assert server.asked[-1] == ("/weights", f"bytes={received}-")
    assert fractions[0] > received / len(CONTENT)
    assert target.read_bytes() == CONTENT
    assert names(target) == [target.name]


def test_download_restarts_if_the_server_does_not_support_ranges(server: Any, target: Path) -> None:
    interrupt(server, target)
    server.with_ranges = False
    download(remote(server), target)
    assert target.read_bytes() == CONTENT


def test_download_restarts_if_the_file_has_changed(server: Any, target: Path) -> None:
    interrupt(server, target)
    other = os.urandom(len(CONTENT) + 1)
    download(remote(server, other), target)
    assert server.asked[-1] == ("/weights", None)
    assert target.read_bytes() == other
    assert names(target) == [target.name]


@pytest.mark.parametrize("change", ["other", "shorter", "longer"])
def test_unexpected_content_is_removed(server: Any, target: Path, change: str) -> None:
    expected = remote(server)
    interrupt(server, target)
    server.files["/weights"] = {
        "other": bytes(len(CONTENT)),
        "shorter": CONTENT[: 1 << 19],
        "longer": CONTENT + b"more",
    }[change]
    for _ in range(2):
        with pytest.raises(ModelError):
            download(expected, target)
    assert not target.exists()
    server.files["/weights"] = CONTENT
    download(expected, target)
    assert target.read_bytes() == CONTENT


def test_wrong_checksum_leaves_no_files(server: Any, target: Path) -> None:
    good = remote(server)
    wrong = RemoteFile(good.url, good.size, "md5:" + "0" * 32)
    with pytest.raises(ModelError, match="its checksum"):
        download(wrong, target)
    assert names(target) == []


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "may have changed"),
        (403, "may have changed"),
        (429, "try again later"),
        (503, "try again later"),
    ],
)
def test_http_error_is_reported(server: Any, target: Path, status: int, message: str) -> None:
    wanted = remote(server)
    server.status = status
    with pytest.raises(ModelError, match=message) as caught:
        download(wanted, target)
    assert str(status) in str(caught.value)
    assert names(target) == []


def test_unreachable_server_is_reported(target: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/weights"
        with pytest.raises(ModelError, match="connect this machine to the internet"):
            download(RemoteFile(url, 1, "md5:" + "0" * 32), target)


@pytest.mark.parametrize(
    "url", ["http://example.org/w", "ftp://example.org/w", "file:///etc/hosts"]
)
def test_only_https_is_accepted(server: Any, target: Path, url: str) -> None:
    with pytest.raises(ModelError, match="https"):
        download(RemoteFile(url, 1, "md5:" + "0" * 32), target)
    wanted = remote(server)
    server.redirects["/weights"] = url
    with pytest.raises(ModelError):
        download(wanted, target)
    assert names(target) == []


def test_redirects_are_followed(server: Any, target: Path) -> None:
    wanted = remote(server)
    server.files["/elsewhere"] = server.files.pop("/weights")
    server.redirects["/weights"] = f"{server.address}/elsewhere"
    download(wanted, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("stop", [Cancelled("stopped"), KeyboardInterrupt()])
def test_cancelled_download_is_resumed(server: Any, target: Path, stop: BaseException) -> None:
    def cancel_halfway(fraction: float, message: str) -> None:
        if fraction > 0.5:
            raise stop

    with pytest.raises(type(stop)):
        download(remote(server), target, progress=cancel_halfway)
    assert not target.exists()
    download(remote(server), target)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1][1] is not None


def test_free_space_is_checked_first(
    server: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(10, 9, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="3 MB are needed"):
        download(remote(server), target)
    assert names(target) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_full_disk_is_reported(server: Any, target: Path) -> None:
    wanted = remote(server)
    digest = wanted.checksum.removeprefix("md5:")
    target.parent.mkdir()
    (target.parent / f"{target.name}.{digest[:12]}.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"No space left .* partial download is saved"):
        download(wanted, target)
    assert not target.exists()


def test_unwritable_folder_is_reported(server: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="CARL_HOME"):
        download(remote(server), tmp_path / "file" / "weights")


def test_simultaneous_download_of_the_same_file_raises(server: Any, target: Path) -> None:
    target.parent.mkdir()
    with (
        FileLock(target.parent / f".{target.name}.lock"),
        pytest.raises(ModelError, match="already"),
    ):
        download(remote(server), target)
    download(remote(server), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("checksum", ["", "md5:", "crc:" + "0" * 32, "md5:../../x"])
def test_checksum_is_required(checksum: str) -> None:
    with pytest.raises(ModelError, match="unknown"):
        RemoteFile("https://example.org/w", 1, checksum)


def test_read_small_limits_the_size(server: Any) -> None:
    server.files["/small"] = b"12345"
    assert read_small(f"{server.address}/small") == b"12345"
    with pytest.raises(ModelError, match="more than 4 bytes"):
        read_small(f"{server.address}/small", max_bytes=4)


def test_server_with_any_http_status_is_reachable(server: Any) -> None:
    server.files["/there"] = b"1"
    assert is_reachable(f"{server.address}/there")
    assert is_reachable(f"{server.address}/not-there")
    server.close()
    assert not is_reachable(server.address)


@pytest.fixture
def zenodo(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Local server in place of Zenodo."""
    monkeypatch.setattr(download_module, "ZENODO", server.address)
    return server


def publish(zenodo: Any, content: bytes, **changes: object) -> None:
    """Put a file into the Zenodo record of the published weights."""
    published = NAMED_MODELS[SATELLITE].published
    assert published is not None
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    entry = {"key": published.file, "size": len(content), "checksum": f"md5:{digest}", **changes}
    record = {"id": published.record, "files": [{"key": "other"}, entry]}
    zenodo.files[f"/api/records/{published.record}"] = json.dumps(record).encode()
    zenodo.files[f"/records/{published.record}/files/{published.file}"] = content


def test_address_of_the_published_weights() -> None:
    published = NAMED_MODELS[SATELLITE].published
    assert published is not None
    assert ZENODO == "https://zenodo.org"
    assert (published.record, published.file) == (18671944, "ssl_checkpoint_carl.ckpt")


def test_configuration_of_the_published_weights() -> None:
    """Values of config_ssl.yaml, published beside the checkpoint."""
    spectral = {"embed_dim": 384, "depth": 8, "num_heads": 6, "pos_enc_sigma": 3, "n_queries": 8}
    backbone = {"model_name": "timm/eva02_base_patch14_224.mim_in22k", "depth": 8}
    config = NAMED_MODELS[SATELLITE].config
    assert config.patch_size == 8
    assert vars(config.spec_encoder_kwargs).items() >= spectral.items()
    assert vars(config.spat_encoder_kwargs).items() >= backbone.items()


def test_downloaded_weights_are_loaded_by_name(
    zenodo: Any,
    small_model: Callable[..., CARL],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    carl_home: Path,
) -> None:
    original = small_model()
    monkeypatch.setitem(
        NAMED_MODELS, SATELLITE, replace(NAMED_MODELS[SATELLITE], config=original.config)
    )
    state = {f"model.{original_name(name)}": t for name, t in original.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "ckpt")
    publish(zenodo, (tmp_path / "ckpt").read_bytes())

    assert not next(info for info in list_models() if info.name == SATELLITE).trained
    path = download_weights(SATELLITE)
    assert path == weights_path(SATELLITE)
    assert path.is_relative_to(carl_home)
    assert next(info for info in list_models() if info.name == SATELLITE).trained

    model = load_model(SATELLITE, "cpu")
    assert (model.name, model.trained) == (SATELLITE, True)
    assert model.wavelength_range_um == (0.418, 2.446)
    assert model.fingerprint == original.fingerprint
    zenodo.close()
    assert download_weights(SATELLITE) == path


@pytest.mark.parametrize(
    "changes", [{"key": "another.ckpt"}, {"checksum": ""}, {"size": "?"}, {"size": 0}]
)
def test_incomplete_record_raises(zenodo: Any, changes: dict[str, object]) -> None:
    publish(zenodo, b"content", **changes)
    with pytest.raises(ModelError, match=r"ssl_checkpoint_carl\.ckpt"):
        download_weights(SATELLITE)
    assert not weights_path(SATELLITE).exists()


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"files": {}}'])
def test_invalid_record_raises(zenodo: Any, answer: bytes) -> None:
    zenodo.files["/api/records/18671944"] = answer
    with pytest.raises(ModelError, match="does not list"):
        download_weights(SATELLITE)


@pytest.mark.parametrize("name", ["carl-nano", "carl-huge"])
def test_models_without_published_weights_raise(zenodo: Any, name: str) -> None:
    with pytest.raises(ModelError, match=SATELLITE):
        download_weights(name)
    assert not zenodo.asked
