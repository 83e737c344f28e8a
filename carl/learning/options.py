"""Options of fine-tuning."""

from __future__ import annotations

from typing import Literal, get_args

from carl.errors import CarlError

Tune = Literal["last_blocks", "lora", "full"]
"""Which weights of a network to fine-tune: those of the last blocks of both encoders, low-rank
adapters of all attention layers (LoRA), or all weights."""

_ALIASES = {"head": "last_blocks"}
"""Names of earlier versions."""


def check_tune(name: str) -> Tune:
    """Return the `Tune` option of that name or alias.

    >>> check_tune("lora")
    'lora'

    Raises:
        CarlError: the name is unknown.
    """
    wanted = _ALIASES.get(name, name)
    for choice in get_args(Tune):
        if wanted == choice:
            return choice  # type: ignore[no-any-return]
    raise CarlError(f"'{name}' is not a way to fine-tune: choose {', '.join(get_args(Tune))}.")
