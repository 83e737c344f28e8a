from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from carl.errors import Cancelled, ModelError, OutputError
from carl.model.download import RemoteFile, download, is_reachable, read_small

CONTENT = os.urandom(3 << 20)


def remote(server: Any, content: bytes = CONTENT, algorithm: str = "md5") -> RemoteFile:
    """A file of the server, which now has it."""
    server.files["/weights"] = content
    digest = hashlib.new(algorithm, content).hexdigest()
    return RemoteFile(f"{server.address}/weights", len(content), f"{algorithm}:{digest}")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "weights.ckpt"


def names(target: Path) -> list[str]:
    """What lies in the folder, beside the file that keeps other programs away."""
    return sorted(each.name for each in target.parent.iterdir() if each.suffix != ".lock")


def break_off(server: Any, target: Path, after: int = 1 << 20) -> None:
    """Leave the beginning of the file in the folder."""
    server.breaks_after = after
    with pytest.raises(ModelError, match=r"broke off .* it goes on from there\.$"):
        download(remote(server), target)
    server.breaks_after = None
    assert len(names(target)) == 1
    assert names(target)[0].endswith(".part")
    assert 0 < (target.parent / names(target)[0]).stat().st_size <= after


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_file_comes_whole_and_tells_how_far_it_is(
    server: Any, target: Path, algorithm: str
) -> None:
    told: list[tuple[float, str]] = []
    download(remote(server, algorithm=algorithm), target, progress=lambda *each: told.append(each))
    assert target.read_bytes() == CONTENT
    assert names(target) == [target.name]
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert told[-1] == (1.0, "3 of 3 MB")
    assert len(told) > 5


def test_what_is_there_is_not_asked_for(server: Any, target: Path) -> None:
    download(remote(server), target)
    server.asked.clear()
    download(remote(server), target)
    assert not server.asked


def test_what_broke_off_goes_on_where_it_ended(server: Any, target: Path) -> None:
    break_off(server, target)
    have = (target.parent / names(target)[0]).stat().st_size
    told: list[float] = []
    download(remote(server), target, progress=lambda share, _: told.append(share))
    assert server.asked[-1] == ("/weights", f"bytes={have}-")
    assert told[0] > have / len(CONTENT)
    assert target.read_bytes() == CONTENT
    assert names(target) == [target.name]


def test_a_server_that_cannot_go_on_sends_all_of_it(server: Any, target: Path) -> None:
    break_off(server, target)
    server.with_ranges = False
    download(remote(server), target)
    assert target.read_bytes() == CONTENT


def test_a_file_that_changed_is_begun_anew(server: Any, target: Path) -> None:
    break_off(server, target)
    other = os.urandom(len(CONTENT) + 1)
    download(remote(server, other), target)
    assert server.asked[-1] == ("/weights", None)
    assert target.read_bytes() == other
    assert names(target) == [target.name]


@pytest.mark.parametrize("change", ["other", "shorter", "longer"])
def test_what_is_not_what_it_should_be_is_removed(server: Any, target: Path, change: str) -> None:
    promised = remote(server)
    break_off(server, target)
    server.files["/weights"] = {
        "other": bytes(len(CONTENT)),
        "shorter": CONTENT[: 1 << 19],
        "longer": CONTENT + b"more",
    }[change]
    for _ in range(2):
        with pytest.raises(ModelError):
            download(promised, target)
    assert not target.exists()
    server.files["/weights"] = CONTENT
    download(promised, target)
    assert target.read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server: Any, target: Path) -> None:
    good = remote(server)
    wrong = RemoteFile(good.url, good.size, "md5:" + "0" * 32)
    with pytest.raises(ModelError, match="its checksum"):
        download(wrong, target)
    assert names(target) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "may have changed"),
        (403, "may have changed"),
        (429, "try again later"),
        (503, "try again later"),
    ],
)
def test_a_refusal_is_one_sentence(server: Any, target: Path, status: int, words: str) -> None:
    wanted = remote(server)
    server.status = status
    with pytest.raises(ModelError, match=words) as caught:
        download(wanted, target)
    assert str(status) in str(caught.value)
    assert names(target) == []


def test_offline_is_one_sentence(target: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/weights"
        with pytest.raises(ModelError, match="connect this machine to the internet"):
            download(RemoteFile(url, 1, "md5:" + "0" * 32), target)


@pytest.mark.parametrize(
    "url", ["http://example.org/w", "ftp://example.org/w", "file:///etc/hosts"]
)
def test_only_https_is_trusted(server: Any, target: Path, url: str) -> None:
    with pytest.raises(ModelError, match="https"):
        download(RemoteFile(url, 1, "md5:" + "0" * 32), target)
    wanted = remote(server)
    server.redirects["/weights"] = url
    with pytest.raises(ModelError):
        download(wanted, target)
    assert names(target) == []


def test_a_server_may_send_us_elsewhere(server: Any, target: Path) -> None:
    wanted = remote(server)
    server.files["/elsewhere"] = server.files.pop("/weights")
    server.redirects["/weights"] = f"{server.address}/elsewhere"
    download(wanted, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("stop", [Cancelled("stopped"), KeyboardInterrupt()])
def test_what_is_called_off_can_go_on(server: Any, target: Path, stop: BaseException) -> None:
    def stop_halfway(share: float, message: str) -> None:
        if share > 0.5:
            raise stop

    with pytest.raises(type(stop)):
        download(remote(server), target, progress=stop_halfway)
    assert not target.exists()
    download(remote(server), target)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1][1] is not None


def test_space_is_looked_for_first(
    server: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(10, 9, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="3 MB are needed"):
        download(remote(server), target)
    assert names(target) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_one_sentence(server: Any, target: Path) -> None:
    wanted = remote(server)
    target.parent.mkdir()
    (target.parent / f"{target.name}.{wanted.digest[:12]}.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"No space left .* what has come is kept"):
        download(wanted, target)
    assert not target.exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(server: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="CARL_HOME"):
        download(remote(server), tmp_path / "file" / "weights")


def test_two_programs_do_not_write_the_same_file(server: Any, target: Path) -> None:
    target.parent.mkdir()
    with (
        FileLock(target.parent / f".{target.name}.lock"),
        pytest.raises(ModelError, match="already"),
    ):
        download(remote(server), target)
    download(remote(server), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("checksum", ["", "md5:", "crc:" + "0" * 32, "md5:../../x"])
def test_nothing_is_taken_unchecked(checksum: str) -> None:
    with pytest.raises(ModelError, match="unknown"):
        RemoteFile("https://example.org/w", 1, checksum)


def test_small_files_must_be_small(server: Any) -> None:
    server.files["/small"] = b"12345"
    assert read_small(f"{server.address}/small") == b"12345"
    with pytest.raises(ModelError, match="too large"):
        read_small(f"{server.address}/small", most_bytes=4)


def test_a_server_that_answers_anything_is_reachable(server: Any) -> None:
    server.files["/there"] = b"1"
    assert is_reachable(f"{server.address}/there")
    assert is_reachable(f"{server.address}/not-there")
    server.close()
    assert not is_reachable(server.address)
