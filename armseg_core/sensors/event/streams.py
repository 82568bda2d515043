"""Event recordings without an index: held in memory when short, decoded again block by block when long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.sensors.event.columns import Columns
from armseg_core.sensors.event.geometry import Geometry
from armseg_core.sensors.event.order import Order, OrderScan
from armseg_core.sensors.event.source import KEEP_EVENTS, EventStream


class MemoryStream(EventStream):
    """A recording that is small enough, or stored in a way, to be read as a whole."""

    def __init__(self, path: Path, geometry: Geometry, columns: Columns) -> None:
        super().__init__(path, geometry, np.array([0, len(columns.t)]))
        self.hold(columns)
        self.check_order()


# opens a decoder at a resume point (None: the start) and gives (resume point of this block, its columns);
# never an empty block
Decoder = Callable[[Any], Iterator[tuple[Any, Columns]]]


class DecodedStream(EventStream):
    """A recording in a format without an index, decoded front to back.

    Opening decodes it once, to count events and learn the times of each block. Short recordings stay in
    memory; of longer ones only the resume points stay, and blocks are decoded again when asked for.

    Args:
        keep_events: up to how many events a recording is short.
    """

    def __init__(
        self, path: Path, geometry: Geometry, decoder: Decoder, *, keep_events: int = KEEP_EVENTS
    ) -> None:
        self._decoder, self._next = decoder, -1
        self._cursor: Iterator[tuple[Any, Columns]] = iter(())
        self._points: list[Any] = []
        self._kept: list[Columns] | None = []
        counts, scan = [0], OrderScan()
        for point, columns in decoder(None):
            self._points.append(point)
            counts.append(counts[-1] + len(columns.t))
            scan.add(columns.t)
            if self._kept is not None:
                self._kept.append(columns)
                if counts[-1] > keep_events:
                    self._kept = None
        super().__init__(path, geometry, np.array(counts), keep_events=keep_events)
        self._found = scan.result()
        self.check_order()

    def _scan_order(self) -> Order:
        return self._found

    def _load(self, block: int) -> Columns:
        if self._kept is not None:
            return self._kept[block]
        if self._next != block:
            self._cursor = self._decoder(self._points[block])
        self._next = block + 1
        return next(self._cursor)[1]

    def hold(self, columns: Columns) -> None:
        super().hold(columns)
        self._kept = None
