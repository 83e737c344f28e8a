"""Print the reference of the command line as Markdown, generated from its commands by typer."""

from __future__ import annotations

import subprocess
import sys

if __name__ == "__main__":
    generate = [sys.executable, "-m", "typer", "carl.cli.app", "utils", "docs"]
    sys.exit(subprocess.call([*generate, "--name", "carl", "--title", "Command line"]))
