"""Loading PyTorch, and what else takes long to load, into a process that draws a window."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from carl.progress import Progress

_MESSAGE = "Loading PyTorch"

_lock = Lock()


def load_torch(progress: Progress) -> None:
    """Import torch step by step, so that it can be called off, and safely beside OpenGL.

    Triton, which torch imports where it is installed, carries an LLVM of its own. Where Mesa draws
    without a graphics card, another LLVM is in the process already, and Triton crashes as soon as
    its symbols are bound to that one. Bound to its own first, it works.

    Args:
        progress: called before every step.
    """
    with _lock:
        if "triton" not in sys.modules and hasattr(os, "RTLD_DEEPBIND"):
            progress(0.0, _MESSAGE)
            # torch for the CPU alone comes without it
            with _own_symbols_first(), suppress(ImportError):
                import_module("triton")
        if "torch" not in sys.modules:
            progress(0.0, _MESSAGE)
            _bind_torch()
        for name in ("torch", "timm"):
            if name not in sys.modules:
                progress(0.0, _MESSAGE)
                import_module(name)


def preload(progress: Progress) -> None:
    """Import ahead of time what is needed later, and would keep the window waiting then.

    Libraries hold the interpreter while they are bound. When the dock opens, nobody is painting.

    Args:
        progress: called before every step.
    """
    progress(0.0, "Loading")
    with _no_garbage_collection():
        for name in ("scipy.ndimage", "pandas"):  # napari wants them with its first layers
            with suppress(ImportError):
                import_module(name)
        load_torch(progress)
        progress(0.9, "Loading")
        import_module("carl.learning.segmenter")


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Loading makes hundreds of thousands of objects, none of them garbage.

    To look through all of them takes up to 0.3 s each time, in which no thread can run.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _bind_torch() -> None:
    """Have the system bind torch's libraries while other threads run, as far as it can.

    Importing them binds them, too, but Python stands still meanwhile: 0.3 s. A call by ctypes lets
    it go on, and the import finds them bound.
    """
    found = find_spec("torch")
    if sys.platform != "linux" or found is None or found.origin is None:
        return
    bind = ctypes.CDLL(None).dlopen
    bind.argtypes, bind.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
    folder = Path(found.origin).parent / "lib"
    # In torch's own order and with its own flags; what cannot be bound is left to the import.
    bind(os.fsencode(folder / "libtorch_global_deps.so"), os.RTLD_NOW | os.RTLD_GLOBAL)
    bind(os.fsencode(folder / "libtorch_python.so"), os.RTLD_NOW)


@contextmanager
def _own_symbols_first() -> Iterator[None]:
    """Libraries that are loaded meanwhile look for symbols in themselves before elsewhere."""
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
    try:
        yield
    finally:
        sys.setdlopenflags(flags)
