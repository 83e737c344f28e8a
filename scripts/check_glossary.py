"""Find retired words in names, docstrings, comments, messages and documentation.

The words, what to write instead, and the exceptions are in ``scripts/glossary.toml``. Prints a line
``file:line: …`` for each retired word that remains and exits with status 1 if there is any.

    python scripts/check_glossary.py              # the whole project
    python scripts/check_glossary.py carl/io      # some files or folders
    python scripts/check_glossary.py --count      # number of findings per folder
"""

from __future__ import annotations

import argparse
import re
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GLOSSARY = ROOT / "scripts" / "glossary.toml"
CHECKED = (
    "carl", "napari_carl", "tests", "benchmarks", "scripts", "docs", "resources", "README.md",
    "CONTRIBUTING.md", "CHANGELOG.md", ".github",
)  # fmt: skip
"""Files and folders that are checked without arguments, from the root of the project."""

SUFFIXES = (".py", ".md", ".yaml", ".yml")
TEXT_TOKENS = {tokenize.STRING, tokenize.COMMENT} | {
    getattr(tokenize, name) for name in ("FSTRING_MIDDLE",) if hasattr(tokenize, name)
}
CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class Allowed:
    """An ordinary meaning of a retired word: regular expression of its context, files, reason."""

    context: re.Pattern[str]
    files: str
    reason: str


@dataclass(frozen=True)
class Retired:
    """A retired word.

    Attributes:
        text: pattern of the word in prose and in names split at ``_`` and capitals; None if only
            names are checked.
        names: identifiers that are retired as they are, capitals included.
        files: files in which the word is retired, as glob patterns from the root.
        write: what to write instead.
        allowed: ordinary meanings.
    """

    text: re.Pattern[str] | None
    names: frozenset[str]
    files: tuple[str, ...]
    write: str
    allowed: tuple[Allowed, ...]


@dataclass(frozen=True)
class Finding:
    """A retired word in a file of the project."""

    file: str
    line: int
    word: str
    write: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: '{self.word}' is retired; write {self.write}"


def read_glossary(path: Path = GLOSSARY) -> list[Retired]:
    """Return the retired words of a glossary file."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["retired"]
    return [
        Retired(
            text=word_pattern(entry["text"]) if "text" in entry else None,
            names=frozenset(entry.get("names", ())),
            files=tuple(entry.get("files", ["*"])),
            write=entry["write"],
            allowed=tuple(
                Allowed(word_pattern(each["context"]), each.get("files", "*"), each["reason"])
                for each in entry.get("allowed", ())
            ),
        )
        for entry in entries
    ]


def word_pattern(text: str) -> re.Pattern[str]:
    """Compile an expression for whole words of either case; a blank matches any white space."""
    return re.compile(r"(?<![a-z])(?:" + text.replace(" ", r"\s+") + r")(?![a-z])", re.IGNORECASE)


def find(file: str, source: str, glossary: list[Retired]) -> Iterator[Finding]:
    """Yield the retired words of one file.

    Args:
        file: path from the root of the project; its suffix selects how the source is read.
        source: content of the file.
        glossary: the retired words.
    """
    words = [word for word in glossary if any(fnmatch(file, each) for each in word.files)]
    fragments = _python_fragments(source) if file.endswith(".py") else [(1, source, False)]
    for start, fragment, is_name in fragments:
        spaced = (
            CAMEL_CASE.sub(" ", fragment).replace("_", " ")
            if is_name
            else fragment.replace("_", " ")
        )
        for word in words:
            if is_name and fragment in word.names:
                yield Finding(file, start, fragment, word.write)
            elif word.text is not None:
                for match in word.text.finditer(spaced):
                    if not _is_allowed(word, file, spaced, match):
                        line = start + spaced.count("\n", 0, match.start())
                        yield Finding(file, line, " ".join(match[0].split()), word.write)


def _python_fragments(source: str) -> Iterator[tuple[int, str, bool]]:
    """Yield (line, text, whether it is an identifier) of the names, strings and comments."""
    lines = iter(source.splitlines(keepends=True))
    for token in tokenize.generate_tokens(lambda: next(lines, "")):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string, True
        elif token.type in TEXT_TOKENS:
            yield token.start[0], token.string, False


def _is_allowed(word: Retired, file: str, text: str, match: re.Match[str]) -> bool:
    """Return whether a listed ordinary meaning covers the match."""
    return any(
        fnmatch(file, each.files)
        and any(
            context.start() <= match.start() and match.end() <= context.end()
            for context in each.context.finditer(text)
        )
        for each in word.allowed
    )


def files_to_check(paths: list[str]) -> Iterator[Path]:
    """Yield the Python, Markdown and YAML files among paths and below folders."""
    for path in (ROOT / each for each in paths):
        if path.is_dir():
            below = sorted(path.rglob("*"))
            yield from (each for each in below if each.suffix in SUFFIXES and each.is_file())
        elif path.is_file():
            yield path


def main() -> int:
    """Print the findings; return the exit status."""
    parser = argparse.ArgumentParser(description="Find retired words.")
    parser.add_argument("paths", nargs="*", help="files and folders; all without")
    parser.add_argument("--count", action="store_true", help="print only numbers per folder")
    arguments = parser.parse_args()

    glossary = read_glossary()
    findings = [
        finding
        for path in files_to_check(arguments.paths or list(CHECKED))
        for finding in find(
            path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"), glossary
        )
    ]
    if arguments.count:
        folders = Counter("/".join(each.file.split("/")[:-1][:2]) or "." for each in findings)
        for folder, number in sorted(folders.items()):
            print(f"{number:6d}  {folder}")
    else:
        print("\n".join(map(str, findings)))
    print(f"{len(findings)} retired words", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
