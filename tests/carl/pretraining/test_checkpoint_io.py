from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from carl.errors import ModelError, OutputError
from carl.pretraining.checkpoint_io import AtomicCheckpointIO


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What the system lets a file grow to; writing on fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_fits_no_more_leaves_what_was_there(tmp_path: Path) -> None:
    files, path = AtomicCheckpointIO(), tmp_path / "run" / "last.ckpt"
    good = {"weights": torch.arange(1000), "step": 3}
    files.save_checkpoint(good, path)
    with files_of_at_most(50_000), pytest.raises(OutputError, match=r"last\.ckpt cannot be writ"):
        files.save_checkpoint({"weights": torch.zeros(100_000)}, path)
    assert [each.name for each in path.parent.iterdir()] == ["last.ckpt"]
    content = files.load_checkpoint(path)
    assert torch.equal(content["weights"], good["weights"])
    assert content["step"] == 3


class Trap:
    def __reduce__(self) -> tuple[type[RuntimeError], tuple[str]]:
        return (RuntimeError, ("executed",))


def test_only_plain_data_is_read(tmp_path: Path) -> None:
    files, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    for content in ({"x": Trap()}, [1, 2]):
        torch.save(content, path)
        with pytest.raises(ModelError, match=r"last\.ckpt (cannot be read as|is not) a checkpoint"):
            files.load_checkpoint(path, weights_only=False)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="cannot be read"):
        files.load_checkpoint(path)
    files.remove_checkpoint(path)
    assert not path.exists()
