"""The reference of the command line for the documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from carl.cli.app import app

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "cli_reference.py"


def test_the_reference_holds_every_command_in_full():
    finished = subprocess.run(
        [sys.executable, SCRIPT], capture_output=True, text=True, encoding="utf-8", check=True
    )
    text = finished.stdout
    assert text.startswith("# Command line\n")
    assert "..." not in text.replace("COMMAND [ARGS]...", "").replace("{CUBE}...", "")
    for command in app.registered_commands:
        assert f"\n## `carl {command.name}`\n" in text
        assert f"* `{command.name}`: {command.short_help}\n" in text
    assert "* `--tune last_blocks|lora|full`: " in text
    assert "`--speed <exact|turbo>`" in text
    assert "head|" not in text
