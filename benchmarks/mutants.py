"""Read damaged files of every format, and count those that are not refused properly.

Each mutant is an intact file with one or two changes (`mutations.py`), or an attack (`attacks.py`).
It is read in a process with limits. A proper outcome is that it is read, or refused by one
`CarlError` of one printable line. All others are failures:

    foreign   any other exception, or a message that names no file or is no printable line
    slow      more than 5 s of processor time
    memory    more than 2 GB of memory, or an attempt to allocate it
    hang      no end and no work for 20 s, as when a pipe is opened
    crash     the process ended

A mutant has a name such as ``npz:17``; the name and the seed reproduce it.

    python benchmarks/mutants.py                         # 20 000 mutants; exit status 1 on failures
    python benchmarks/mutants.py --seconds 60            # as many as fit
    python benchmarks/mutants.py --rerun npz:17 --keep folder
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic, process_time, sleep
from typing import Any

MOST_SECONDS = 5.0
MOST_BYTES = 2 << 30
"""Memory that reading one small file may take, beside what the program itself takes."""
HANG_SECONDS = 20.0
"""Wall-clock time without work after which a mutant counts as hanging."""
_WORK_SECONDS = 0.1
"""Processor time in `HANG_SECONDS` that counts as work: the machine may be busy."""
FAILURES = ("foreign", "slow", "memory", "hang", "crash")
OUTCOMES = ("read", "refused", *FAILURES)
_LONGEST_MESSAGE = 2000
_SHORTENED = 0.15
"""Fraction of the mutants of mapped formats that are shortened while they are open."""


@dataclass(frozen=True)
class Result:
    """What became of one mutant, and the error message or traceback."""

    name: str
    outcome: str
    detail: str = ""


@dataclass
class Report:
    """Results of a run.

    Attributes:
        counts: number of mutants by format and outcome.
        failures: all results that are failures.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count a result."""
        self.counts[result.name.rpartition(":")[0], result.outcome] += 1
        if result.outcome in FAILURES:
            self.failures.append(result)

    @property
    def total(self) -> int:
        """Number of mutants."""
        return self.counts.total()


def run(
    names: Iterator[str],
    *,
    seed: int = 0,
    workers: int = 2,
    seconds: float = 1e9,
    hang_seconds: float = HANG_SECONDS,
) -> Iterator[Result]:
    """Read mutants in processes of their own until there are no more, or the time is over.

    Args:
        names: of the mutants.
        seed: of the mutations.
        workers: number of processes.
        seconds: wall-clock time after which no further mutant is started, once all is ready.
        hang_seconds: wall-clock time that one mutant may wait without work.
    """
    context = _start_forkserver()
    with TemporaryDirectory(prefix="mutants-") as folder:
        pool = [_Worker(context, hang_seconds, seed, Path(folder)) for _ in range(workers)]
        try:
            for each in pool:
                each.start()
            end = monotonic() + seconds
            busy = [each for each in pool if each.start_next(names, end)]
            while busy:
                for each in _ready(busy):
                    yield each.result()
                busy = [each for each in busy if each.name or each.start_next(names, end)]
        finally:
            for each in pool:
                each.stop()


def mutant_names(n: int | None = None, formats: Sequence[str] = ()) -> Iterator[str]:
    """Yield attacks, then mutants of formats in turns.

    Args:
        n: number of mutants, without the attacks; endless if None.
        formats: names of formats, or "attack"; all formats and the attacks if empty.
    """
    from attacks import ATTACKS
    from specimens import all_specimens

    specimens = [each.name for each in all_specimens()]
    if unknown := {*formats} - {"attack", *specimens}:
        raise ValueError(f"{unknown} is no format: choose from attack, {', '.join(specimens)}")
    chosen = [name for name in specimens if not formats or name in formats]
    if not formats or "attack" in formats:
        yield from (f"attack:{name}" for name in ATTACKS)
    numbers = count() if n is None else range(n)
    for number in numbers if chosen else ():
        yield f"{chosen[number % len(chosen)]}:{number // len(chosen)}"


def write_mutant(name: str, seed: int, folder: Path) -> Callable[[], object]:
    """Write a mutant into a folder; return what reads it."""
    kind, _, number = name.rpartition(":")
    if kind == "control":
        return _CONTROLS[number]
    if kind == "attack":
        from attacks import ATTACKS

        return ATTACKS[number](folder)
    from specimens import all_specimens

    specimen = next(each for each in all_specimens() if each.name == kind)
    rng = Random(f"{seed} {kind} {number}")
    for file, content in specimen.files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    target = folder / specimen.mutated
    if specimen.is_mapped and rng.random() < _SHORTENED:
        length = rng.randrange(target.stat().st_size)
        return lambda: specimen.read(folder, lambda: os.truncate(target, length))
    target.write_bytes(specimen.mutate(specimen.files[specimen.mutated], rng))
    return lambda: specimen.read(folder, lambda: None)


_CONTROLS: dict[str, Callable[[], object]] = {
    "foreign": lambda: {}["no key"],
    "slow": lambda: sum(1 for _ in count()),
    "memory": lambda: bytearray(2 * MOST_BYTES),
    "hang": lambda: sleep(10_000),
    "crash": os.abort,
}
"""A failure of each kind, to check that it is noticed."""


class _Worker:
    """A process that reads one mutant after another; a new one is started when it ended."""

    def __init__(self, context: Any, hang_seconds: float, seed: int, folder: Path) -> None:
        self._context = context
        self._hang_seconds = hang_seconds
        self._arguments = (seed, folder)
        self._process: Any = None
        self.connection: Connection
        self.name = ""
        self.deadline = 0.0
        self._worked = 0.0

    def start(self) -> None:
        """Start a process, and wait until it is ready."""
        self.connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs, *self._arguments))
        self._process.start()
        theirs.close()
        self.connection.recv()

    def start_next(self, names: Iterator[str], end: float) -> bool:
        """Start the next mutant; False if there is none or the time is over."""
        self.name = next(names, "") if monotonic() < end else ""
        if not self.name:
            return False
        if self._process is None:
            self.start()
        self.connection.send(self.name)
        self._extend()
        return True

    def is_waiting(self) -> bool:
        """Return whether the deadline is over without work; if there was work, set a new one."""
        before = self._worked
        return monotonic() >= self.deadline and self._extend() - before < _WORK_SECONDS

    def _extend(self) -> float:
        """Set the deadline; return the processor time of the process so far, seconds."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        self._worked = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
        self.deadline = monotonic() + self._hang_seconds
        return self._worked

    def result(self) -> Result:
        """Return the result of the current mutant, whose process reported, ended or hangs."""
        name, self.name = self.name, ""
        if self.connection.poll():
            try:
                result: Result = self.connection.recv()
            except EOFError:
                self._process.join()
            else:
                if result.outcome == "memory":
                    self.stop()  # the peak of a process does not fall again
                return result
        else:
            self.stop()
            return Result(name, "hang", f"no work for {self._hang_seconds:.0f} s")
        code = self._process.exitcode
        self.stop()
        if code == -signal.SIGXCPU:
            return Result(name, "slow", f"more than {MOST_SECONDS:.0f} s of processor time")
        return Result(name, "crash", f"the process ended with {code}")

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self.connection.close()
            self._process = None


def _start_forkserver() -> Any:
    """Start a process that has imported the libraries, and of which each worker is a copy."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["specimens", "attacks"])
    before = os.environ.get("PYTHONPATH")
    # Python 3.11 passes `sys.path` on in no other way.
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before
    return context


def _ready(workers: Sequence[_Worker]) -> list[_Worker]:
    """Wait for workers that have reported, ended, or hang; return them."""
    first = min(each.deadline for each in workers)
    reported = wait([each.connection for each in workers], max(0.0, first - monotonic()))
    return [each for each in workers if each.connection in reported or each.is_waiting()]


def _serve(connection: Connection, seed: int, folder: Path) -> None:
    """Read mutants by the names that arrive, under limits, and send the results."""
    from specimens import all_specimens

    all_specimens()
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(EOFError, OSError):
        connection.send("ready")
        while True:
            name = connection.recv()
            with TemporaryDirectory(dir=folder) as own:
                os.environ["CARL_HOME"] = f"{own}/home"
                place = Path(own, "files")
                place.mkdir()
                try:
                    read = write_mutant(name, seed, place)
                except Exception as error:
                    result = Result(name, "crash", f"not written: {_described(error)}")
                else:
                    result = _measured(name, place, read)
            connection.send(result)


def _measured(name: str, folder: Path, read: Callable[[], object]) -> Result:
    """Read the files in a folder under limits."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    bytes_before, began = _peak_bytes(), process_time()
    no_limit = resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MOST_BYTES, no_limit))
    resource.setrlimit(resource.RLIMIT_CPU, (int(began + MOST_SECONDS) + 2, no_limit))
    try:
        result = _outcome(name, folder, read)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (no_limit, no_limit))
        resource.setrlimit(resource.RLIMIT_CPU, (no_limit, no_limit))
    if (taken := process_time() - began) > MOST_SECONDS:
        return Result(name, "slow", f"{taken:.1f} s of processor time")
    if (grown := _peak_bytes() - bytes_before) > MOST_BYTES:
        return Result(name, "memory", f"{grown / 2**30:.1f} GB of memory")
    return result


def _outcome(name: str, folder: Path, read: Callable[[], object]) -> Result:
    """Read the files in a folder, and judge the exception if there is one."""
    from carl.errors import CarlError, is_out_of_memory, printable

    try:
        read()
    except CarlError as error:
        message = str(error)
        # That of a model is in memory. In a folder of a camera a header may be named.
        stems = ["cube", *(path.stem for path in [*folder.iterdir(), *folder.glob("*/*.hdr")])]
        causes = _chain(error)
        if any(is_out_of_memory(each) for each in causes if not isinstance(each, CarlError)):
            return Result(name, "memory", f"attempted to allocate too much: {message}")
        is_named = any(stem in message for stem in stems)
        if not is_named or message != printable(message) or len(message) > _LONGEST_MESSAGE:
            return Result(name, "foreign", f"message {ascii(message)[:_LONGEST_MESSAGE]}")
        return Result(name, "refused", message)
    except MemoryError as error:
        return Result(name, "memory", _described(error))
    except Exception as error:
        return Result(name, "foreign", _described(error))
    return Result(name, "read")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that caused it."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _described(error: BaseException) -> str:
    """Return type and message of an exception, and the line of this project it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [each for each in frames if "/carl/" in each.filename.replace(os.sep, "/")]
    place = ours[-1] if ours else frames[-1]
    where = f"{'/'.join(Path(place.filename).parts[-3:])}:{place.lineno}"
    return f"{type(error).__name__}: {ascii(str(error))[:200]} ({where})"


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def table(report: Report) -> str:
    """Return the number of mutants by format and outcome, and the total."""
    formats = dict.fromkeys(name for name, _ in report.counts)
    rows = [("", "mutants", *OUTCOMES)]
    for name in [*formats, "all"]:
        of_format = [
            sum(
                n
                for (each, each_outcome), n in report.counts.items()
                if name in (each, "all") and each_outcome == outcome
            )
            for outcome in OUTCOMES
        ]
        rows.append((name, str(sum(of_format)), *map(str, of_format)))
    return "\n".join(f"{row[0]:24}" + "".join(f"{cell:>9}" for cell in row[1:]) for row in rows)


def main() -> None:
    """Print the table and the failures, or read one mutant again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=20_000, help="number of mutants")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this time")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--format", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--rerun", metavar="NAME", help="read one mutant, without limits")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="write its files there")
    options = parser.parse_args()
    if options.rerun:
        with TemporaryDirectory() as folder:
            place = options.keep or Path(folder)
            place.mkdir(parents=True, exist_ok=True)
            read = write_mutant(options.rerun, options.seed, place)
            result = _outcome(options.rerun, place, read)
        print(f"{result.name}  {result.outcome}  {result.detail}")
        sys.exit(result.outcome in FAILURES)
    from machine import machine_line

    print(machine_line())
    report = Report()
    for result in run(
        mutant_names(options.mutants, options.format),
        seed=options.seed,
        workers=options.workers,
        seconds=options.seconds,
    ):
        report.add(result)
        if result.outcome in FAILURES:
            print(f"{result.name}  {result.outcome}  {result.detail}", flush=True)
    print(table(report))
    if report.failures:
        sys.exit(f"{len(report.failures)} failures; seed {options.seed}")


if __name__ == "__main__":
    main()
