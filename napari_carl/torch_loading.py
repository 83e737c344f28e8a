"""Import PyTorch and other slow libraries in the background of a running GUI."""

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

_lock = Lock()


def load_torch(progress: Progress) -> None:
    """Import torch and timm; cancellable between libraries, and safe beside OpenGL.

    Triton, which torch imports where it is installed, contains its own LLVM. Where Mesa draws
    without a graphics card, another LLVM is already loaded, and Triton crashes if its symbols are
    resolved to that one. Importing Triton with RTLD_DEEPBIND resolves them to its own.

    Args:
        progress: called before every import; cancels by raising.
    """
    with _lock:
        if "triton" not in sys.modules and hasattr(os, "RTLD_DEEPBIND"):
            progress(0.0, "Loading PyTorch")
            # builds of torch for the CPU do not include Triton
            with _deep_binding(), suppress(ImportError):
                import_module("triton")
        for name in ("torch", "timm"):
            if name not in sys.modules:
                progress(0.0, "Loading PyTorch")
                if name == "torch":
                    _link_torch()
                import_module(name)


def preload(progress: Progress) -> None:
    """Import libraries when the dock opens that would block the GUI thread if imported later.

    Dynamic linking holds the interpreter lock; when the dock opens, no stroke is being drawn.

    Args:
        progress: called before every import; cancels by raising.
    """
    progress(0.0, "Loading")
    with _no_garbage_collection():
        for name in ("scipy.ndimage", "pandas"):  # imported by napari with its first layers
            with suppress(ImportError):
                import_module(name)
        load_torch(progress)
        progress(0.9, "Loading")
        import_module("carl.learning.segmenter")


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Disable garbage collection inside the block.

    Importing creates hundreds of thousands of objects that stay in use. Each full collection over
    them takes up to 0.3 s, during which no thread runs.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _link_torch() -> None:
    """Link torch's shared libraries without holding the interpreter lock, on Linux.

    An import links them with the lock held for 0.3 s. A ctypes call releases the lock, and the
    import then finds the libraries linked.
    """
    found = find_spec("torch")
    if sys.platform != "linux" or found is None or found.origin is None:
        return
    link = ctypes.CDLL(None).dlopen
    link.argtypes, link.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
    folder = Path(found.origin).parent / "lib"
    # Same order and flags as in torch/__init__.py; the import links what fails here.
    link(os.fsencode(folder / "libtorch_global_deps.so"), os.RTLD_NOW | os.RTLD_GLOBAL)
    link(os.fsencode(folder / "libtorch_python.so"), os.RTLD_NOW)


@contextmanager
def _deep_binding() -> Iterator[None]:
    """Resolve symbols of libraries loaded inside the block within the library itself first."""
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
    try:
        yield
    finally:
        sys.setdlopenflags(flags)
