"""Recognition of out-of-memory errors of several libraries."""

from __future__ import annotations

import pytest

from carl.errors import CubeError, is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
    ],
)
def test_out_of_memory_errors_are_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)
    wrapped = ImportError("the installation seems to be broken")
    assert not is_out_of_memory(wrapped)
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped)


def test_other_errors_are_not_out_of_memory_errors() -> None:
    assert not is_out_of_memory(ValueError("a row is missing"))


def test_messages_are_one_line_without_control_characters() -> None:
    error = CubeError("two\nlines of \x1b[2Ja\u202e.tif\udcff are damaged.")
    assert str(error) == r"two\nlines of \x1b[2Ja\u202e.tif\udcff are damaged."
    assert len(str(CubeError("x" * 100_000))) < 2000
