"""ERGO-12 (Zubic et al., ICCV 2023): twelve channels found by a search over windows and statistics.

Shape letters: N events, H rows, W columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from armseg_core.arrays import Events, Frame
from armseg_core.sensors.event.input import EventInput
from armseg_core.sensors.event.kernels import Landed, cell_of
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.windows import EventWindow


class _Channel(NamedTuple):
    """window: 0 all; 1-3 thirds by count; 4-6 the last 1/2, 1/4, 1/8 by count. who: which polarity counts."""

    window: int
    value: str  # "polarity" (+1, -1), "time" (in [0, 1] over the window 0) or "count" (1)
    who: str  # "", "pos" or "neg"
    reduce: str  # "sum", "mean", "max" or "variance" over the events of a pixel


CHANNELS = (
    _Channel(0, "polarity", "", "variance"),
    _Channel(3, "time", "neg", "variance"),
    _Channel(2, "count", "neg", "mean"),
    _Channel(6, "polarity", "", "sum"),
    _Channel(5, "count", "pos", "mean"),
    _Channel(6, "count", "", "sum"),
    _Channel(2, "time", "pos", "mean"),
    _Channel(5, "count", "neg", "mean"),
    _Channel(1, "time", "neg", "max"),
    _Channel(0, "time", "pos", "max"),
    _Channel(4, "time", "", "max"),
    _Channel(1, "count", "", "mean"),
)


def ergo12(events: Events | EventWindow, options: EventOptions, t0_us: int, t1_us: int) -> Frame:
    """The channels of CHANNELS; 0 where a pixel has no event. A mean count is 1 wherever there is one."""
    given = EventInput(events, options)
    number = sum(map(len, given.pieces()))
    first, last = given.met or (0, 0)
    planes = np.zeros((len(CHANNELS), given.grid.cells))
    bounds = _bounds(number)
    for plane, channel in zip(planes, CHANNELS, strict=True):
        plane[:] = _channel(given, channel, bounds[channel.window], first, max(last - first, 1))
    names = tuple(f"{c.value}_{c.who or 'all'}_{c.reduce}_w{c.window}" for c in CHANNELS)
    units = tuple("events" if c.value == "count" else "" for c in CHANNELS)
    frame = np.ascontiguousarray(given.grid.inner(planes), np.float32)
    return Frame(frame, names, units, (-1.0, 1.0), t1_us)


def _bounds(number: int) -> list[tuple[int, int]]:
    """Event numbers (first, end) of the seven windows of a recording of `number` events."""
    third = number // 3
    starts = np.cumsum([number >> 1, number >> 2, number >> 3]).tolist()
    return [(0, number), *((i * third, (i + 1) * third) for i in range(3)), *((s, number) for s in starts)]


def _channel(
    given: EventInput, channel: _Channel, bounds: tuple[int, int], first: int, span: int
) -> np.ndarray:
    """(cells,) float64: one channel, in one pass over the events."""
    cells = given.grid.cells
    total, square, count = np.zeros(cells), np.zeros(cells), np.zeros(cells)
    at = 0
    for piece in given.pieces():
        i0, i1 = max(bounds[0] - at, 0), min(bounds[1] - at, len(piece))
        at += len(piece)
        if i0 >= i1:
            continue
        part = _chosen(piece.cut(i0, i1), channel.who)
        cell, value = cell_of(part, given.grid), _value(part, channel.value, first, span)
        if channel.reduce == "max":
            np.maximum.at(total, cell, value)  # the values of this kind are times, at least 0
            continue
        np.add.at(total, cell, value)
        np.add.at(count, cell, 1.0)
        if channel.reduce == "variance":
            np.add.at(square, cell, value * value)
    if channel.reduce in ("sum", "max"):
        return total
    mean = total / np.maximum(count, 1)
    if channel.reduce == "mean":
        return mean
    return np.maximum(square / np.maximum(count, 1) - mean * mean, 0)


def _chosen(events: Landed, who: str) -> Landed:
    if not who:
        return events
    rows = np.flatnonzero(events.p == (who == "pos"))
    return Landed(events.u[rows], events.v[rows], events.t[rows], events.p[rows])


def _value(events: Landed, value: str, first: int, span: int) -> np.ndarray:
    if value == "polarity":
        return events.p * 2.0 - 1.0
    if value == "time":
        return (events.t - first) / span
    return np.ones(len(events))
