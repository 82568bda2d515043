"""The common ground of every event reader: blocks of raw columns in, clean `Events` in time order out.

A format gives *blocks* (about 100,000 events each, so that a block stays in the processor's cache) and
`EventStream` does the rest: time search, cutting, range and polarity checks, rectification, ordering, notes.
Memory is bounded by what one call returns plus two blocks, except that recordings of up to `keep_events`
events may be kept.

Shape letters: N events, K blocks.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from armseg_core.arrays import Events, EventSource, OutOfOrder
from armseg_core.errors import ArmsegWarning, FormatError, InputError
from armseg_core.sensors.event.columns import (
    Columns,
    falls,
    inside,
    join,
    join_events,
    polarity_bits,
    rectified,
    take_events,
    whole_numbers,
)
from armseg_core.sensors.event.geometry import Geometry
from armseg_core.sensors.event.order import Order, OrderScan

BLOCK_EVENTS = 1 << 17  # events of one block: about 1.7 MB, fits a second-level cache
KEEP_EVENTS = 1 << 24  # recordings up to this many events may be held in memory (13 bytes each: 218 MB)


class EventStream(EventSource):
    """Base of every event reader of armseg: an `EventSource` of blocks.

    A format gives `bounds` (number of the first event of each block, and the total: K + 1) and overrides
    `_load`; `_load_times` where times alone are cheaper; `_guess_range` where the file has a time index.

    Args:
        keep_events: recordings up to this many events may be kept, and are sorted, in memory.
    """

    def __init__(
        self, path: Path, geometry: Geometry, bounds: np.ndarray, *, keep_events: int = KEEP_EVENTS
    ) -> None:
        self.bounds = np.asarray(bounds, np.int64)
        super().__init__(path, geometry.size, int(self.bounds[-1]))
        self._messages.update(geometry.notes)
        self.rectify, self.keep_events = geometry.rectify, keep_events
        self.order: Order | None = None
        self._held: Columns | None = None
        self._raw: tuple[int, Columns] | None = None
        self._held_times: np.ndarray | None = None
        self._blocks: OrderedDict[int, _Block] = OrderedDict()
        self._times: OrderedDict[int, np.ndarray] = OrderedDict()
        self._last: dict[int, int] = {}
        self._dropped: dict[str, int] = {}
        self._seen: set[int] = set()
        self._seen_events = 0
        self._cleaned = ("no usable time or polarity", f"outside the sensor of {self.size[1]}x{self.size[0]}")

    # --- what a format overrides -------------------------------------------------------------------------

    def _load(self, block: int) -> Columns:
        raise NotImplementedError

    def _load_times(self, block: int) -> np.ndarray:
        """(N,) int64 microseconds of a block."""
        return self._raw_block(block).t

    def _guess_range(self, t_us: int) -> tuple[int, int] | None:
        """Event numbers between which the first event at or after t_us should lie, from an index."""
        return None

    # --- the contract of EventSource ---------------------------------------------------------------------

    @property
    def t_first_us(self) -> int:
        if self.order is not None:
            return int(self.order.low.min())
        return int(self._block_times(0)[0])

    @property
    def t_last_us(self) -> int:
        if self.order is not None:
            return int(self.order.high.max())
        return int(self._block_times(len(self.bounds) - 2)[-1])

    @property
    def order_known(self) -> bool:
        return self.order is not None

    @property
    def in_order(self) -> bool:
        return self.order is None or self.order.sorted

    @property
    def notes(self) -> list[str]:
        dropped = [f"{n:,} events dropped: {why}" for why, n in self._dropped.items()]
        return [*super().notes, *dropped]

    def drop(self, why: str, number: int) -> None:
        """Count events that are left out."""
        if number:
            if why not in self._dropped:
                warnings.warn(ArmsegWarning(f"{self.path}: events dropped: {why}"), stacklevel=4)
            self._dropped[why] = self._dropped.get(why, 0) + int(number)

    def read_time(self, t0_us: int, t1_us: int) -> Events:
        """Events with t0_us <= t < t1_us.

        Disorder is noticed (and put right) when it shows in the events that are read; `check_order` finds it
        wherever it is.
        """
        try:
            return self._read_time(t0_us, t1_us)
        except OutOfOrder:  # the search for the window was misled, too
            self.check_order()
            return self._read_time(t0_us, t1_us)

    def read_index(self, i0: int, i1: int) -> Events:
        """Events number i0 (included) to i1 (excluded), less those that had to be dropped.

        Of a recording that is not `in_order` these are in stored order, sorted within the piece.
        """
        try:
            return join_events(list(self.pieces(i0, i1)), self.size)
        except OutOfOrder:
            self.check_order()
            return join_events(list(self.pieces(i0, i1)), self.size)

    def pieces(self, i0: int, i1: int) -> Iterator[Events]:
        """Like `read_index`, one piece per block and without a copy: the fast way through a recording.

        Raises:
            OutOfOrder: disorder shows for the first time.
        """
        i0, i1 = max(0, i0), min(i1, self.count)
        while i0 < i1:
            k = int(np.searchsorted(self.bounds, i0, "right")) - 1
            start, stop = int(self.bounds[k]), int(self.bounds[k + 1])
            piece = self._block(k).cut(i0 - start, min(i1, stop) - start)
            yield piece if self.in_order else join_events([piece], self.size)
            i0 = stop

    def index_at(self, t_us: int) -> int:
        """Number of events with t < t_us."""
        if self.order is not None and not self.order.sorted:
            below = np.diff(self.bounds)[self.order.high < t_us].sum()
            cut = np.flatnonzero((self.order.low < t_us) & (self.order.high >= t_us))
            return int(below) + sum(int(np.count_nonzero(self._block_times(int(k)) < t_us)) for k in cut)
        if self._held_times is not None:
            return int(np.searchsorted(self._held_times, t_us))
        guess = self._guess_range(t_us) if self.order is None else None
        if guess is not None:
            return self._search_between(*guess, t_us)
        return self._search(t_us)

    def time_of(self, i: int) -> int:
        """Time of the stored event number i."""
        k = int(np.searchsorted(self.bounds, i, "right")) - 1
        return int(self._block_times(k)[i - self.bounds[k]])

    # --- order -------------------------------------------------------------------------------------------

    def check_order(self) -> bool:
        """Scan all times once.

        A recording that is not in time order is sorted (stably, with a warning) when it has at most
        `keep_events` events; a longer one is put right window by window.

        Returns:
            whether the recording was in time order.
        """
        if self.order is None:
            self.order = self._scan_order()
            self.steps_back = self.order.backward
            if not self.order.sorted:
                self.note(
                    "unsorted",
                    f"{self.order.backward:,} events are not in time order (largest step back "
                    f"{self.order.worst_us:,} us); sorted",
                    warn=True,
                )
                self._sort_in_memory()
        return "unsorted" not in self._messages

    def _scan_order(self) -> Order:
        scan = OrderScan()
        for k in range(len(self.bounds) - 1):
            scan.add(self._block_times(k))
        return scan.result()

    def _sort_in_memory(self) -> None:
        if self.count > self.keep_events:
            return
        columns = join([self._raw_block(k) for k in range(len(self.bounds) - 1)])
        columns = columns.take(np.argsort(columns.t, kind="stable"))
        self.hold(columns)
        self.order = Order(columns.t[:1], columns.t[-1:], 0, 0)

    def hold(self, columns: Columns) -> None:
        """Keep the whole recording in memory as one block."""
        self._held, self._held_times, self._raw = columns, columns.t, None
        self.bounds = np.array([0, len(columns.t)], np.int64)
        self._blocks.clear()
        self._times.clear()
        self._dropped.clear()
        self._seen.clear()
        self._seen_events = 0

    # --- blocks ------------------------------------------------------------------------------------------

    def _raw_block(self, k: int) -> Columns:
        if self._held is not None:
            return self._held
        if self._raw is None or self._raw[0] != k:
            self._raw = (k, self._load(k))
        return self._raw[1]

    def _block(self, k: int) -> _Block:
        if k not in self._blocks:
            columns = self._raw_block(k)
            if self.order is None:
                self._watch_order(k, columns.t)
            self._blocks[k] = self._clean(k, columns)
            while len(self._blocks) > 2:
                self._blocks.popitem(last=False)
        return self._blocks[k]

    def _watch_order(self, k: int, t: np.ndarray) -> None:
        """Look for disorder in a block, and between it and the block before when that has been read."""
        if falls(t) or t[0] < self._last.get(k - 1, t[0]):
            raise OutOfOrder(self)
        self._last[k] = int(t[-1])

    def _block_times(self, k: int) -> np.ndarray:
        if self._held_times is not None:
            return self._held_times[self.bounds[k] : self.bounds[k + 1]]
        times = self._times.get(k)
        if times is None:
            times = self._times[k] = self._load_times(k)
            while len(self._times) > 4:
                self._times.popitem(last=False)
        return times

    # --- search ------------------------------------------------------------------------------------------

    def _last_of(self, k: int) -> int:
        if k not in self._last:
            self._last[k] = int(self._block_times(k)[-1])
        return self._last[k]

    def _search(self, t_us: int) -> int:
        blocks = len(self.bounds) - 1
        if self.order is not None:
            k = int(np.searchsorted(self.order.high, t_us))
        else:
            k, end = 0, blocks
            while k < end:
                middle = (k + end) // 2
                if self._last_of(middle) < t_us:
                    k = middle + 1
                else:
                    end = middle
        if k == blocks:
            return self.count
        return int(self.bounds[k] + np.searchsorted(self._block_times(k), t_us))

    def _search_between(self, low: int, high: int, t_us: int) -> int:
        """Trust the file's index only as far as the times around the place agree with it."""
        low, high = max(0, min(low, self.count)), max(0, min(high, self.count))
        while low < high:
            k = int(np.searchsorted(self.bounds, (low + high) // 2, "right")) - 1
            start, times = int(self.bounds[k]), self._block_times(k)
            a, b = max(low - start, 0), min(high - start, len(times))
            i = a + int(np.searchsorted(times[a:b], t_us))
            if a < i < b:
                low = high = start + i
            elif i == a:
                high = start + a
            else:
                low = start + b
        if (low == 0 or self.time_of(low - 1) < t_us) and (low == self.count or self.time_of(low) >= t_us):
            return low
        self.note("index", "the time index of the file does not agree with its times; not used", warn=True)
        return self._search(t_us)

    def _read_time(self, t0_us: int, t1_us: int) -> Events:
        if self.in_order:
            return join_events(list(self.pieces(self.index_at(t0_us), self.index_at(t1_us))), self.size)
        assert self.order is not None
        parts: list[Events] = []
        for k in np.flatnonzero((self.order.low < t1_us) & (self.order.high >= t0_us)):
            events = self._block(int(k)).events
            parts.append(take_events(events, np.flatnonzero((events.t >= t0_us) & (events.t < t1_us))))
            if sum(map(len, parts)) > 4 * self.keep_events:
                raise InputError(
                    f"not in time order and more than {4 * self.keep_events:,} events in one window",
                    where=self.path,
                    hint="a shorter --window, or sort the recording first",
                )
        return join_events(parts, self.size)

    # --- cleaning ----------------------------------------------------------------------------------------

    def _clean(self, k: int, c: Columns) -> _Block:
        """Checked events of a block; what is dropped is counted once per block."""
        x, y, t = whole_numbers(c.x), whole_numbers(c.y), c.t
        p, bad = polarity_bits(c.p, c.bad, self.path)
        height, width = self.size
        outside, rows = None, None
        if len(t) and not (inside(x, width) and inside(y, height)):
            outside = ~((x > -1) & (x < width) & (y > -1) & (y < height))  # NaN is outside too
        if outside is not None or bad is not None:
            bad = np.zeros(len(t), bool) if bad is None else bad
            outside = np.zeros(len(t), bool) if outside is None else outside & ~bad
            if k not in self._seen:
                self.drop(self._cleaned[0], int(np.count_nonzero(bad)))
                self.drop(self._cleaned[1], int(np.count_nonzero(outside)))
            rows = np.flatnonzero(~(bad | outside))
            x, y, t, p = whole_numbers(x[rows]), whole_numbers(y[rows]), t[rows], p[rows]
        if k not in self._seen:
            self._seen.add(k)
            self._seen_events += len(c.t)
            self._check_share()
        return _Block(self._finish(x, y, t, p), rows)

    def _finish(self, x: np.ndarray, y: np.ndarray, t: np.ndarray, p: np.ndarray) -> Events:
        if x.dtype.kind == "f" or y.dtype.kind == "f":
            if self.rectify is not None:
                self.note("fractional", "coordinates are fractional already; not rectified", warn=True)
            return Events(x.astype(np.float32), y.astype(np.float32), t, p, self.size)
        x, y = x.astype(np.uint16, copy=False), y.astype(np.uint16, copy=False)
        if self.rectify is not None:
            x, y = rectified(self.rectify, x, y)
        return Events(x, y, t, p, self.size)

    def _check_share(self) -> None:
        lost = sum(n for why, n in self._dropped.items() if why in self._cleaned)
        # from 1000 on: a few bad events at the beginning say nothing about a recording
        if lost * 2 > self._seen_events and (self._seen_events >= 1000 or self._seen_events >= self.count):
            number, why = max((self._dropped.get(why, 0), why) for why in self._cleaned)
            raise FormatError(
                f"{number:,} of {self._seen_events:,} events have to be dropped: {why}",
                where=self.path,
                expected="most events within the sensor, with a time and a polarity",
                hint="--sensor-size WIDTHxHEIGHT of the camera, or --columns for another order",
            )


class _Block(NamedTuple):
    """Clean events of a block; rows: which of the stored events they are (None: all)."""

    events: Events
    rows: np.ndarray | None

    def cut(self, i0: int, i1: int) -> Events:
        """Those of the stored events i0 to i1 of this block."""
        if self.rows is not None:
            i0, i1 = (int(i) for i in np.searchsorted(self.rows, (i0, i1)))
        return take_events(self.events, slice(i0, i1))
