"""Loading PyTorch into a process that draws a window."""

from __future__ import annotations

import os
import sys
from threading import Lock

_lock = Lock()


def load_torch() -> None:
    """Import torch so that it survives beside software-rendered OpenGL.

    Triton, which torch imports where it is installed, carries an LLVM of its own. Where Mesa draws
    without a graphics card, another LLVM is in the process already, and Triton crashes as soon as
    its symbols are bound to that one. Bound to its own first, it works.
    """
    with _lock:
        if "triton" in sys.modules or not hasattr(os, "RTLD_DEEPBIND"):
            return
        flags = sys.getdlopenflags()
        sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
        try:
            import triton  # noqa: F401
        except ImportError:
            pass  # torch for the CPU alone comes without it
        finally:
            sys.setdlopenflags(flags)
