"""Validated sensor data in memory: what readers return and representations take. Numpy only.

Every class checks its own shapes, dtypes and ranges on construction, so a function that takes one of them
need not. None of the arrays is ever written to by armseg.

Shape letters: N events / points, U V views, H rows, W columns, C color channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from armseg_core.errors import FormatError


def _check(condition: bool, what: str, expected: str) -> None:
    if not condition:
        raise FormatError(what, expected=expected)


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
            and (self.t.dtype, self.p.dtype) == (np.int64, np.uint8)
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


@runtime_checkable
class EventSource(Protocol):
    """A recording of events that is read piece by piece: the contract of every event reader.

    Opening is cheap (no event is decoded before it is asked for, except for formats without any index),
    memory is bounded by what one call returns, and times are absolute int64 microseconds (`t_offset` already
    added). Use as a context manager.
    """

    size: tuple[int, int]  # (H, W) of the sensor
    t_first_us: int  # time of the first event
    t_last_us: int  # time of the last event
    count: int  # number of events in the recording
    notes: list[str]  # what was guessed, dropped or repaired while reading, for the user

    def read_time(self, t0_us: int, t1_us: int) -> Events:
        """Events with t0_us <= t < t1_us."""
        ...

    def read_index(self, i0: int, i1: int) -> Events:
        """Events number i0 (included) to i1 (excluded)."""
        ...

    def index_at(self, t_us: int) -> int:
        """Number of events with t < t_us."""
        ...

    def chunks(self, max_events: int) -> Iterator[Events]:
        """The whole recording in pieces of at most max_events."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> EventSource: ...

    def __exit__(self, *exc: object) -> None: ...


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
    """views: (U, V, H, W, 3) uint8 or uint16 RGB; u counts rows of views (down), v columns (right); odd or
    even grids; the center view is (U // 2, V // 2)."""

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
    """values: (H, W) float32. unit: 'counts' (raw, bit_depth says how many bits) or 'celsius'."""

    values: np.ndarray
    unit: str
    bit_depth: int = 16

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
        _check(
            self.valid.shape == self.meters.shape and self.valid.dtype == bool,
            f"validity mask is {self.valid.dtype} {self.valid.shape}",
            f"bool {self.meters.shape}",
        )


@dataclass(frozen=True)
class HhaImage:
    """Depth already encoded as HHA (Gupta et al., ECCV 2014). values: (3, H, W) uint8: 31000 / depth in cm,
    height above the ground in cm, angle between surface normal and gravity in degrees + 38. All 0 where
    unknown."""

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
    """Camera model for projecting points: intrinsics K (3, 3), lidar_to_camera (4, 4) rigid, image size (H,
    W).

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
    """points: (N, 3) float32 meters in the LiDAR frame. intensity: (N,) float32 in [0, 1] (zeros when
    absent).
    calibration: where the camera stands; None when none was found (then the cloud cannot be projected)."""

    points: np.ndarray
    intensity: np.ndarray
    calibration: Calibration | None = None

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
    """True only when all values are finite: a sum passes on every NaN and infinity, and is five times as
    fast as a look at each value. False where the sum of finite values overflows too."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum(dtype=np.float32)))
