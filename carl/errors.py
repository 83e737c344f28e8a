"""Exceptions that report errors to the user.

Every message is one sentence that names the file or quantity, states what is wrong and what to do.
A `CarlError` is shown to the user as it is; any other exception is a bug.
"""

from __future__ import annotations

import re

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, changes of the direction of writing, and what is not
Unicode."""


def printable(text: str) -> str:
    r"""Return text with an escape in place of each control character, on one line.

    Names in files may contain codes that change the terminal or the order of what it shows.

    >>> printable("vessel\x1b[2J")
    'vessel\\x1b[2J'
    """
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


class CarlError(Exception):
    """Base class of all errors that a user can cause or fix."""

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class CubeError(CarlError):
    """A file is not a cube that can be read, or its pixels cannot be used."""


class WavelengthError(CarlError):
    """Wavelengths are missing, malformed, or do not fit the cube or the model."""


class LabelError(CarlError):
    """A label map cannot be read, or does not fit its cube or its classes."""


class ModelError(CarlError):
    """A model, checkpoint or saved segmenter is unknown, damaged or unsuitable."""


class OutputError(CarlError):
    """A result cannot be written to the requested path."""


class Cancelled(CarlError):  # noqa: N818 - an outcome, not an error
    """The user cancelled a computation."""


class CarlWarning(UserWarning):
    """Something a user should know although the computation continues; one sentence."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception of any library means that memory ran out."""
    message = str(error).lower()
    if isinstance(error, MemoryError) or any(phrase in message for phrase in _OUT_OF_MEMORY):
        return True
    # SciPy raises an ImportError about a broken installation from the actual error.
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


_OUT_OF_MEMORY = (
    "out of memory",
    "allocate memory",
    "not enough memory",
    "bad_alloc",
    "could not create a primitive",
    "failed to map segment",
    "can't start new thread",
)
"""Phrases in messages of libraries that raise no `MemoryError`. "could not create a primitive" is
oneDNN's, "failed to map segment" is the dynamic loader's."""
