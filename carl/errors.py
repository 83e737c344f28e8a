"""Exceptions that report errors to the user.

Every message is one sentence that names the file or quantity, states what is wrong and what to do.
A `CarlError` is shown to the user as it is; any other exception is a bug.
"""

from __future__ import annotations

_LONGEST_MESSAGE = 1500
"""Characters of a message: names and values in damaged files may be as long as the files."""


def printable(text: str) -> str:
    r"""Return text with an escape in place of each character that is not printable, on one line.

    Names in files may contain codes that change the terminal or the order of what it shows.

    >>> printable("vessel\x1b[2J")
    'vessel\\x1b[2J'
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


class CarlError(Exception):
    """Base class of all errors that a user can cause or fix."""

    def __init__(self, message: str = "") -> None:
        text = printable(message)
        is_long = len(text) > _LONGEST_MESSAGE
        super().__init__(f"{text[:_LONGEST_MESSAGE]}…" if is_long else text)


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
