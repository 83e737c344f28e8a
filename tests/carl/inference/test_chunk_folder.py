from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carl.errors import OutputError
from carl.inference.chunk_folder import ChunkFolder

VALUES = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
SETTINGS = {"cube": "a", "model": "b"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a piece and a fact in it."""
    with ChunkFolder(tmp_path / "x.partial", SETTINGS) as chunks:
        assert not chunks.changed
        chunks["piece-0"] = VALUES
        assert chunks.recall("fact", lambda: [0.1, None]) == [0.1, None]
    return tmp_path / "x.partial"


def unknown() -> Any:
    raise AssertionError("what is known is not computed again")


def test_pieces_and_facts_are_taken_up(folder: Path) -> None:
    with ChunkFolder(folder, SETTINGS) as chunks:
        assert "piece-0" in chunks
        assert "piece-1" not in chunks
        np.testing.assert_array_equal(chunks["piece-0"], VALUES)
        assert chunks.recall("fact", unknown) == [0.1, None]
        assert chunks.nbytes > VALUES.nbytes
        chunks.remove()
    assert not folder.exists()


def test_other_settings_start_anew(folder: Path) -> None:
    with ChunkFolder(folder, SETTINGS | {"model": "c"}) as chunks:
        assert chunks.changed == ["model"]
        assert "piece-0" not in chunks
        assert chunks.recall("fact", lambda: 2) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"settings": 3}'])
def test_a_damaged_manifest_starts_anew(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with ChunkFolder(folder, SETTINGS) as chunks:
        assert "piece-0" not in chunks
    assert json.loads((folder / "manifest.json").read_text())["facts"] == {}


@pytest.mark.parametrize("n_bytes", [0, 50, 200])
def test_pieces_that_a_crash_left_damaged_are_dropped(folder: Path, n_bytes: int) -> None:
    whole = (folder / "piece-0.npy").read_bytes()
    assert len(whole) > 200
    (folder / "piece-1.npy").write_bytes(whole[:n_bytes])
    (folder / ".piece-2-abcd.npy").write_bytes(whole)
    with ChunkFolder(folder, SETTINGS) as chunks:
        assert "piece-0" in chunks
        assert "piece-1" not in chunks
    assert sorted(path.name for path in folder.glob("*.npy")) == ["piece-0.npy"]


def test_two_runs_do_not_share_a_folder(folder: Path) -> None:
    with (
        ChunkFolder(folder, SETTINGS),
        pytest.raises(OutputError, match="in use by another run"),
        ChunkFolder(folder, SETTINGS),
    ):
        pass
    with ChunkFolder(folder, SETTINGS) as chunks:
        assert "piece-0" in chunks


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x.partial").mkdir()
    (tmp_path / "x.partial" / "thesis.tex").touch()
    (tmp_path / "y.partial").touch()
    for name in ("x.partial", "y.partial"):
        with (
            pytest.raises(OutputError, match=rf"{name} is in the way"),
            ChunkFolder(tmp_path / name, SETTINGS),
        ):
            pass
    assert (tmp_path / "x.partial" / "thesis.tex").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_full_disk_is_said_and_harms_nothing(folder: Path) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ChunkFolder(folder, SETTINGS) as chunks:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            with pytest.raises(OutputError, match=r"File too large\): free some space and start"):
                chunks["piece-1"] = np.zeros((3000, 1, 1), np.float32)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "piece-1" not in chunks
    assert sorted(path.name for path in folder.glob("*.npy")) == ["piece-0.npy"]
