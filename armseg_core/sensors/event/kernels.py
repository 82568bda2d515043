"""Adding events up on a pixel grid, fast: the kernels below every additive event representation.

Two things make them fast: the events come in pieces that stay in the processor's cache, and both weights of
an event (for the time bin before and the one after it) are added in one step, as the real and the imaginary
part of a complex number.

Shape letters: N events, B bins, H rows, W columns. A *padded grid* has one row and one column more on each
side, so that the bilinear weights of an event near the border need no special case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from armseg_core.arrays import Events
from armseg_core.errors import UsageError

FLUSH_EVENTS = 1 << 22  # partial sums of float32 stay exact to about 1e-7 up to this many events


@dataclass(frozen=True)
class Grid:
    """Where sensor coordinates land in a frame.

    height, width: of the frame. rows: sensor rows in use (the rest is cropped at the bottom).
    scale_x, scale_y: frame pixels per sensor pixel. hot: (H, W) bool of sensor pixels to leave out, or None.
    """

    height: int
    width: int
    rows: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    hot: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        sensor: tuple[int, int],
        size: tuple[int, int] | None,
        crop_bottom: int,
        hot: np.ndarray | None = None,
    ) -> Grid:
        """The grid of a sensor (H, W), cropped at the bottom, then scaled to `size` (H, W)."""
        rows, columns = sensor[0] - crop_bottom, sensor[1]
        if rows < 1:
            raise UsageError(
                f"cuts off {crop_bottom} rows",
                where="--crop-bottom",
                expected=f"less than the {sensor[0]} rows of the sensor",
            )
        height, width = size or (rows, columns)
        return cls(height, width, rows, width / columns, height / rows, hot)

    @property
    def stride(self) -> int:
        return self.width + 2

    @property
    def cells(self) -> int:
        """Number of cells of the padded grid."""
        return (self.height + 2) * self.stride

    @property
    def scaled(self) -> bool:
        return self.scale_x != 1.0 or self.scale_y != 1.0

    def inner(self, planes: np.ndarray) -> np.ndarray:
        """(..., cells) -> (..., H, W), without the border."""
        whole = planes.reshape(*planes.shape[:-1], self.height + 2, self.stride)
        return whole[..., 1:-1, 1:-1]


@dataclass(frozen=True)
class Landed:
    """Events in frame coordinates. u, v: (N,) uint16 columns and rows, or float32 above -1 and below W, H."""

    u: np.ndarray
    v: np.ndarray
    t: np.ndarray
    p: np.ndarray

    def __len__(self) -> int:
        return len(self.t)

    def cut(self, i0: int, i1: int) -> Landed:
        return Landed(self.u[i0:i1], self.v[i0:i1], self.t[i0:i1], self.p[i0:i1])


def land(events: Events, grid: Grid) -> Landed:
    """Scale to the frame and leave out what lies outside it (rectified events may) or on a hot pixel."""
    x, y, t, p = events.x, events.y, events.t, events.p
    keep = None
    if grid.rows < events.size[0]:
        keep = y < grid.rows
    if grid.hot is not None:
        cool = ~grid.hot[nearest(y, events.size[0]), nearest(x, events.size[1])]
        keep = cool if keep is None else keep & cool
    if x.dtype.kind == "f" and len(x):
        height, width = grid.rows, events.size[1]
        if not (x.min() > -1 and x.max() < width and y.min() > -1 and y.max() < height):
            inside = (x > -1) & (x < width) & (y > -1) & (y < height)  # False for NaN
            keep = inside if keep is None else keep & inside
    if keep is not None:
        x, y, t, p = x[keep], y[keep], t[keep], p[keep]
    if grid.scaled:
        x, y = _scaled(x, grid.scale_x, grid.width), _scaled(y, grid.scale_y, grid.height)
    return Landed(x, y, t, p)


def _scaled(a: np.ndarray, scale: float, size: int) -> np.ndarray:
    """Pixel centers to pixel centers, as images are resized; a pixel at the border stays inside."""
    out = a.astype(np.float32)
    out += np.float32(0.5)
    out *= np.float32(scale)
    out -= np.float32(0.5)
    return np.clip(out, 0, size - 1, out=out)


def nearest(a: np.ndarray, size: int) -> np.ndarray:
    """Integer pixel of each coordinate (half rounds up), within the frame."""
    if a.dtype.kind != "f":
        return a
    return np.clip(np.floor(a + np.float32(0.5)), 0, size - 1).astype(np.int64)


def cell_of(events: Landed, grid: Grid) -> np.ndarray:
    """(N,) int64 cell of the padded grid each event falls in; fractional coordinates are rounded."""
    return _index(nearest(events.u, grid.width), nearest(events.v, grid.height), grid)


def _index(column: np.ndarray, row: np.ndarray, grid: Grid) -> np.ndarray:
    index = row.astype(np.int32)
    index *= np.int32(grid.stride)
    index += column.astype(np.int32)
    index += np.int32(grid.stride + 1)
    return index.astype(np.int64)


def corners(events: Landed, grid: Grid) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """The cells an event adds to, as (cell (N,) int64, weight (N,) float32 or None for 1).

    One cell for integer coordinates; for fractional ones the four around it with bilinear weights, taken with
    floor, so that coordinates between -1 and 0 are treated like all others.
    """
    if events.u.dtype.kind != "f":
        yield _index(events.u, events.v, grid), None
        return
    left, top = np.floor(events.u), np.floor(events.v)
    dx, dy = events.u - left, events.v - top
    index = _index(left, top, grid)
    ex, ey = 1 - dx, 1 - dy
    yield index, ex * ey
    yield index + 1, dx * ey
    yield index + grid.stride, ex * dy
    yield index + (grid.stride + 1), dx * dy


class VoxelGrid:
    """Sums of a voxel grid, piece by piece.

    t* = (B-1) (t - first) / (last - first), V(b) = sum of q max(0, 1 - |b - t*|): Zhu et al., CVPR 2019,
    eq. 1, with B - 1 intervals as in DSEC and E2VID.

    Without extent in time (one event, equal times) t* is 0: everything is in the first bin.

    Args:
        first_us, last_us: times of the first and the last event of the window.
        split: two grids, of the positive and the negative events, each counting up.
        expected: about how many events will come; chooses the faster of two ways to the same sums.
        flush_events: partial sums of the complex numbers are added to the grid after this many events.
    """

    def __init__(
        self,
        grid: Grid,
        bins: int,
        first_us: int,
        last_us: int,
        *,
        split: bool = False,
        expected: int = 0,
        flush_events: int = FLUSH_EVENTS,
    ) -> None:
        self.grid, self.bins, self.split, self.first = grid, bins, split, first_us
        self.intervals, self.flush_events = max(1, bins - 1), flush_events
        span = last_us - first_us
        self.scale = (bins - 1) / span if span > 0 else 0.0
        # An event at or after edges[b] lies in interval b or later: whole microseconds, rounded up from
        # the true start of the interval by lead[b] < 1.
        self.edges = [first_us - (-b * span // self.intervals) for b in range(self.intervals)]
        self.lead = [(-b * span % self.intervals) / self.intervals for b in range(self.intervals)]
        self.short = span // self.intervals < 1 << 30  # times within an interval fit 32 bits
        self.planes = np.zeros((self.intervals + 1, grid.cells * (1 + split)), np.float32)
        # measured: the complex sums pay off from about 2 events per cell and interval
        self.pair = None
        if expected > 2 * self.intervals * self.planes.shape[1]:
            self.pair = np.zeros(self.planes.shape[1], np.complex64)
        self._open, self._held = 0, 0

    def add(self, events: Landed) -> None:
        """Add events in time order."""
        if not len(events):
            return
        if not self.scale:  # no extent in time, or a single bin
            self._add(events, 0)
            return
        cuts = [0, *np.searchsorted(events.t, self.edges[1:]).tolist(), len(events)]
        for b in range(self.intervals):
            if cuts[b] < cuts[b + 1]:
                self._add(events.cut(cuts[b], cuts[b + 1]), b)

    def _add(self, events: Landed, b: int) -> None:
        n = len(events)
        if self.pair is not None and (b != self._open or self._held + n > self.flush_events):
            self._flush()
        self._open, self._held = b, self._held + n
        f = self._fraction(events.t, b)
        q = None
        if not self.split:
            q = events.p.astype(np.float32)
            q *= np.float32(2)
            q -= np.float32(1)
        plane = None
        if self.split:
            plane = (events.p ^ 1).astype(np.int64)
            plane *= self.grid.cells
        for index, weight in corners(events, self.grid):
            if plane is not None:
                index = index + plane  # a new array: the next corner is counted from the old one
            w = q if weight is None else (weight if q is None else weight * q)
            self._scatter(index, f, w, b)

    def _fraction(self, t: np.ndarray, b: int) -> np.ndarray:
        """How far into the interval b each event is, in [0, 1]."""
        if not self.short:
            return ((t - self.edges[b] + self.lead[b]) * self.scale).astype(np.float32)
        low = t.astype(np.int32)  # the low 32 bits; differences are right modulo 2^32
        low -= np.int32((self.edges[b] + (1 << 31)) % (1 << 32) - (1 << 31))
        f = low.astype(np.float32)
        f *= np.float32(self.scale)
        f += np.float32(self.lead[b] * self.scale)
        return f

    def _scatter(self, index: np.ndarray, f: np.ndarray, w: np.ndarray | None, b: int) -> None:
        late = f if w is None else f * w
        if self.pair is None:
            np.add.at(self.planes[b + 1], index, late)
            np.add.at(self.planes[b], index, np.subtract(np.float32(1) if w is None else w, late))
            return
        both = np.empty(len(f), np.complex64)
        both.imag = late
        np.subtract(np.float32(1) if w is None else w, late, out=both.real)
        np.add.at(self.pair, index, both)

    def _flush(self) -> None:
        if self.pair is not None and self._held:
            self.planes[self._open] += self.pair.real
            self.planes[self._open + 1] += self.pair.imag
            self.pair.fill(0)
            self._held = 0

    def result(self) -> np.ndarray:
        """(B, H, W) float32; (2 B, H, W), first the positive, then the negative grid, when split."""
        self._flush()
        planes = self.planes[: self.bins]
        if self.split:
            planes = planes.reshape(self.bins, 2, -1).swapaxes(0, 1).reshape(2 * self.bins, -1)
        return np.ascontiguousarray(self.grid.inner(planes))


def normalized(frame: np.ndarray) -> np.ndarray:
    """DSEC normalization: zero mean and unit (unbiased) deviation over the non-zero cells.

    They alone change. Only the mean is subtracted when the deviation is 0 (or there is a single cell).
    """
    filled = frame != 0
    number = int(np.count_nonzero(filled))
    if not number:
        return frame.copy()
    total = squares = 0.0
    for row in frame.reshape(len(frame), -1):  # float64 sums, one channel at a time: the rest are zeros
        values = row.astype(np.float64)
        total, squares = total + values.sum(), squares + np.dot(values, values)
    mean = total / number
    variance = (squares - number * mean * mean) / max(number - 1, 1)
    # what is left over where all values are equal is rounding: at most about 1e-13 of the squares
    deviation = np.sqrt(variance) if variance > 1e-12 * squares / number else 0.0
    scale = 1.0 / deviation if deviation > 0 else 1.0
    out = frame * np.float32(scale)
    out -= filled * np.float32(mean * scale)  # np.subtract(where=...) would take ten times as long
    return out
