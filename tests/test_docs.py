"""The code in the documentation: Python that runs, commands and options that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from carl.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    return [code for found, code in BLOCK.findall(page.read_text("utf-8")) if found == language]


def commands() -> list[str]:
    """Return every `carl` command of the documentation, without its comment."""
    lines = [line for page in PAGES for code in blocks(page, "") for line in code.splitlines()]
    return sorted({line.split(" #")[0].strip() for line in lines if line.startswith("carl ")})


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "python.md"], ids=str)
def test_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resources").symlink_to(ROOT / "resources", target_is_directory=True)
    code = "\n".join(blocks(page, "python"))
    assert code
    exec(compile(code, str(page), "exec"), {})
    assert (tmp_path / "map.tif").is_file()
    assert (tmp_path / "tissue.carl").is_file()


@pytest.mark.parametrize("command", commands())
def test_commands_and_their_options_exist(command: str):
    name, *arguments = shlex.split(command)[1:]
    group = typer.main.get_command(app)
    assert name in group.commands
    group.commands[name].make_context(name, arguments, allow_extra_args=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path):
    for target in LINK.findall(page.read_text("utf-8")):
        if "cli.md" not in target and "api.md" not in target:  # made when the site is built
            assert (page.parent / target).exists(), target
