"""Panels that any sensor may use: numbers through a color map, distances, channels as pictures.

Everything takes arrays and names; which panels a sensor has is said in its own folder.

Shape letters: C channels, H rows, W columns, N pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from armseg_core.resizing import resize_nearest, resize_picture
from armseg_core.visualization.canvas import Panel
from armseg_core.visualization.colors import apply_color_map, robust_range

MAX_CHANNELS = 24  # drawn of one frame; a free choice: six rows of four
_UNITS = {
    "1": "",
    "degree Celsius": "°C",
    "standard deviations": "std",
    "intensity": "",
    "fraction of range": "",
    "fraction of full scale": "",
}


def unit_text(units: Sequence[str], channel: int = 0) -> str:
    """The unit of a channel as it is written over a color bar ("" for plain numbers)."""
    unit = units[channel] if channel < len(units) else ""
    return _UNITS.get(unit, unit)


def mapped(values: np.ndarray, name: str, unit: str, caption: str, percent: float = 0.5) -> Panel:
    """Numbers through a color map, with a bar over their own range."""
    low, high = robust_range(values, percent=percent)
    return Panel(apply_color_map(values, low, high, name), caption, (name, low, high, unit, False))


def render_channel(channel: np.ndarray) -> np.ndarray:
    """Any (H, W) numbers -> (H, W, 3), cividis over their own range; not finite = invalid."""
    return apply_color_map(channel, *robust_range(channel), "cividis")


def channels(
    frame: np.ndarray, names: Sequence[str], units: Sequence[str] = (), color_map: str = "cividis"
) -> list[Panel]:
    """The first MAX_CHANNELS channels, each with its own color bar."""
    return [
        mapped(plane, color_map, unit_text(units, i), name)
        for i, (plane, name) in enumerate(zip(frame[:MAX_CHANNELS], names, strict=False))
    ]


def distance_range(meters: np.ndarray, valid: np.ndarray) -> tuple[float, float]:
    """Display range of metric depth in meters (0 < low < high), for a logarithmic scale."""
    low, high = robust_range(meters, valid & (meters > 0), percent=0.5)
    low = max(low, 1e-3)  # a logarithm needs more than 0; no sensor measures 1 mm
    return low, max(high, low * 1.05)  # a wall of one distance still needs a scale


def render_distance(meters: np.ndarray, valid: np.ndarray, name: str) -> np.ndarray:
    """(H, W) meters and validity -> (H, W, 3): near is bright yellow, far dark blue, invalid INVALID gray."""
    low, high = distance_range(meters, valid)
    return apply_color_map(meters, low, high, name, log=True, valid=valid & (meters > 0))


def picture_names(channels: Sequence[str]) -> list[str] | None:
    """Names of the pictures when the channels come in threes named ...r, ...g, ...b, else None."""
    if not channels or len(channels) % 3:
        return None
    stems = [name[:-1] for name in channels[::3]]
    if list(channels) != [stem + color for stem in stems for color in "rgb"]:
        return None
    return [stem.strip("_ ") or "picture" for stem in stems]


def to_uint8(values: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """(3, H, W) numbers of a value range -> (H, W, 3) uint8; an unusable range is replaced by the data's."""
    if values.dtype == np.uint8 and tuple(value_range) == (0, 255):
        return np.ascontiguousarray(values.transpose(1, 2, 0))
    values = values.astype(np.float32)
    low, high = value_range
    if not (np.isfinite([low, high]).all() and low < high):
        low, high = robust_range(values)
    scaled = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1)
    levels: np.ndarray = np.rint(scaled * 255)
    return levels.astype(np.uint8).transpose(1, 2, 0)


def pictures(frame: np.ndarray, names: Sequence[str], value_range: tuple[float, float]) -> list[Panel] | None:
    """A picture of each three channels that are red, green and blue; None when the channels are not such.

    Args:
        frame: (3N, H, W) of any dtype. names: of its channels, `picture_names` or red, green, blue.
    """
    titles = [""] if tuple(names) == ("red", "green", "blue") else picture_names(names)
    if titles is None:
        return None
    return [
        Panel(to_uint8(frame[3 * i : 3 * i + 3], value_range), title)
        for i, title in enumerate(titles[:MAX_CHANNELS])
    ]


def contact_sheet(
    frame: np.ndarray,
    places: list[tuple[int, int]],
    value_range: tuple[float, float] = (0, 255),
    width: int = 960,
) -> np.ndarray:
    """(3N, H, W) views -> one picture, view (u, v) in row u and column v, about `width` pixels wide."""
    rows, columns = (sorted({place[i] for place in places}) for i in (0, 1))
    h, w = frame.shape[1:]
    cell = max(24, min(w * 4, (width - 4 * (len(columns) - 1)) // len(columns)))
    size = (max(1, round(h * cell / w)), cell)
    sheet = np.full((len(rows) * (size[0] + 4) - 4, len(columns) * (cell + 4) - 4, 3), 255, np.uint8)
    for i, (u, v) in enumerate(places):
        planes = frame[3 * i : 3 * i + 3]
        picture = to_uint8(planes if cell < w else resize_nearest(planes, size), value_range)
        y, x = rows.index(u) * (size[0] + 4), columns.index(v) * (cell + 4)
        sheet[y : y + size[0], x : x + cell] = resize_picture(picture, size)
    return sheet
