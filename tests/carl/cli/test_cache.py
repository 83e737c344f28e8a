from __future__ import annotations

from pathlib import Path

import pytest


def test_kept_features_are_shown_and_removed(
    call, call_json, carl_home: Path, cube_path: Path, strokes_path: Path, tmp_path: Path
):
    facts = call_json("cache")
    assert facts["folder"] == str(carl_home / "features")
    assert (facts["embeddings"], facts["bytes"]) == (0, 0)
    call_json("fit", "--pair", cube_path, strokes_path, "-o", tmp_path / "two.carl")
    facts = call_json("cache")
    assert facts["embeddings"] == 1
    assert 0 < facts["bytes"] <= facts["max_bytes"]
    assert call("cache", "--clear")[0] == 0
    assert call_json("cache")["embeddings"] == 0
    assert list((carl_home / "features").iterdir()) == []


def test_a_size_that_is_none_is_one_line(call, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CARL_CACHE", "much")
    status, out, err = call("cache")
    assert (status, out) == (2, "")
    assert "CARL_CACHE" in err
    assert err.count("\n") == 1


def test_what_a_user_should_know_is_one_line_and_harms_nothing(
    call, monkeypatch, cube_path: Path, strokes_path: Path, tmp_path: Path
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CARL_HOME", str(tmp_path / "file"))
    output = tmp_path / "two.carl"
    status, _, err = call("fit", "--pair", cube_path, strokes_path, "-o", output)
    assert status == 0
    assert output.is_file()
    assert err.startswith("carl: Features are not kept for the next time")
    assert err.count("\n") == 1
