"""Connections of signals that are undone together."""

from __future__ import annotations

from psygnal import Signal

from napari_carl.connections import Connections


class Source:
    changed = Signal(int)


def test_close_undoes_connections_and_other_callbacks() -> None:
    source, values, undone = Source(), [], []
    connections = Connections()
    connections.connect(source.changed, values.append)
    connections.callback(undone.append, True)
    source.changed.emit(1)

    connections.close()
    source.changed.emit(2)

    assert values == [1]
    assert undone == [True]
    assert len(source.changed) == 0
