"""``carl download``: weights of a network from the internet, only ever on request."""

from __future__ import annotations

from typing import Annotated

import typer

from carl.cli.options import AsJson
from carl.cli.terminal import progress_line, show_facts, show_json


def download(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A network that 'carl models' says to download.")
    ],
    json: AsJson = False,
) -> None:
    """Download the weights of a network; what was interrupted goes on where it ended.

    They lie in the data folder of your account, or in that which CARL_HOME names.
    """
    from carl.model import download_weights

    try:
        with progress_line() as progress:
            path = download_weights(name, progress=progress)
    except KeyboardInterrupt:
        raise typer.Abort(
            f"what has come is kept, 'carl download {name}' goes on from there."
        ) from None
    facts = {"model": name, "file": str(path), "bytes": path.stat().st_size}
    show_json(facts) if json else show_facts(facts)
