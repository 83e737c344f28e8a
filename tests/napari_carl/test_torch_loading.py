from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from carl.progress import no_progress
from napari_carl.torch_loading import load_torch, preload


def test_torch_is_imported_and_the_dlopen_flags_are_restored():
    flags = sys.getdlopenflags()

    load_torch(no_progress)

    assert {"torch", "timm"} <= set(sys.modules)
    assert sys.getdlopenflags() == flags


def test_preload_imports_the_slow_libraries():
    preload(no_progress)

    assert {"pandas", "torch", "carl.learning.segmenter"} <= set(sys.modules)


def test_preload_enables_garbage_collection_again():
    assert gc.isenabled()

    preload(no_progress)

    assert gc.isenabled()


def test_imported_libraries_are_not_imported_again():
    load_torch(no_progress)
    messages = []

    load_torch(lambda fraction, message: messages.append(message))

    assert messages == []


@pytest.mark.skipif(not hasattr(os, "RTLD_DEEPBIND"), reason="needs dlopen with RTLD_DEEPBIND")
def test_loading_can_be_cancelled():
    code = """
import sys
from carl.errors import Cancelled
from napari_carl.torch_loading import load_torch

def progress(fraction, message):
    raise Cancelled(message)

try:
    load_torch(progress)
except Cancelled as error:
    print(error, "torch" in sys.modules)
"""
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert finished.stdout.split() == ["Loading", "PyTorch", "False"]
