from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from carl.model import download

NAME = "carl-small-satellite"
CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def zenodo(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server with the record of the weights, and some weights."""
    monkeypatch.setattr(download, "ZENODO", server.address)
    digest = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    file = {"key": "ssl_checkpoint_carl.ckpt", "size": len(CONTENT), "checksum": f"md5:{digest}"}
    server.files["/api/records/18671944"] = json.dumps({"files": [file]}).encode()
    server.files["/records/18671944/files/ssl_checkpoint_carl.ckpt"] = CONTENT
    return server


@pytest.mark.usefixtures("zenodo")
def test_weights_are_downloaded_by_name(call, call_json, carl_home: Path):
    assert f"carl download {NAME}" in call("models")[1]
    facts = call_json("download", NAME)
    assert (facts["model"], facts["bytes"]) == (NAME, len(CONTENT))
    assert Path(facts["file"]).read_bytes() == CONTENT
    assert Path(facts["file"]).parent == carl_home / "weights"
    assert f"carl download {NAME}" not in call("models")[1]


def test_an_interrupted_download_is_kept(call, zenodo, monkeypatch, carl_home: Path):
    read, blocks = download.download, []

    def interrupted(*arguments: Any, **options: Any) -> None:
        def stop(share: float, message: str) -> None:
            blocks.append(share)
            raise KeyboardInterrupt

        read(*arguments, progress=stop)

    monkeypatch.setattr(download, "download", interrupted)
    status, out, err = call("download", NAME)
    assert (status, out) == (130, "")
    assert err == (
        f"carl: Interrupted: the downloaded part is saved; 'carl download {NAME}' resumes it.\n"
    )
    assert blocks
    assert [each.suffix for each in (carl_home / "weights").glob("[!.]*")] == [".part"]
    monkeypatch.setattr(download, "download", read)
    assert call("download", NAME)[0] == 0
    assert zenodo.asked[-1][1] is not None


@pytest.mark.parametrize(("name", "words"), [("carl-nano", NAME), (NAME, "cannot be reached")])
def test_what_cannot_be_had_is_one_line(call, zenodo, name: str, words: str, carl_home: Path):
    zenodo.close()
    status, out, err = call("download", name)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert not (carl_home / "weights").exists()
