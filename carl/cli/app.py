"""The command line put together, and how it fails: in one line, with nothing half-written."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

import carl
from carl.cli.cache import cache
from carl.cli.cameras import cameras
from carl.cli.download import download
from carl.cli.embed import embed
from carl.cli.evaluate import evaluate
from carl.cli.fit import fit
from carl.cli.import_ import import_
from carl.cli.info import info
from carl.cli.interruptible import interrupt
from carl.cli.models import models
from carl.cli.predict import predict
from carl.cli.pretrain import pretrain
from carl.cli.simulate import simulate
from carl.cli.train import train
from carl.errors import CarlError, CarlWarning, is_out_of_memory

_BAD_INPUT, _DEFECT, _INTERRUPTED = 2, 1, 130  # exit statuses

app = typer.Typer(
    name="carl",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (
    info, models, download, cache, cameras, embed, fit, train, predict, evaluate, simulate,
    pretrain, import_,
):  # fmt: skip
    app.command(
        _command.__name__.rstrip("_"),
        # An option takes one word: the second one of a --pair reaches `fit` as an extra argument.
        context_settings={"allow_extra_args": _command is fit},
    )(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"carl {carl.__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Segment spectral cubes from any camera with a few labelled pixels.

    Label some pixels of a cube with 1, 2, 3, … in any paint program or in napari, then
    `carl fit`, `carl predict`, and `carl evaluate` where the truth is known.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status.

    0: done. 1: a defect of this program. 2: something the user can mend. 130: interrupted, from the
    keyboard or by SIGTERM. All but 0 print one line on stderr; with ``CARL_DEBUG=1`` in the
    environment a traceback precedes it.

    Args:
        arguments: as typed after ``carl``; those of the process by default.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    status = run(arguments)
    if status == _INTERRUPTED:
        # Python takes up to a second to take PyTorch apart; who interrupts wants to be rid of it.
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; see `main`."""
    _quieten_libraries()
    left = ""  # by a command that was interrupted
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # for terminals without µ and ×
    try:
        status = app(args=arguments, prog_name="carl", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `carl info cube.hdr | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, typer.Abort) as stop:
        status, left = _INTERRUPTED, str(stop)
    except Exception as error:
        if os.environ.get("CARL_DEBUG") == "1":
            traceback.print_exc()
        status, message = _in_words(error)
        _complain(message)
        return status
    if status == _INTERRUPTED:
        _complain(f"Interrupted: {left or 'nothing was written.'}")
    return status if isinstance(status, int) else 0


def _in_words(error: Exception) -> tuple[int, str]:
    """Exit status and message for an exception."""
    if isinstance(error, CarlError):
        return _BAD_INPUT, str(error)
    if hasattr(error, "format_message"):  # an error of usage, whichever library typer stands on
        message = error.format_message().rstrip(".?")
        return _BAD_INPUT, f"{message}: see 'carl --help'." if message else ""
    if is_out_of_memory(error):
        return _BAD_INPUT, "There is not enough memory for this: close other programs."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _BAD_INPUT, "The disk is full: free some space, or write to another one."
    return _DEFECT, (
        f"This is a defect of carl ({type(error).__name__}: {error}): please report it, with the "
        "traceback that CARL_DEBUG=1 shows."
    )


def _complain(message: str) -> None:
    """Print one line on stderr; nothing where the help was shown instead of a message."""
    if message:
        print("carl:", " ".join(message.split()), file=sys.stderr)


def _quieten_libraries() -> None:
    """Keep stderr for what the user has to read: warnings of libraries are for developers."""
    if os.environ.get("CARL_DEBUG") != "1":
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", CarlWarning)
        warnings.showwarning = lambda message, *_, **__: _complain(str(message))
        logging.getLogger().addHandler(logging.NullHandler())
