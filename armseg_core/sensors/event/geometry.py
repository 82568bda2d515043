"""What a recording may leave open about its camera: resolution, undistortion, polarity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from armseg_core.errors import FormatError, InputError, UsageError
from armseg_core.files.hdf5 import open_hdf5, refuse_unstored
from armseg_core.sensors.event.options import EventOptions

MAX_SIDE = 65535  # coordinates are kept as uint16


@dataclass(frozen=True)
class Geometry:
    """Where the pixels of a sensor are.

    size: sensor (H, W). rectify: (H, W, 2) float32 undistorted (x, y) of each pixel, or None.
    notes: key -> what was assumed, for the user.
    """

    size: tuple[int, int]
    rectify: np.ndarray | None = None
    notes: dict[str, str] = field(default_factory=dict)


def rectify_map_beside(path: Path, options: EventOptions) -> tuple[Path, ...]:
    """The map beside a DSEC recording, where coordinates are undistorted and no option names another.

    It need not exist.
    """
    return (path.parent / "rectify_map.h5",) if options.rectify and options.rectify_map is None else ()


def find_geometry(
    path: Path,
    options: EventOptions,
    *,
    stored: tuple[int, int] | None = None,
    usual: tuple[int, int] | None = None,
    reach: Callable[[], tuple[int, int]] | None = None,
    sibling: bool = False,
) -> Geometry:
    """Sensor size and rectify map of a recording.

    Args:
        stored: (H, W) that the file itself states. usual: (H, W) of the camera of this format, used with a
            note. reach: gives the smallest (H, W) that holds all events, for the advice.
        sibling: also look for `rectify_map.h5` beside the recording.

    Raises:
        UsageError: nobody says how large the sensor is. FormatError: the map is for another sensor.
    """
    notes: dict[str, str] = {}
    place = options.rectify_map if options.rectify else None
    if sibling:
        place = next((file for file in rectify_map_beside(path, options) if file.is_file()), place)
    table = None if place is None else read_rectify_map(place)
    size = options.sensor_size or stored or (None if table is None else (table.shape[0], table.shape[1]))
    if size is None and usual is not None:
        size = usual
        notes["size"] = (
            f"the file does not say its resolution; taken as {size[1]}x{size[0]} (--sensor-size to change)"
        )
    if size is None:
        least = None if reach is None else reach()
        what = "" if least is None else f"; its events reach {least[1]}x{least[0]}"
        raise UsageError(
            f"the recording does not say the resolution of its sensor{what}",
            where=path,
            hint="--sensor-size WIDTHxHEIGHT, such as --sensor-size "
            + ("640x480" if least is None else f"{least[1]}x{least[0]}"),
        )
    if min(size) < 1 or max(size) > MAX_SIDE:
        raise FormatError(
            f"a sensor of {size[1]}x{size[0]}", where=path, expected=f"sides of 1 to {MAX_SIDE}"
        )
    if table is not None:
        if table.shape[:2] != size:
            raise FormatError(
                f"the map is for {table.shape[1]}x{table.shape[0]}",
                where=place,
                expected=f"the sensor's {size[1]}x{size[0]}",
                hint="--no-rectify, or the map of this camera with --rectify-map",
            )
        notes["rectify"] = f"coordinates are undistorted by {place}"
    return Geometry(size, table, notes)


def read_rectify_map(path: Path) -> np.ndarray:
    """DSEC rectify_map.h5 -> (H, W, 2) float32: the undistorted (x, y) of the event at [y, x].

    Raises:
        InputError: no such file. FormatError: it holds no such map.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", where=path)
    try:
        with open_hdf5(path) as file:
            data = file.get("rectify_map")
            if not hasattr(data, "dtype"):  # absent, or a group
                raise FormatError(
                    "holds no rectify map", where=path, expected="a data set rectify_map of (H, W, 2)"
                )
            if data.ndim != 3 or data.shape[2] != 2 or data.dtype.kind != "f":
                raise FormatError(
                    f"rectify_map is {data.dtype} {data.shape}",
                    where=path,
                    expected="floats of shape (H, W, 2)",
                )
            refuse_unstored(path, "rectify_map", data)
            return np.ascontiguousarray(data[:], np.float32)
    except (OSError, RuntimeError, KeyError) as error:
        raise FormatError("the map cannot be read (damaged file?)", where=path) from error


def needs_polarity(path: Path, present: bool, options: EventOptions) -> None:
    """Raise UsageError for a recording without polarity, unless that was allowed."""
    if not present and not options.polarity_missing:
        raise UsageError(
            "the recording has no polarity",
            where=path,
            expected="a column p",
            hint="--polarity-missing to count every event as positive",
        )
