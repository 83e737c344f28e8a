"""One map of patches among several threads, each with some of the patches.

In a transformer tokens meet in attention only. So every thread takes a part of the tokens through
all blocks, and at each attention they show each other their keys and values. Unlike threads that
share every single operation they wait for each other once a block.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from carl.inference.attention import attend
from carl.inference.workers import equal_parts

_FEWEST = 64
"""Patches of a part; with fewer the waiting costs more than it saves."""


class ContextParallelGroup:
    """The parts of one map, and what they show each other.

    Args:
        n_patches: of the map.
        n_members: threads; fewer are used for a small map.
        n_prefix: tokens before the patches that every part has: those of the first part count.

    Attributes:
        parts: the patches of each member.
    """

    def __init__(self, n_patches: int, n_members: int, n_prefix: int) -> None:
        n_members = max(1, min(n_members, n_patches // _FEWEST))
        self.parts = equal_parts(n_patches, n_members)
        self._n_prefix = n_prefix
        self._barrier = Barrier(n_members)
        self._shown: list[dict[int, tuple[Tensor, Tensor]]] = [{}, {}]

    def run(self, member: int, function: Callable[[], Tensor], n_blocks: int) -> Tensor:
        """Run the part of a member; all members must do so, each in a thread of its own.

        Args:
            member: its number.
            function: passes the tokens of its part through the blocks.
            n_blocks: each with one attention.

        Raises:
            RuntimeError: another member failed or left, or the network does not attend by the
                function of PyTorch, or not to everything.
        """
        exchange = _Exchange(self, member)
        try:
            with exchange:
                result = function()
            if exchange.n_done != n_blocks:
                raise RuntimeError("this network attends in a way of its own")
        except BaseException:
            self.leave()
            raise
        return result

    def leave(self) -> None:
        """Let nobody wait any longer; it can be called from anywhere."""
        self._barrier.abort()

    def show(self, member: int, turn: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Give keys and values (B, H, L, d) of a part, get those of all parts in order."""
        # Nobody is more than one turn ahead, so that two places are enough.
        shown = self._shown[turn % 2]
        shown[member] = keys, values
        self._barrier.wait()
        pairs = [shown[number] for number in range(len(self.parts))]
        return self._together([k for k, _ in pairs]), self._together([v for _, v in pairs])

    def _together(self, parts: list[Tensor]) -> Tensor:
        return torch.cat([parts[0], *(each[:, :, self._n_prefix :] for each in parts[1:])], dim=2)


class _Exchange(TorchFunctionMode):
    """In the thread of a member, lets its queries attend to the tokens of all members."""

    def __init__(self, team: ContextParallelGroup, member: int) -> None:
        super().__init__()
        self._team = team
        self._member = member
        self.n_done = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        if kwargs.get("attn_mask") is not None or kwargs.get("is_causal") or len(args) != 3:
            raise RuntimeError("only attention to everything can be shared out")
        query, keys, values = args
        keys, values = self._team.show(self._member, self.n_done, keys, values)
        self.n_done += 1
        return attend(query, keys, values, kwargs.get("scale") or query.shape[-1] ** -0.5)
