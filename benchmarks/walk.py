"""Act at random in the window as a user would, and check after each act that nothing is lost.

The acts and the checks are those of `scripts/random_walk.py`. The same seed chooses the same acts,
as far as background jobs end in the same order. Exits with 1 if a check failed.

    python benchmarks/walk.py --seed 3 --acts 500
    python benchmarks/walk.py --kills 50          # kill -9 at random moments, and restart
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from machine import machine_line

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))
import robot
from random_walk import (
    INVARIANTS,
    WINDOW,
    RandomWalk,
    Violation,
    digest,
    tiny_network,
    write_cubes,
)

JOURNAL = "journal.txt"
"""Name of the file in which a walk lists what it does."""


def walk(
    seed: int, n_acts: int, seconds: float, *, verbose: bool = False
) -> tuple[dict[str, int], list[Violation]]:
    """Walk, and return how often each act was done, and the failed checks."""
    end = monotonic() + seconds
    with robot.virtual_display(1920, 1080), tempfile.TemporaryDirectory() as folder, tiny_network():
        import napari

        write_cubes(Path(folder))
        viewer = napari.Viewer()
        viewer.window.resize(*WINDOW)
        try:
            walked = RandomWalk(viewer, Path(folder), seed)
            walked.run(
                lambda: len(walked.acts) >= n_acts or monotonic() > end,
                before=lambda act: print(act, flush=True) if verbose else None,
            )
            walked.close()
        finally:
            viewer.close()
    return walked.counts(), walked.violations


def walk_until_killed(folder: Path, seed: int) -> None:
    """Walk for ever, and write a journal: what was restored, then what is on disk at every act.

    Every state is in the journal before it is saved.
    """
    import napari

    from napari_carl.stroke_versions import StrokeVersions

    with (folder / JOURNAL).open("w", encoding="utf-8") as journal:

        def write(kind: str, content: object) -> None:
            journal.write(json.dumps([kind, content]) + "\n")
            journal.flush()

        save = StrokeVersions.save

        def write_and_save(self, strokes, classes) -> None:
            write("saving", digest(strokes.tobytes(), classes))
            save(self, strokes, classes)

        viewer = napari.Viewer()
        viewer.window.resize(*WINDOW)
        walked = RandomWalk(viewer, folder, seed, excluded=["close the dock"])
        walked.open_all()
        write("restored", walked.digests())
        StrokeVersions.save = write_and_save

        def before_act(act: str) -> None:
            walked.settle()  # what was done before is saved
            write("act", [act, walked.digests()])

        def after_act() -> None:
            while walked.violations:
                each = walked.violations.pop()
                write("violation", f"{each.invariant}: {each.text} after {each.acts}")

        walked.run(lambda: False, before_act, after_act)


def kill(n_kills: int, seed: int) -> list[str]:
    """Kill windows with SIGKILL at random moments, restart them, and return what was lost."""
    chosen = random.Random(seed)
    lost: list[str] = []
    expected: dict[str, set[str]] = {}
    with robot.virtual_display(1920, 1080), tempfile.TemporaryDirectory() as name, tiny_network():
        import torch  # noqa: F401 - not in each process

        import napari_carl.dock  # noqa: F401

        folder = Path(name)
        write_cubes(folder)
        for number in range(n_kills + 1):
            n_acts = chosen.randint(1, 8) if number < n_kills else 1
            with robot.virtual_display(1920, 1080):
                os.environ["CARL_HOME"] = str(folder / "home")
                entries = _walk_and_kill(folder, seed + number, n_acts, chosen.uniform(0, 0.6))
            restored = next(content for kind, content in entries if kind == "restored")
            for cube, found in restored.items():
                if number and found not in expected[cube]:
                    lost.append(f"kill {number}: {cube} is {found}, not one of {expected[cube]}")
            lost += [content for kind, content in entries if kind == "violation"]
            expected = _expected(entries)
            act = next(content[0] for kind, content in reversed(entries) if kind == "act")
            print(f"{number + 1:4d}  killed at: {act}", flush=True)
    return lost


def _walk_and_kill(folder: Path, seed: int, n_acts: int, seconds: float) -> list[tuple[str, Any]]:
    """Kill a walk so many seconds after the beginning of its n-th act; return its journal."""
    journal = folder / JOURNAL
    journal.unlink(missing_ok=True)
    process = os.fork()
    if process == 0:
        try:
            walk_until_killed(folder, seed)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    _wait_for_acts(journal, process, n_acts)
    sleep(seconds)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return _read_journal(journal)


def _expected(entries: list[tuple[str, Any]]) -> dict[str, set[str]]:
    """Return the digests of each cube that may be restored: before the last act, or in it."""
    last = max(index for index, (kind, _) in enumerate(entries) if kind == "act")
    saving = {content for kind, content in entries[last:] if kind == "saving"}
    return {cube: {before} | saving for cube, before in entries[last][1][1].items()}


def _read_journal(path: Path) -> list[tuple[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [tuple(json.loads(line)) for line in lines if line.endswith("\n")]


def _wait_for_acts(path: Path, process: int, n_acts: int) -> None:
    """Wait until a process has begun so many acts."""
    while sum(kind == "act" for kind, _ in _read_journal(path)) < n_acts:
        if os.waitpid(process, os.WNOHANG) != (0, 0):
            raise SystemExit("The window has ended before it was killed.")
        sleep(0.02)


def main() -> int:
    """Print the acts and the failed checks of a walk."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--acts", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end earlier")
    parser.add_argument("--verbose", action="store_true", help="print every act before it is done")
    parser.add_argument("--kills", type=int, default=0, help="kill so many windows instead")
    arguments = parser.parse_args()
    print(machine_line())
    if arguments.kills:
        lost = kill(arguments.kills, arguments.seed)
        print(
            f"\nseed {arguments.seed}, {arguments.kills} kills, {len(lost)} losses", *lost, sep="\n"
        )
        return 1 if lost else 0
    start = monotonic()
    counts, violations = walk(
        arguments.seed, arguments.acts, arguments.seconds, verbose=arguments.verbose
    )
    print(f"\nseed {arguments.seed}, {sum(counts.values())} acts in {monotonic() - start:.0f} s\n")
    for act, number in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"{number:6d}  {act}")
    found = Counter(each.invariant for each in violations)
    print("\nviolations")
    for name, meaning in INVARIANTS.items():
        print(f"{found[name]:6d}  {meaning}")
    for each in violations:
        print(f"\n{each.invariant}: {each.text}\n    after " + "\n    after ".join(each.acts))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
