"""Assemble the command line and turn exceptions into exit statuses and one-line messages."""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

import carl
from carl.cli.conversion import convert, export
from carl.cli.cubes import cache, cameras, embed, info, simulate
from carl.cli.files import interrupt
from carl.cli.networks import download, import_, models, pretrain
from carl.cli.process import BAD_INPUT, INTERNAL_ERROR, INTERRUPTED, handle_signals
from carl.cli.segmentation import evaluate, fit, predict, train
from carl.errors import Cancelled, CarlError, CarlWarning, is_out_of_memory, printable

app = typer.Typer(
    name="carl",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (
    info, models, download, cache, cameras, embed, fit, train, predict, evaluate, export,
    convert, simulate, pretrain, import_,
):  # fmt: skip
    app.command(
        _command.__name__.rstrip("_"),
        short_help=(_command.__doc__ or "").partition("\n")[0],  # typer cuts it off otherwise
        # An option takes one value: the second one of --pair reaches `fit` as an extra argument.
        context_settings={"allow_extra_args": _command is fit},
    )(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"carl {carl.__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Segment hyperspectral and multispectral cubes from any camera with a few labelled pixels.

    Label some pixels of a cube with 1, 2, 3, … in an image editor or in napari. Then use
    `carl fit`, `carl predict` and, where the true labels are known, `carl evaluate`.
    """


def run_and_exit(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status; see `carl.cli.main`."""
    handle_signals(interrupt)
    status = run(arguments)
    if status == INTERRUPTED:
        # A regular exit can take a second, in which PyTorch frees its resources.
        sys.stdout.flush()
        os._exit(status)
    handle_signals(lambda *_: os._exit(status))  # the command is done
    sys.exit(status)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; see `carl.cli.main`."""
    try:
        _silence_libraries()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")  # for terminals without µ and ×
        status = app(args=arguments, prog_name="carl", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `carl info cube.hdr | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, typer.Abort) as stop:
        _print_error(f"Interrupted: {str(stop) or 'nothing was written.'}")
        return INTERRUPTED
    except Cancelled as stop:
        _print_error(str(stop))
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("CARL_DEBUG") == "1":
            traceback.print_exc()
        status, message = _status_and_message(error)
        _print_error(message)
        return status
    if status == INTERRUPTED:  # typer returns it in place of KeyboardInterrupt
        _print_error("Interrupted: nothing was written.")
    return status if isinstance(status, int) else 0


def _status_and_message(error: Exception) -> tuple[int, str]:
    """Return the exit status and the message of an exception."""
    if isinstance(error, CarlError):
        return BAD_INPUT, str(error)
    if hasattr(error, "format_message"):  # a usage error of click, which typer may vendor
        message = error.format_message().rstrip(".?")
        return BAD_INPUT, f"{message}: see 'carl --help'." if message else ""
    if is_out_of_memory(error):
        return BAD_INPUT, "There is not enough memory: close other programs."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BAD_INPUT, "The disk is full: free some space, or write to another disk."
    return INTERNAL_ERROR, (
        f"Internal error of carl ({type(error).__name__}: {error}): please report it with the "
        "traceback that CARL_DEBUG=1 shows."
    )


def _print_error(message: str) -> None:
    """Print one line on stderr; nothing if the message is empty, as when the help was shown."""
    if message:
        print("carl:", printable(" ".join(message.split())), file=sys.stderr)


def _silence_libraries() -> None:
    """Hide the warnings of libraries, which are for developers; show those of carl in one line."""
    if os.environ.get("CARL_DEBUG") != "1":
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", CarlWarning)
        warnings.showwarning = lambda message, *_, **__: _print_error(str(message))
        logging.getLogger().addHandler(logging.NullHandler())
