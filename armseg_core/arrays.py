"""Validated sensor data in memory: what readers return and representations take. Numpy only.

Every class checks its own shapes, dtypes and ranges on construction, so a function that takes one of them
need not. None of the arrays is ever written to by armseg.

Shape letters: N events / points, U V views, H rows, W columns, C color channels.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from armseg_core.errors import ArmsegWarning, FormatError

# events in one piece; their arrays together stay in a second-level cache (measured on voxel grids: pieces of
# 64k to 256k events are 2.5 to 3 times as fast as pieces of 1M)
PIECE_EVENTS = 1 << 17


def _check(condition: bool, what: str, expected: str) -> None:
    if not condition:
        raise FormatError(what, expected=expected)


def _check_mask(valid: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise where a mask of validity is not bool, or not as large as what it is of."""
    _check(
        valid.shape == shape and valid.dtype == bool,
        f"validity mask is {valid.dtype} {valid.shape}",
        f"bool {shape}",
    )


@dataclass(frozen=True)
class Events:
    """A batch of events in time order.

    x, y: (N,) integer pixel coordinates, or float32 when rectified (then they may be fractional).
    t: (N,) int64 microseconds, not decreasing. p: (N,) uint8, 1 = brighter, 0 = darker.
    size: sensor (H, W). Integer coordinates are inside the sensor; readers drop and count those that are not.
    """

    x: np.ndarray
    y: np.ndarray
    t: np.ndarray
    p: np.ndarray
    size: tuple[int, int]

    def __post_init__(self) -> None:
        n = len(self.t)
        columns = (self.x, self.y, self.t, self.p)
        if (
            all(c.shape == (n,) for c in columns)
            and self.t.dtype == np.int64
            and self.p.dtype == np.uint8
            and self.x.dtype == self.y.dtype
        ):
            return  # made for every piece of a recording: no messages are put together when all is well
        for name in "xytp":
            a = getattr(self, name)
            _check(a.ndim == 1 and len(a) == n, f"events: {name} has shape {a.shape}", f"({n},)")
        _check(self.t.dtype == np.int64, f"events: t is {self.t.dtype}", "int64 microseconds")
        _check(self.p.dtype == np.uint8, f"events: p is {self.p.dtype}", "uint8 0 or 1")
        _check(self.x.dtype == self.y.dtype, "events: x and y differ in dtype", "the same dtype")

    def __len__(self) -> int:
        return len(self.t)


class OutOfOrder(Exception):
    """A recording that was taken to be in time order is not. After `source.check_order()`, read it again."""

    def __init__(self, source: EventSource) -> None:
        super().__init__("events are not in time order")
        self.source = source


class EventSource(ABC):
    """A recording of events that is read piece by piece: what every event reader returns.

    Opening is cheap (no event is decoded before it is asked for, except for formats without any index),
    memory is bounded by what one call returns, and times are absolute int64 microseconds (an offset that the
    file states is already added). Use as a context manager.

    A format of its own takes one of three ways, the shortest first:

    1. It is read as a whole: `MemoryStream(path, geometry, Columns(x, y, t, p))` of `sensors.event.streams`,
       with the columns as the file has them, is a complete source.
    2. It can be long: subclass `sensors.event.source.EventStream` (blocks that are read when asked for) or
       pass a decoder to `DecodedStream` (no index: decoded front to back). Checks, sorting, rectification and
       notes are done there.
    3. It does not fit blocks: subclass this class, call its constructor and write `read_index`. All else
       has a default that follows from it; override what the format knows a faster answer to.

    Attributes:
        path: the recording, for messages. size: (H, W) of the sensor.
        count: number of stored events, at least 1; those that have to be dropped are among them.
        steps_back: events found earlier than the one before them; known after `check_order`.
    """

    steps_back: int = 0

    def __init__(self, path: Path, size: tuple[int, int], count: int) -> None:
        """Raises FormatError for a recording without events."""
        self.path, self.size, self.count = Path(path), size, count
        self._messages: dict[str, str] = {}
        if not count:
            raise FormatError("holds no events", where=path, expected="at least one event")

    @abstractmethod
    def read_index(self, i0: int, i1: int) -> Events:
        """Events number i0 (included) to i1 (excluded), less those that have to be dropped."""

    def pieces(self, i0: int, i1: int) -> Iterator[Events]:
        """Like `read_index`, in pieces: the fast way through a recording.

        The pieces have any size that suits the source and stays small in memory.

        Raises:
            OutOfOrder: disorder shows for the first time.
        """
        for i in range(i0, i1, PIECE_EVENTS):
            yield self.read_index(i, min(i + PIECE_EVENTS, i1))

    def time_of(self, i: int) -> int:
        """Time of the stored event number i.

        A format that drops events overrides this: windows are found by the times of all stored events.
        """
        return int(self.read_index(i, i + 1).t[0])

    @property
    def t_first_us(self) -> int:
        """Time of the first event."""
        return self.time_of(0)

    @property
    def t_last_us(self) -> int:
        """Time of the last event."""
        return self.time_of(self.count - 1)

    def index_at(self, t_us: int) -> int:
        """Number of stored events with t < t_us."""
        return bisect_left(range(self.count), t_us, key=self.time_of)

    def read_time(self, t0_us: int, t1_us: int) -> Events:
        """Events with t0_us <= t < t1_us, in time order."""
        return self.read_index(self.index_at(t0_us), self.index_at(t1_us))

    def chunks(self, max_events: int) -> Iterator[Events]:
        """The whole recording in pieces of at most max_events."""
        self.check_order()
        for i0 in range(0, self.count, max_events):
            yield self.read_index(i0, min(i0 + max_events, self.count))

    @property
    def in_order(self) -> bool:
        """False only for a recording that was found unsorted and cannot be sorted as a whole.

        Then `read_time` still gives the events of a window in time order; `read_index` gives them as stored,
        sorted within one call, and no windows of a fixed number of events can be cut.
        """
        return True

    @property
    def order_known(self) -> bool:
        """Whether all times have been looked at. Until then reading may raise OutOfOrder."""
        return True

    def check_order(self) -> bool:
        """Look at all times once, and put in order what is not (in memory, or window by window).

        Returns:
            whether the recording was in time order.
        """
        return True

    @property
    def notes(self) -> list[str]:
        """What was guessed, dropped or repaired while reading, for the user."""
        return list(self._messages.values())

    def note(self, key: str, text: str, *, warn: bool = False) -> None:
        """Keep a message for the user, once per key; with `warn` also as an ArmsegWarning."""
        if warn and key not in self._messages:
            warnings.warn(ArmsegWarning(f"{self.path}: {text}"), stacklevel=4)
        self._messages.setdefault(key, text)

    def close(self) -> None:  # noqa: B027  (most sources have nothing to release)
        """Release the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass(frozen=True)
class EventPicture:
    """A picture drawn from events, whose times are lost.

    polarity: (H, W) float32 in [-1, 1], above 0 where the events are positive, 0 where there is none.
    """

    polarity: np.ndarray

    def __post_init__(self) -> None:
        a = self.polarity
        _check(
            a.ndim == 2 and a.dtype == np.float32, f"event picture is {a.dtype} {a.shape}", "float32 (H, W)"
        )
        _check(bool((np.abs(a) <= 1).all()), "event picture: values outside [-1, 1]", "[-1, 1]")


@dataclass(frozen=True)
class EventMoments:
    """Statistics of the events of each pixel in one window; the events themselves are lost.

    All (2, H, W) float32 and finite, [0] of the positive and [1] of the negative events. count: how many,
    at least 0. mean, deviation: of their times, where the window lasts from 0 to 1.
    """

    count: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    def __post_init__(self) -> None:
        shape = self.count.shape
        for name in ("count", "mean", "deviation"):
            a = getattr(self, name)
            _check(
                a.ndim == 3 and a.shape == shape and len(a) == 2 and a.dtype == np.float32,
                f"event moments: {name} is {a.dtype} {a.shape}",
                "float32 (2, H, W), all of one size",
            )
            _check(bool(np.isfinite(a).all()), f"event moments: {name} is not finite", "finite numbers")
        _check(bool((self.count >= 0).all()), "event moments: a count below 0", "0 or more")


@dataclass(frozen=True)
class LightField:
    """Views of a scene from a grid of places.

    views: (U, V, H, W, 3) uint8 or uint16 RGB; u counts rows of views (down), v columns (right); odd or even
    grids; the center view is (U // 2, V // 2).
    """

    views: np.ndarray

    def __post_init__(self) -> None:
        v = self.views
        _check(v.ndim == 5 and v.shape[-1] == 3, f"light field has shape {v.shape}", "(U, V, H, W, 3)")
        _check(v.dtype in (np.uint8, np.uint16), f"light field is {v.dtype}", "uint8 or uint16")


@dataclass(frozen=True)
class PolarizedImages:
    """Linear intensities behind polarizers.

    intensity: (A, H, W) or (A, H, W, 3) float32 >= 0, in units where `saturation` is full scale 1.0.
    angles_deg: the A polarizer angles, usually (0, 45, 90, 135). saturated: (H, W) bool, any angle clipped.
    """

    intensity: np.ndarray
    angles_deg: tuple[float, ...]
    saturated: np.ndarray

    def __post_init__(self) -> None:
        a = self.intensity
        _check(
            a.ndim in (3, 4) and len(a) == len(self.angles_deg) >= 3,
            f"polarized images have shape {a.shape}",
            f"({len(self.angles_deg)}, H, W[, 3]) with at least 3 angles",
        )
        _check(a.dtype == np.float32, f"polarized images are {a.dtype}", "float32")
        _check(
            self.saturated.shape == a.shape[1:3],
            f"saturation mask has shape {self.saturated.shape}",
            str(a.shape[1:3]),
        )


@dataclass(frozen=True)
class Stokes:
    """Linear Stokes parameters s: (3, H, W) float32 (S0, S1, S2); saturated: (H, W) bool."""

    s: np.ndarray
    saturated: np.ndarray

    def __post_init__(self) -> None:
        _check(self.s.ndim == 3 and len(self.s) == 3, f"Stokes image has shape {self.s.shape}", "(3, H, W)")


@dataclass(frozen=True)
class Thermal:
    """What a thermal camera measured.

    values: (H, W) float32, NaN where it measured nothing. unit: 'counts' (raw, bit_depth says how many bits)
    or 'celsius'. to_celsius: (scale, offset) of degrees Celsius = counts * scale + offset, where it is known.
    """

    values: np.ndarray
    unit: str
    bit_depth: int = 16
    to_celsius: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _check(self.values.ndim == 2, f"thermal frame has shape {self.values.shape}", "(H, W)")
        _check(self.values.dtype == np.float32, f"thermal frame is {self.values.dtype}", "float32")
        _check(self.unit in ("counts", "celsius"), f"thermal unit '{self.unit}'", "counts or celsius")


@dataclass(frozen=True)
class Depth:
    """meters: (H, W) float32, 0 where invalid. valid: (H, W) bool. intrinsics: 3x3 or None."""

    meters: np.ndarray
    valid: np.ndarray
    intrinsics: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check(
            self.meters.ndim == 2 and self.meters.dtype == np.float32,
            f"depth is {self.meters.dtype} {self.meters.shape}",
            "float32 (H, W)",
        )
        _check_mask(self.valid, self.meters.shape)


@dataclass(frozen=True)
class RelativeDepth:
    """Which things are nearer than others, without any unit.

    inverse: (H, W) float32 in [0, 1], 1 for the nearest of the picture, 0 for the farthest and where
    invalid. valid: (H, W) bool.
    """

    inverse: np.ndarray
    valid: np.ndarray

    def __post_init__(self) -> None:
        a = self.inverse
        _check(
            a.ndim == 2 and a.dtype == np.float32, f"relative depth is {a.dtype} {a.shape}", "float32 (H, W)"
        )
        _check(bool(((a >= 0) & (a <= 1)).all()), "relative depth: values outside [0, 1]", "[0, 1]")
        _check_mask(self.valid, a.shape)


@dataclass(frozen=True)
class Bands:
    """A picture of any bands, with the values of the file.

    values: (C, H, W) of any real number type. valid: (C, H, W) bool, False where there is no finite value or
    the one that stands for no data. full_scale: largest value of the file's type for 8 or 16 bits without
    sign, else None.
    """

    values: np.ndarray
    valid: np.ndarray
    full_scale: float | None = None

    def __post_init__(self) -> None:
        v = self.values
        _check(
            v.ndim == 3 and v.size > 0 and v.dtype.kind in "uif",
            f"the picture is {v.dtype} {v.shape}",
            "numbers (C, H, W)",
        )
        _check_mask(self.valid, v.shape)


@dataclass(frozen=True)
class HhaImage:
    """Depth already encoded as HHA (Gupta et al., ECCV 2014).

    values: (3, H, W) uint8: 31000 / depth in cm, height above the ground in cm, angle between surface normal
    and gravity in degrees + 38. All 0 where unknown.
    """

    values: np.ndarray

    def __post_init__(self) -> None:
        v = self.values
        _check(
            v.ndim == 3 and len(v) == 3 and v.dtype == np.uint8,
            f"HHA image is {v.dtype} {v.shape}",
            "uint8 (3, H, W)",
        )


@dataclass(frozen=True)
class Calibration:
    """Camera model for projecting points.

    intrinsics: K (3, 3). lidar_to_camera: (4, 4) rigid. size: of the image, (H, W).

    A point X in the LiDAR frame lands at pixel K [R|t] X, camera axes x right, y down, z forward.
    """

    intrinsics: np.ndarray
    lidar_to_camera: np.ndarray
    size: tuple[int, int]

    def __post_init__(self) -> None:
        _check(self.intrinsics.shape == (3, 3), f"intrinsics have shape {self.intrinsics.shape}", "(3, 3)")
        _check(
            self.lidar_to_camera.shape == (4, 4),
            f"extrinsics have shape {self.lidar_to_camera.shape}",
            "(4, 4)",
        )


@dataclass(frozen=True)
class PointCloud:
    """What a LiDAR measured in one turn.

    points: (N, 3) float32 meters in the LiDAR frame. intensity: (N,) float32 in [0, 1] (zeros when absent).
    calibration: where the camera stands; None when none was found (then the cloud cannot be projected).
    has_intensity: False where the intensity is not measured.
    """

    points: np.ndarray
    intensity: np.ndarray
    calibration: Calibration | None = None
    has_intensity: bool = True

    def __post_init__(self) -> None:
        _check(
            self.points.ndim == 2 and self.points.shape[1] == 3,
            f"points have shape {self.points.shape}",
            "(N, 3)",
        )
        _check(
            self.intensity.shape == (len(self.points),), f"intensity has shape {self.intensity.shape}", "(N,)"
        )


_FRAME_DTYPES = ("float16", "float32", "uint8", "uint16")  # what a sensor-tensor file can store


@dataclass(frozen=True)
class Frame:
    """What a representation makes of a sensor's data: one picture of C named channels.

    values: (C, H, W) float16, float32, uint8 or uint16, without NaN and infinity. channels, units: the name
    and the unit ("" for none) of each channel. value_range: (low, high), the usual range of the values, not a
    hard bound. t_us: absolute time of its end in microseconds, 0 for a sensor without a clock.
    """

    values: np.ndarray
    channels: tuple[str, ...]
    units: tuple[str, ...]
    value_range: tuple[float, float]
    t_us: int = 0

    def __post_init__(self) -> None:
        v, names = self.values, self.channels
        if v.ndim != 3 or not len(v) == len(names) == len(self.units):
            raise FormatError(
                f"frame has shape {v.shape}, {len(names)} channel names and {len(self.units)} units",
                expected="(C, H, W), and a name and a unit for each of C channels",
            )
        if v.dtype not in _FRAME_DTYPES:
            raise FormatError(f"frame is {v.dtype}", expected=" or ".join(_FRAME_DTYPES))
        low, high = self.value_range
        if not -np.inf < low <= high < np.inf:
            raise FormatError(
                f"frame has the value range {low:g} to {high:g}", expected="low to high, finite"
            )
        if v.dtype.kind == "f" and not _surely_finite(v):
            bad = [int(np.count_nonzero(~np.isfinite(plane))) for plane in v]
            if any(bad):
                where = ", ".join(f"{n} of {name}" for name, n in zip(names, bad, strict=True) if n)
                raise FormatError(f"frame has values that are not finite: {where}", expected="finite numbers")


def _surely_finite(values: np.ndarray) -> bool:
    """True only when all values are finite; false where the sum of finite values overflows too.

    A sum passes on every NaN and infinity, and is five times as fast as a look at each value.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum(dtype=np.float32)))
