"""Cutting an event recording into windows, without reading more of it than is asked for.

A window is handed to a representation unread (`EventWindow`); the representation goes through it in pieces,
so memory stays bounded even when one window holds hundreds of millions of events.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from armseg_core.arrays import PIECE_EVENTS, Events, EventSource
from armseg_core.errors import ArmsegWarning, FormatError, InputError
from armseg_core.files.text import read_text
from armseg_core.sensors.event.options import EventOptions

# A window of up to this many events may be read at once (55 MB). While the order is unknown a longer one
# costs a scan of all times first: pieces of it could not be put in order.
LOADED_EVENTS = 1 << 22
# A stretch without any event that is at least so long is no scene at rest (sensors have noise): a time stamp
# is damaged, or parts are missing. Its windows are left out, so that one number does not make 86,000 frames.
_LONG_GAP_US, _LONG_GAP_WINDOWS = 60_000_000, 1000
_LATEST_US = (1 << 63) - 1  # times are int64
# A rest of at most this share of a window, with the last event in it, belongs to the window before: alone it
# would be a frame of next to nothing. Free choice.
_REST_SHARE = 1 / 20


@dataclass(frozen=True)
class EventWindow:
    """The events number i0 (included) to i1 (excluded) of a recording, read when asked for.

    The window lasts from t0_us (included) to t1_us (excluded).
    """

    source: EventSource
    t0_us: int
    t1_us: int
    i0: int
    i1: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the sensor."""
        return self.source.size

    def __len__(self) -> int:
        return self.i1 - self.i0

    def load(self) -> Events:
        """All events of the window at once."""
        if self.source.in_order:
            return self.source.read_index(self.i0, self.i1)
        return self.source.read_time(self.t0_us, self.t1_us)

    def pieces(self, max_events: int = PIECE_EVENTS) -> Iterator[Events]:
        """The events in time order, in pieces of at most max_events."""
        whole = self.source.pieces(self.i0, self.i1) if self.source.in_order else (self.load(),)
        for piece in whole:
            yield from cut(piece, max_events)

    def span(self) -> tuple[int, int] | None:
        """Times of the first and the last event as they are stored, or None for an empty window.

        An event that has to be dropped may be one of them: only reading shows that (`EventInput.met`).
        """
        if not len(self):
            return None
        if not self.source.in_order:
            t = self.load().t
            return (int(t[0]), int(t[-1])) if len(t) else None
        return self.source.time_of(self.i0), self.source.time_of(self.i1 - 1)


Window = Events | EventWindow


def cut(events: Events, max_events: int) -> Iterator[Events]:
    """Views of at most max_events; nothing for no events."""
    for i in range(0, len(events), max_events):
        rows = slice(i, i + max_events)
        yield Events(events.x[rows], events.y[rows], events.t[rows], events.p[rows], events.size)


def iterate_windows(
    source: EventSource, options: EventOptions, *, trusting: bool = False
) -> Iterator[tuple[EventWindow, int, int]]:
    """The windows of a recording in order, each with its start (included) and end (excluded) in microseconds.

    - `end_times`: one window for each time in the file, ending there (events exactly at it are not in it);
      it lasts `window`, or holds the `count` events before that time.
    - `count`: windows of that many events; fewer at the end of the recording are left out, unless they are
      all.
    - otherwise windows of `window` microseconds from the first event on, the last one to beyond the last
      event: every event is in exactly one of them. The last one is up to a twentieth longer where what is
      left would else be a window of its own. Windows without any event are left out where there are a
      thousand of them, and a minute or more, in a row, which is noted.

    Args:
        trusting: do not scan all times for disorder first. Where disorder then shows, reading a window (or
            asking for the next one) raises the source's own `OutOfOrder`, and everything made so far is void.

    Raises:
        InputError: times that give an absurd number of windows, or end times outside the recording.
    """
    _keep_freed_memory()
    if not trusting or options.end_times is not None:
        source.check_order()
    if options.end_times is not None:
        for t1_us in _checked_end_times(source, options):
            i0, i1, t0_us = _range_before(source, options, int(t1_us))
            yield EventWindow(source, t0_us, int(t1_us), i0, i1), t0_us, int(t1_us)
    elif options.count is not None:
        whole = max(options.count, source.count - options.count + 1)
        for i0 in range(0, min(whole, source.count), options.count):
            _need_order(source)  # reading the window before may have shown disorder
            i1 = min(i0 + options.count, source.count)
            t0_us, t1_us = source.time_of(i0), source.time_of(i1 - 1) + 1
            yield EventWindow(source, t0_us, t1_us, i0, i1), t0_us, t1_us
    else:
        i0, first, last = 0, source.t_first_us, source.t_last_us
        for k in itertools.chain.from_iterable(_window_numbers(source, options, trusting=trusting)):
            t0_us = first + k * options.window
            t1_us = min(t0_us + options.window, _LATEST_US)
            if 0 < (rest := last + 1 - t1_us) <= _REST_SHARE * options.window:
                t1_us += rest
                source.note("rest", f"the last window is {rest:,} us longer: too little is left for one more")
            i1 = source.index_at(t1_us) if t1_us <= last else source.count
            yield EventWindow(source, t0_us, t1_us, i0, i1), t0_us, t1_us
            i0 = i1
        t0_us = last
        for _ in EventWindow(source, t0_us, t0_us, i0, source.count).pieces():
            pass  # events are left only when the last time is not the latest one: this shows the disorder


def count_windows(source: EventSource, options: EventOptions, *, trusting: bool = False) -> int:
    """How many windows `iterate_windows` gives."""
    if not trusting:
        source.check_order()
    if options.end_times is not None:
        return len(read_end_times(options.end_times))
    if options.count is not None:
        return max(1, source.count // options.count)
    return sum(map(len, _window_numbers(source, options, trusting=trusting)))


def _window_numbers(source: EventSource, options: EventOptions, *, trusting: bool) -> list[range]:
    """The numbers of the windows of a fixed time, counted from the first event on; long gaps are left out.

    Raises:
        InputError: there are absurdly many.
    """
    first, last, window = source.t_first_us, source.t_last_us, options.window
    least = max(_LONG_GAP_US, _LONG_GAP_WINDOWS * window)
    gaps = list(_gaps(source, 0, source.count - 1, least)) if trusting or source.in_order else []
    starts = [0, *((after - first) // window for _, after in gaps)]
    stops = [*((before - first) // window + 1 for before, _ in gaps), (last - first) // window + 1]
    rest = (last + 1 - first) % window
    if 0 < rest <= _REST_SHARE * window and stops[-1] - starts[-1] > 1:
        stops[-1] -= 1  # the window before is longer
    ranges = [range(start, stop) for start, stop in zip(starts, stops, strict=True)]
    number = sum(map(len, ranges))
    # a unit taken wrongly makes 1000 times as many windows; some empty ones, or few at all, are usual
    if number > max(100_000, 10 * source.count):
        raise InputError(
            f"{source.count:,} events over {(last + 1 - first) / 1e6:,.0f} s would give {number:,} windows",
            where=source.path,
            expected="a few events in most windows",
            hint="--time-unit, when the times are read in the wrong unit, or a longer --window",
        )
    if gaps:
        _note_gaps(source, gaps, stops[-1] - number)
    return ranges


def _gaps(source: EventSource, i: int, j: int, least_us: int) -> Iterator[tuple[int, int]]:
    """(time before, time after) of each stretch of `least_us` without an event, between events i and j.

    There are at most as many as the time in between is longer than `least_us`: a few halvings find each.
    """
    if j <= i or source.time_of(j) - source.time_of(i) < least_us:
        return
    if j == i + 1:
        yield source.time_of(i), source.time_of(j)
        return
    middle = (i + j) // 2
    yield from _gaps(source, i, middle, least_us)
    yield from _gaps(source, middle, j, least_us)


def _note_gaps(source: EventSource, gaps: list[tuple[int, int]], empty: int) -> None:
    shown = ", ".join(
        f"from {before} to {after} us ({(after - before) / 1e6:,.0f} s)" for before, after in gaps[:3]
    )
    more = f" and {len(gaps) - 3} more times" if len(gaps) > 3 else ""
    source.note(
        "gap",
        f"no event {shown}{more}: {empty:,} empty windows are left out; a damaged time stamp, "
        "or times in another unit (--time-unit)?",
        warn=True,
    )


def window_ending_at(source: EventSource, options: EventOptions, t1_us: int) -> tuple[Window, int, int]:
    """The window that ends at t1_us (excluded): `window` long, or the last `count` events before it.

    Of a recording whose order is not known yet, a short window is read at once, because reading is what shows
    disorder; before a long one all times are scanned.

    Returns:
        window, its start and its end. It is empty when the recording has no events there.
    """
    i0, i1, t0_us = _range_before(source, options, t1_us)
    if not source.order_known:
        if i1 - i0 <= LOADED_EVENTS and options.count is None:
            return source.read_time(t0_us, t1_us), t0_us, t1_us
        source.check_order()
        i0, i1, t0_us = _range_before(source, options, t1_us)
    return EventWindow(source, t0_us, t1_us, i0, i1), t0_us, t1_us


def _range_before(source: EventSource, options: EventOptions, t1_us: int) -> tuple[int, int, int]:
    """(first event, end, start time) of the window that ends at t1_us."""
    i1 = source.index_at(t1_us)
    if options.count is None:
        return source.index_at(t1_us - options.window), i1, t1_us - options.window
    _need_order(source)
    i0 = max(0, i1 - options.count)
    return i0, i1, source.time_of(i0) if i0 < i1 else t1_us


def read_end_times(path: Path) -> np.ndarray:
    """One absolute time in whole microseconds per line; '#' starts a comment.

    Returns:
        (N,) int64 in the order of the file, N >= 1.

    Raises:
        InputError: no such file. FormatError: not UTF-8, or naming the first line that is not a time.
    """
    times = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        # 2^62: windows before and after a time still fit int64
        if not word.lstrip("+-").isascii() or not word.lstrip("+-").isdigit() or abs(int(word)) >= 1 << 62:
            raise FormatError(
                f"line {number} is '{word[:40]}'",
                where=path,
                expected="one time in whole microseconds per line",
            )
        times.append(int(word))
    if not times:
        raise FormatError("holds no times", where=path, expected="one time in microseconds per line")
    return np.array(times, np.int64)


def _keep_freed_memory() -> None:
    """Make the allocator keep freed memory.

    Work on one piece makes and frees a few megabytes of arrays. By itself glibc gives them back to the system
    each time, and getting them again costs a tenth of the whole conversion; having freed a large array once,
    it keeps them: freeing a mapped block raises its threshold for mapping to the size of the block, up to
    32 MiB (mallopt(3), M_MMAP_THRESHOLD), so the array is just below that. It is never touched and takes no
    memory.
    """
    np.empty((32 << 20) - (1 << 16), np.uint8)


def _need_order(source: EventSource) -> None:
    if not source.in_order:
        raise InputError(
            "windows of a fixed number of events need a recording in time order",
            where=source.path,
            hint="--window instead of --count, or sort the recording first",
        )


def _checked_end_times(source: EventSource, options: EventOptions) -> np.ndarray:
    assert options.end_times is not None
    times = read_end_times(options.end_times)
    last = source.t_last_us + (options.window if options.count is None else 1 << 62)
    empty = int(((times <= source.t_first_us) | (times > last)).sum())
    if empty == len(times):
        raise InputError(
            f"the times run from {times.min()} to {times.max()} us",
            where=options.end_times,
            expected=f"times within the recording, {source.t_first_us} to {source.t_last_us} us",
            hint="absolute times on the clock of the recording (DSEC: with t_offset)",
        )
    if empty:
        warnings.warn(
            ArmsegWarning(
                f"{options.end_times}: {empty} of {len(times)} windows are outside the recording and empty"
            ),
            stacklevel=3,
        )
    return times
