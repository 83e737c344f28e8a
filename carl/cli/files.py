"""Open the input cubes of a command and check its output paths before long work begins."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import asdict, dataclass, replace
from errno import ENAMETOOLONG
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carl.cli.terminal import print_note
from carl.cube import SpectralCube
from carl.errors import Cancelled, CarlWarning, OutputError
from carl.files import output_error
from carl.io import identify_cube, read_cube
from carl.lazy_array import ArraySource, Block, LazyArray
from carl.spectra.normalise import check_pixels
from carl.wavelengths import describe_wavelengths, unusual_wavelengths

cancelled = Event()
"""Set when the command is interrupted; the threads that read for it then stop."""

_POLL_SECONDS = 0.1
"""Time between two checks of `cancelled`: short enough that a command ends at once for a person."""


@dataclass(frozen=True)
class CubeOptions:
    """Options with which a cube is opened: the arguments of `carl.read_cube`."""

    wavelengths: str | None = None
    camera: str | None = None
    variable: str | None = None
    frame: str | None = None
    height: int | None = None
    register: bool = False


def open_cube(path: Path, options: CubeOptions) -> SpectralCube:
    """Open a cube, whose wavelengths may be unknown, and check that it has finite values.

    Wavelengths that were given are printed on a terminal as they were understood; unusual ones
    cause a `CarlWarning`. Raises the errors of `carl.read_cube`, and a `CubeError` if no value is
    finite.
    """
    cube = read_cube(path, **asdict(options))
    cube = replace(cube, data=InterruptibleArray(cube.data))
    check_pixels(cube)
    if cube.wavelengths is not None:
        if options.wavelengths is not None:
            print_note(f"{path.name}: {describe_wavelengths(cube.wavelengths)}.")
        if warning := unusual_wavelengths(cube.wavelengths):
            warnings.warn(f"{path.name}: {warning}", CarlWarning, stacklevel=2)
    return cube


def open_cube_with_wavelengths(path: Path, options: CubeOptions) -> SpectralCube:
    """Open a cube as `open_cube` does; raises `WavelengthError` if its wavelengths are unknown."""
    # Imported before PyTorch: when memory runs out, SciPy's BLAS retries its allocation without end
    # and cannot be interrupted, whereas PyTorch raises an error.
    import scipy.linalg  # noqa: F401

    cube = open_cube(path, options)
    cube.require_wavelengths()
    return cube


def check_output(path: Path, suffix: str, inputs: Iterable[Path] = ()) -> None:
    """Check that a file with the required suffix can be written; an existing one is overwritten.

    Raises:
        OutputError: the suffix is wrong, the name too long, the path is a folder or an input, or
            there is no permission.
    """
    if path.suffix.lower() != suffix:
        raise OutputError(f"{path} does not end in {suffix}: give the output a name that does.")
    try:
        path.stat()
    except OSError as error:
        if error.errno == ENAMETOOLONG:
            raise output_error(path, error) from error
    if path.is_dir():
        raise OutputError(f"{path} is a folder: give the name of a file.")
    if path.exists() and any(
        os.path.samefile(path, each) for each in inputs if os.path.exists(each)
    ):
        raise OutputError(f"{path} is an input: give the output another name.")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Check that files can be written to a folder, which need not exist yet.

    Raises:
        OutputError: the path is a file, or there is no permission.
    """
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise OutputError(f"{nearest} is a file: give a folder to write to.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"{nearest} cannot be written (no permission): give another folder.")


def check_different(cubes: Sequence[Path]) -> None:
    """Check that no cube is given twice, as its header and its data for example.

    Raises:
        OutputError: a cube is given twice.
    """
    known: dict[Path, Path] = {}
    for path in cubes:
        other = known.setdefault(identify_cube(path), path)
        if other is not path:
            raise OutputError(
                f"{other} and {path} are one cube and would both be written to "
                f"{path.stem}_labels.tif: give it once."
            )


def interrupt(number: int, frame: Any) -> None:
    """Handle a signal: raise KeyboardInterrupt in the main thread and stop the reading threads."""
    cancelled.set()
    signal.default_int_handler(number, frame)


class InterruptibleArray(LazyArray):
    """Array whose blocks are read by a thread, so that a slow read can be abandoned.

    Python handles signals only between its own instructions: while the system reads a block from a
    network drive, or a library decodes one, the main thread cannot be interrupted.

    Args:
        source: pixels of a cube, (H, W, C).
    """

    def __init__(self, source: ArraySource) -> None:
        super().__init__(source.shape, source.dtype)
        self._source = source

    def _read_block(self, block: Block) -> NDArray[Any]:
        """Read a block into memory; raises `Cancelled` if the command is interrupted."""
        result: Future[NDArray[Any]] = Future()

        def read() -> None:
            try:
                result.set_result(np.asarray(self._source[block]))
            except BaseException as error:  # raised again by result.result()
                result.set_exception(error)

        Thread(target=read, name="carl reader", daemon=True).start()
        while not wait([result], _POLL_SECONDS).done:
            if cancelled.is_set():
                raise Cancelled("The command was interrupted.")
        return result.result()
