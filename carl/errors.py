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
