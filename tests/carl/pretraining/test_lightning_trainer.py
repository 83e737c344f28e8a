from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from carl.errors import ModelError, OutputError
from carl.pretraining.lightning_trainer import AtomicCheckpointIO


@contextmanager
def limit_file_size(size: int) -> Iterator[None]:
    """Limit the size of files; writing more fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_failed_write_leaves_previous_checkpoint(tmp_path: Path) -> None:
    files, path = AtomicCheckpointIO(), tmp_path / "run" / "last.ckpt"
    good = {"weights": torch.arange(1000), "step": 3}
    files.save_checkpoint(good, path)
    with limit_file_size(50_000), pytest.raises(OutputError, match=r"last\.ckpt cannot be writ"):
        files.save_checkpoint({"weights": torch.zeros(100_000)}, path)
    assert [each.name for each in path.parent.iterdir()] == ["last.ckpt"]
    content = files.load_checkpoint(path)
    assert torch.equal(content["weights"], good["weights"])
    assert content["step"] == 3


class Trap:
    def __reduce__(self) -> tuple[type[RuntimeError], tuple[str]]:
        return (RuntimeError, ("executed",))


def test_checkpoint_with_code_is_refused(tmp_path: Path) -> None:
    files, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    for content in ({"x": Trap()}, [1, 2]):
        torch.save(content, path)
        with pytest.raises(
            ModelError, match=r"last\.ckpt (cannot be read as|is not) a training checkpoint"
        ):
            files.load_checkpoint(path, weights_only=False)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="cannot be read"):
        files.load_checkpoint(path)
    files.remove_checkpoint(path)
    assert not path.exists()
