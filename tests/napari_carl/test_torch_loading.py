from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from carl.progress import no_progress
from napari_carl.torch_loading import load_torch, preload


def test_torch_is_there_afterwards_and_loading_left_no_trace():
    flags = sys.getdlopenflags()

    load_torch(no_progress)

    assert {"torch", "timm"} <= set(sys.modules)
    assert sys.getdlopenflags() == flags


def test_what_would_keep_the_window_waiting_is_loaded_early():
    preload(no_progress)

    assert {"pandas", "torch", "carl.learning.segmenter"} <= set(sys.modules)


def test_garbage_is_looked_for_afterwards_as_before():
    assert gc.isenabled()

    preload(no_progress)

    assert gc.isenabled()


def test_what_is_loaded_is_not_loaded_again():
    load_torch(no_progress)
    told = []

    load_torch(lambda fraction, message: told.append(message))

    assert told == []


@pytest.mark.skipif(not hasattr(os, "RTLD_DEEPBIND"), reason="libraries are bound otherwise here")
def test_loading_can_be_called_off():
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
