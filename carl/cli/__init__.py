"""Command line ``carl``: the library from a shell, without a screen.

Each command parses its arguments, calls one function of the library and prints the result. PyTorch
is imported only by the commands that need it.
"""

from carl.cli.app import main

__all__ = ["main"]
