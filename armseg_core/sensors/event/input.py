"""What every event representation starts from: the window's events, placed on the frame, in pieces.

Shape letters: H rows, W columns.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from armseg_core.arrays import PIECE_EVENTS, Events
from armseg_core.errors import ArmsegWarning
from armseg_core.sensors.event.kernels import Grid, Landed, land, nearest
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.windows import EventWindow, cut


class EventInput:
    """The events of one window on the grid of the frame.

    Events in memory that are not in time order are sorted (stably, into new arrays) with a warning.
    """

    def __init__(self, events: Events | EventWindow, options: EventOptions) -> None:
        if isinstance(events, Events) and _falls(events.t):
            warnings.warn(ArmsegWarning("events are not in time order; sorted"), stacklevel=3)
            rows = np.argsort(events.t, kind="stable")
            events = Events(events.x[rows], events.y[rows], events.t[rows], events.p[rows], events.size)
        self._events = events
        self.met: tuple[int, int] | None = None  # times of the first and the last event that `pieces` has met
        hot = None if options.hot_pixels is None else self._hot_pixels(options.hot_pixels)
        self.grid = Grid.of(events.size, options.size, options.crop_bottom, hot)

    def __len__(self) -> int:
        """Number of events, at most (some may be left out when they are placed on the frame)."""
        return len(self._events)

    def _raw(self) -> Iterator[Events]:
        if isinstance(self._events, EventWindow):
            return self._events.pieces()
        return cut(self._events, PIECE_EVENTS)

    def pieces(self) -> Iterator[Landed]:
        """The events in time order, in frame coordinates."""
        self.met = None
        for piece in self._raw():
            if len(piece):
                self.met = (self.met[0] if self.met else int(piece.t[0]), int(piece.t[-1]))
            landed = land(piece, self.grid)
            if len(landed):
                yield landed

    def span(self) -> tuple[int, int] | None:
        """Times of the first and the last event, or None for an empty window.

        Unread events may turn out to be unusable: where `met` then differs, it is right.
        """
        if isinstance(self._events, EventWindow):
            return self._events.span()
        t = self._events.t
        return (int(t[0]), int(t[-1])) if len(t) else None

    def _hot_pixels(self, factor: float) -> np.ndarray:
        """(H, W) bool: pixels with many more events than those around them.

        More than `factor` times the median count of the 5 x 5 pixels around (at least 1).
        """
        import cv2

        height, width = self._events.size
        counts = np.zeros(height * width, np.int64)
        for piece in self._raw():
            row, column = nearest(piece.y, height), nearest(piece.x, width)
            counts += np.bincount(row.astype(np.int64) * width + column, minlength=height * width)
        # 5 x 5 is the largest window whose median OpenCV takes of uint16; of larger ones it takes uint8 only
        image = np.minimum(counts, 65535).astype(np.uint16).reshape(height, width)
        return image > factor * np.maximum(cv2.medianBlur(image, 5), 1)


def _falls(t: np.ndarray) -> bool:
    """Whether any time is smaller than the one before it; piece by piece, so that it stays in the cache."""
    for i in range(0, len(t), PIECE_EVENTS):
        piece = t[i : i + PIECE_EVENTS + 1]
        if (piece[1:] < piece[:-1]).any():
            return True
    return False
