"""What can go wrong, in words for the person at the screen.

Every message is one sentence that names the file or the quantity, says what is wrong with it and
what to do. A `CarlError` is shown as it is; any other exception is a defect of this program.
"""

from __future__ import annotations


class CarlError(Exception):
    """Base of all errors a user can cause or mend."""


class CubeError(CarlError):
    """A file is not a cube that can be read, or its pixels cannot be used."""


class WavelengthError(CarlError):
    """Wavelengths are missing, malformed, or do not fit the cube or the model."""


class LabelError(CarlError):
    """A label map cannot be read, or does not fit its cube or its classes."""


class ModelError(CarlError):
    """A model, checkpoint or saved segmenter is unknown, damaged or unsuitable."""


class OutputError(CarlError):
    """A result cannot be written where it was asked for."""


class Cancelled(CarlError):  # noqa: N818 - an outcome, not a mistake
    """The user called the work off."""


class CarlWarning(UserWarning):
    """What a user should know although the work goes on; one sentence, like an error."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of any library says that memory ran out."""
    # Few have a type of their own for it; the others are known by their words. oneDNN and the
    # system's loader of libraries do not even name it.
    words = str(error).lower()
    if isinstance(error, MemoryError) or any(phrase in words for phrase in _OUT_OF_MEMORY):
        return True
    # SciPy says of itself that it is broken, and of what happened in what it was raised from.
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
