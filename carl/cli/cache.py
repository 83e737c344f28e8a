"""``carl cache``: computed features that wait for the next time, shown and removed."""

from __future__ import annotations

from typing import Annotated

import typer

from carl.cli.options import AsJson
from carl.cli.terminal import show_facts, show_json


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of them.")] = False,
    json: AsJson = False,
) -> None:
    """Show where computed features are kept for the next time, and how much there is.

    CARL_HOME in the environment names another folder, CARL_CACHE another size, as 500MB; with 0
    nothing is kept.
    """
    from carl.user_folders import features_folder

    folder = features_folder()
    if clear:
        folder.clear()
    n_bytes, max_bytes = folder.nbytes, folder.max_bytes
    facts = {"folder": str(folder.path), "embeddings": len(folder)}
    if json:
        show_json(facts | {"bytes": n_bytes, "max_bytes": max_bytes})
    else:
        show_facts(facts | {"size": f"{n_bytes / 1e6:,.1f} of {max_bytes / 1e6:,.0f} MB"})
