"""Raw columns of an event recording, and the pure functions that make clean ones of them.

Shape letters: N events, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from armseg_core.arrays import Events
from armseg_core.errors import FormatError, UsageError

TICKS_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}  # microseconds in one unit of time


NAMES = {  # the names under which each column is found in the field
    "x": ("x", "xs", "x_pos"),
    "y": ("y", "ys", "y_pos"),
    "t": ("t", "ts", "time", "timestamp", "timestamps"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}


class Columns(NamedTuple):
    """Raw columns of N events, as the file has them.

    x, y: any integer or float dtype. t: int64 microseconds, absolute. p: bool, {0, 1} or {-1, 1}, any dtype.
    bad: (N,) bool of rows without a usable time or polarity, or None.
    """

    x: np.ndarray
    y: np.ndarray
    t: np.ndarray
    p: np.ndarray
    bad: np.ndarray | None = None

    def cut(self, i0: int, i1: int) -> Columns:
        return self.map(lambda column: column[i0:i1])

    def take(self, rows: np.ndarray) -> Columns:
        return self.map(lambda column: column[rows])

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> Columns:
        """The same change of every column."""
        bad = None if self.bad is None else change(self.bad)
        return Columns(change(self.x), change(self.y), change(self.t), change(self.p), bad)


def join(parts: list[Columns]) -> Columns:
    """Several pieces as one; without a copy when there is only one."""
    if len(parts) == 1:
        return parts[0]
    bad = None
    if any(part.bad is not None for part in parts):
        bad = np.concatenate([np.zeros(len(c.t), bool) if c.bad is None else c.bad for c in parts])
    x, y, t, p = (np.concatenate([c[i] for c in parts]) for i in range(4))
    return Columns(x, y, t, p, bad)


def match_names(names: Iterable[str]) -> dict[str, str]:
    """Column ("x", "y", "t", "p") -> the name it has among `names`, for those that are there."""
    known = {str(name).lower(): str(name) for name in names}
    found = {column: [alias for alias in aliases if alias in known] for column, aliases in NAMES.items()}
    return {column: known[aliases[0]] for column, aliases in found.items() if aliases}


def to_us(t: np.ndarray, unit: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Recorded times as int64 microseconds.

    Args:
        t: (N,) integers or floats in `unit` (a key of TICKS_US).

    Returns:
        times, and a mask of the rows whose time is NaN or infinite (None: there are none). Such a row carries
        the last usable time before it, so that the order of the others is not disturbed.
    """
    if t.dtype.kind in "iub":
        t = t.astype(np.int64, copy=False)
        if unit == "ns":
            return t // 1000, None
        return (t if unit == "us" else t * int(TICKS_US[unit])), None
    scaled = t.astype(np.float64) * TICKS_US[unit]
    bad = ~(np.abs(scaled) < 2.0**62)  # int64 holds these and the differences of any two
    if not bad.any():
        return np.rint(scaled).astype(np.int64), None
    rows = np.maximum.accumulate(np.where(bad, -1, np.arange(len(t))))
    usable = scaled[~bad]
    filled = np.where(rows < 0, usable[0] if len(usable) else 0.0, scaled[np.maximum(rows, 0)])
    return np.rint(filled).astype(np.int64), bad


def guess_unit(t: np.ndarray) -> tuple[str, str]:
    """Unit of recorded times whose format does not fix it: (unit, why), to be told to the user.

    Fractions over less than 10^5 are seconds (a day; microseconds span that in a tenth of a second);
    whole numbers from 10^17 up are nanoseconds (that is how large the clock of a computer is in that unit);
    everything else is microseconds.
    """
    if t.dtype.kind == "f":
        usable = t[np.isfinite(t)]
        if len(usable) and np.ptp(usable) < 1e5 and (usable != np.rint(usable)).any():
            return "s", "they have fractions"
        t = usable
    if len(t) and np.abs(t[-1].astype(np.float64)) >= 1e17:
        return "ns", "they are as large as a computer's clock in nanoseconds"
    return "us", "they are whole numbers"


def guess_columns(path: Path, rows: np.ndarray) -> tuple[str, str]:
    """Order of the columns of an N x 4 matrix of events, where its content leaves no doubt.

    Time is the one column that never falls and reaches beyond the coordinates (or has fractions); polarity
    the one of two values; x stands before y.

    Returns:
        (order such as "txyp", note for the user).

    Raises:
        UsageError: the content fits several orders.
    """
    unclear = UsageError(
        "the order of the columns is not clear",
        where=path,
        expected="t, x, y and p in some order",
        hint="--columns txyp or --columns xytp",
    )
    if len(rows) < 2:
        raise unclear
    rows = rows.astype(np.float64)
    low, high = rows.min(0), rows.max(0)
    flags = [i for i in range(rows.shape[1]) if np.isin(rows[:, i], (-1, 0, 1)).all()]
    rising = [i for i in range(rows.shape[1]) if (np.diff(rows[:, i]) >= 0).all() and high[i] > low[i]]
    times = [
        i
        for i in rising
        if i not in flags and (high[i] >= 65536 or (rows[:, i] != np.rint(rows[:, i])).any())
    ]
    if len(times) != 1 or len(flags) != 1:
        raise unclear
    order = ["", "", "", ""]
    order[times[0]], order[flags[0]] = "t", "p"
    order[order.index("")] = "x"
    order[order.index("")] = "y"
    text = "".join(order)
    return text, f"columns are taken as {', '.join(text)} (--columns to change)"


def whole_numbers(a: np.ndarray) -> np.ndarray:
    """Coordinates that are whole numbers as integers (a view where possible), else as they are."""
    if a.dtype.kind != "f" or not len(a):
        return a if a.dtype.kind != "f" else a.astype(np.uint16)
    with np.errstate(invalid="ignore"):
        whole = a.astype(np.int32)
    return whole if np.array_equal(whole, a) else a


def inside(a: np.ndarray, limit: int) -> bool:
    """Whether all coordinates (N >= 1 of them) are below `limit` and at least 0, fractional ones above -1."""
    if a.dtype.kind == "f":
        return bool(a.min() > -1) and bool(a.max() < limit)  # False for NaN
    return (a.dtype.kind == "u" or int(a.min()) >= 0) and int(a.max()) < limit


def polarity_bits(p: np.ndarray, bad: np.ndarray | None, where: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """{0, 1}, {-1, 1} or bool -> uint8 {0, 1}; NaN joins the bad rows."""
    if p.dtype == bool:
        return p.view(np.uint8), bad
    if not len(p) or (p.dtype == np.uint8 and p.max() <= 1):
        return p.astype(np.uint8, copy=False), bad
    if p.dtype.kind == "f" and np.isnan(p).any():
        missing = np.isnan(p)
        p, bad = np.where(missing, 0, p), missing if bad is None else missing | bad
    low, high = p.min(), p.max()
    if low < -1 or high > 1 or (p.dtype.kind == "f" and not np.isin(p, (-1, 0, 1)).all()):
        raise FormatError(
            f"polarity runs from {low} to {high}",
            where=where,
            expected="0 and 1, or -1 and 1",
            hint="--columns when the columns are in another order",
        )
    return (p > 0).view(np.uint8), bad


def rectified(table: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undistorted float32 coordinates: table (H, W, 2) of (x, y), looked up at [y, x]."""
    height, width, _ = table.shape
    place = y.astype(np.int64)
    place *= width
    place += x
    both = table.reshape(height * width, 2).view(np.complex64)[:, 0].take(place)  # one look-up for x and y
    return np.ascontiguousarray(both.real), np.ascontiguousarray(both.imag)


def take_events(events: Events, rows: slice | np.ndarray) -> Events:
    """Some of the events: a slice (views) or row numbers."""
    return Events(events.x[rows], events.y[rows], events.t[rows], events.p[rows], events.size)


def join_events(parts: list[Events], size: tuple[int, int]) -> Events:
    """Several pieces as one, in time order."""
    if not parts:
        none = np.zeros(0, np.uint16)
        return Events(none, none, np.zeros(0, np.int64), np.zeros(0, np.uint8), size)
    if len(parts) == 1:
        events = parts[0]
    else:
        x, y, t, p = (np.concatenate([getattr(part, name) for part in parts]) for name in "xytp")
        events = Events(x, y, t, p, size)
    return take_events(events, np.argsort(events.t, kind="stable")) if falls(events.t) else events


def falls(t: np.ndarray) -> bool:
    """Whether any time is smaller than the one before it."""
    return len(t) > 1 and bool((t[1:] < t[:-1]).any())
