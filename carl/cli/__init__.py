"""The command ``carl``: what the library does, from the shell and with no screen.

One module per command; each reads files, calls the library and writes files. PyTorch is imported
only by the commands that need it.
"""

from carl.cli.app import main

__all__ = ["main"]
