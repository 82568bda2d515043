"""The panels of a figure: what is drawn of a frame of each sensor and representation.

The functions that take (frame, info) give a list of panels. Frames are float32 (C, H, W), except
that `pictures` and `views` take the dtype of the file.

Shape letters: C channels, H rows, W columns, U V views.
"""

from __future__ import annotations

import re

import cv2
import numpy as np

from armseg_core.files.tensor_file import TensorInfo
from armseg_core.visualization.canvas import Panel
from armseg_core.visualization.colors import apply_color_map, robust_range
from armseg_core.visualization.sensors import (
    DEPTH_MAP,
    DISPARITY_MAP,
    DOLP_MAP,
    LIDAR_MAP,
    THERMAL_MAP,
    depth_range,
    dolp_limit,
    event_limit,
    hue_wheel,
    render_aolp,
    render_model_tensor,
    render_polarities,
    render_s0,
    render_signed,
)

MAX_CHANNELS = 24
_UNITS = {
    "1": "",
    "degree Celsius": "°C",
    "standard deviations": "std",
    "intensity": "",
    "fraction of range": "",
    "fraction of full scale": "",
}


def unit_of(info: TensorInfo, channel: int = 0) -> str:
    """The unit of a channel as it is written over a color bar ("" for plain numbers)."""
    unit = info.units[channel] if channel < len(info.units) else ""
    return _UNITS.get(unit, unit)


def mapped(values: np.ndarray, name: str, unit: str, caption: str, percent: float = 0.5) -> Panel:
    """Numbers through a color map, with a bar over their own range."""
    low, high = robust_range(values, percent=percent)
    return Panel(apply_color_map(values, low, high, name), caption, (name, low, high, unit, False))


def signed(values: np.ndarray, caption: str, unit: str, limit: float | None = None) -> Panel:
    """Signed event mass: red, white, blue, with a bar."""
    limit = limit or event_limit(values)
    return Panel(render_signed(values, limit), caption, ("events", -limit, limit, unit, False))


# -- events


def voxel_grid(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Signed event channels: their sum, then each bin."""
    unit, bins = unit_of(info), len(frame)
    caption = f"sum of {bins} bins" if bins > 1 else info.channels[0]
    panels = [signed(frame.sum(0), f"{caption}: red brighter, blue darker", unit)]
    if 1 < bins <= 11:
        limit = event_limit(frame)
        panels += [signed(*each, unit, limit) for each in zip(frame, info.channels, strict=True)]
    return panels


def polarity_of(name: str) -> int:
    """+1, -1 or 0 from a channel name such as 'pos0', 'neg', 'count_pos'."""
    if re.search(r"pos|brighter|\bon\b", name.lower()):
        return 1
    return -1 if re.search(r"neg|darker|\boff\b", name.lower()) else 0


def counts(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Counts of each polarity: darker against brighter summed over time, then each channel."""
    polarity = np.array([polarity_of(name) for name in info.channels])
    negative, positive = frame[polarity < 0].sum(0), frame[polarity > 0].sum(0)
    merged = render_polarities(negative, positive)
    return [Panel(merged, "red brighter, blue darker, dark both (log scale)"), *channels(frame, info)]


# -- thermal, depth, LiDAR


def thermal(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """One channel, inferno."""
    caption = info.channels[0].replace("_", " ")
    if info.units[:1] == ("fraction of range",):
        caption += ", relative to the range of the frame"
    return [mapped(frame[0], THERMAL_MAP, unit_of(info), caption)]


def depth(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Metric depth on a logarithmic scale, and inverse depth."""
    meters, valid = frame[0], frame[1] > 0.5
    low, high = depth_range(meters, valid)
    note = f"{100 * (1 - valid.mean()):.1f}% without measurement (gray)"
    return [
        Panel(render_model_tensor(frame, "depth"), "depth", (DEPTH_MAP, low, high, "m", True), note=note),
        inverse_depth(np.where(valid, frame[2:], 0), info)[0],
    ]


def inverse_depth(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Inverse depth; 0 is invalid."""
    return [mapped(np.where(frame[0] > 0, frame[0], np.nan), "viridis", "1/m", "inverse depth", percent=1.0)]


def lidar(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Projected depth and intensity; sparse points are drawn larger."""
    meters, valid = frame[0], frame[2] > 0.5
    low, high = depth_range(meters, valid)
    picture = render_model_tensor(frame, "lidar")
    strength = mapped(np.where(valid, frame[1], np.nan), "inferno", "", "intensity")
    note = f"{int(valid.sum())} pixels hit ({100 * valid.mean():.1f}%)"
    brightness = strength.picture
    if valid.mean() < 0.3 and valid.shape[1] >= 240:
        picture, brightness = (_grow_points(p, meters, valid) for p in (picture, brightness))
        note += ", drawn 3x3"
    return [
        Panel(picture, "depth", (LIDAR_MAP, low, high, "m", True), note=note),
        Panel(brightness, strength.caption, strength.bar),
    ]


def _grow_points(picture: np.ndarray, meters: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Each LiDAR point drawn 3x3 (the nearest wins), so that sparse points can be seen."""
    far = np.where(valid, meters, np.inf).astype(np.float32)
    padded, (h, w) = np.pad(far, 1, constant_values=np.inf), far.shape
    shifts = [(dy, dx) for dy in (0, 1, 2) for dx in (0, 1, 2)]
    nearest = np.argmin([padded[dy : dy + h, dx : dx + w] for dy, dx in shifts], axis=0)
    dy, dx = np.array(shifts).T[:, nearest]
    y, x = np.clip(np.mgrid[0:h, 0:w] + np.stack([dy, dx]) - 1, 0, np.array([h - 1, w - 1])[:, None, None])
    return np.where(valid[..., None], picture, picture[y, x])


# -- polarization


def polarization(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """The hue picture, the angle alone with its wheel, intensity and degree."""
    s0, dolp, sin2, cos2 = np.nan_to_num(frame)
    angle, limit, value = 0.5 * np.arctan2(sin2, cos2), dolp_limit(dolp), render_s0(s0)
    gray = np.rint(value * 255).astype(np.uint8)[..., None].repeat(3, -1)
    return [
        Panel(render_aolp(angle, dolp, value, limit), "hue AoLP, saturation DoLP, value S0"),
        *_angle_and_degree(angle, dolp, limit),
        Panel(gray, "S0 (intensity, gamma 2.2)"),
    ]


def aolp_dolp(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """AoLP in radians and DoLP."""
    angle, dolp = np.nan_to_num(frame[:2])
    return _angle_and_degree(angle, dolp, dolp_limit(dolp))


def _angle_and_degree(angle: np.ndarray, dolp: np.ndarray, limit: float) -> list[Panel]:
    wheel = hue_wheel(110, limit)
    return [
        Panel(render_aolp(angle, dolp, 1.0, limit), "hue AoLP, saturation DoLP", side=wheel),
        Panel(apply_color_map(dolp, 0.0, limit, DOLP_MAP), "DoLP", (DOLP_MAP, 0.0, limit, "", False)),
    ]


# -- light field and pictures


def light_field(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Disparity, confidence and deviation."""
    return [
        mapped(frame[0], DISPARITY_MAP, "px/view", "disparity", percent=1.0),
        mapped(frame[1], "cividis", "", "confidence"),
        mapped(frame[2], "cividis", "", "standard deviation over the views"),
    ]


def view_names(channels: tuple[str, ...]) -> list[tuple[int, int]] | None:
    """[(u, v), ...] when the channels are light-field views (u0v0r, u0v0g, u0v0b, u0v1r, ...), else None."""
    found = [re.fullmatch(r"u(\d+)v(\d+)[rgb]", name) for name in channels]
    if picture_names(channels) is None or not all(found):
        return None
    return [(int(m[1]), int(m[2])) for m in found[::3] if m]


def picture_names(channels: tuple[str, ...]) -> list[str] | None:
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
    return np.rint(scaled * 255).astype(np.uint8).transpose(1, 2, 0)


def views(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """A contact sheet of the views, and the middle one."""
    places = view_names(info.channels) or []
    middle = len(places) // 2
    u, v = places[middle]
    center = to_uint8(frame[3 * middle : 3 * middle + 3], info.value_range)
    if len(places) == 1:
        return [Panel(center, f"view u{u} v{v}")]
    sheet = contact_sheet(frame, places, info.value_range)
    return [Panel(sheet, f"{len(places)} views: u down, v to the right"), Panel(center, f"view u{u} v{v}")]


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
    size = (cell, max(1, round(h * cell / w)))
    way = cv2.INTER_AREA if cell < w else cv2.INTER_NEAREST
    sheet = np.full((len(rows) * (size[1] + 4) - 4, len(columns) * (cell + 4) - 4, 3), 255, np.uint8)
    for i, (u, v) in enumerate(places):
        picture = to_uint8(frame[3 * i : 3 * i + 3], value_range)
        y, x = rows.index(u) * (size[1] + 4), columns.index(v) * (cell + 4)
        sheet[y : y + size[1], x : x + cell] = cv2.resize(picture, size, interpolation=way)
    return sheet


def pictures(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Channels that come in threes of red, green and blue: a picture of each three."""
    names = picture_names(info.channels) or [""]
    return [
        Panel(to_uint8(frame[3 * i : 3 * i + 3], info.value_range), name)
        for i, name in enumerate(names[:MAX_CHANNELS])
    ]


def epi(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Epipolar plane images of the middle row and column, every view drawn thick, beside the middle view."""
    names = picture_names(info.channels) or []
    shown = [to_uint8(frame[3 * i : 3 * i + 3], info.value_range) for i in range(len(names))]
    across = [p for p, name in zip(shown, names, strict=True) if name.startswith("horizontal")]
    down = [p for p, name in zip(shown, names, strict=True) if name.startswith("vertical")]
    if not across or not down:
        return pictures(frame, info)
    h, w = frame.shape[1:]
    row = np.stack([p[h // 2] for p in across]).repeat(8, axis=0)
    column = np.stack([p[:, w // 2] for p in down], axis=1).repeat(-(-w // len(down)), axis=1)
    return [
        Panel(across[len(across) // 2], "middle view"),
        Panel(row, f"row {h // 2}, views from top to bottom"),
        Panel(column, f"column {w // 2}, views from left to right"),
    ]


def three_as_colors(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Three channels that make an image together (HHA, normals): the image, then the channels."""
    caption = ", ".join(info.channels) + " as red, green, blue"
    return [Panel(to_uint8(frame, info.value_range), caption), *channels(frame, info)]


# -- everything else


def channels(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Each channel with its own color bar; event channels that can be negative are red and blue."""
    name = {"event": "magma", "polarization": "gray"}.get(info.modality, "cividis")
    panels = []
    for i, (plane, channel) in enumerate(zip(frame[:MAX_CHANNELS], info.channels, strict=False)):
        both = info.modality == "event" and (info.value_range[0] < 0 or plane.min() < 0)
        panels.append(
            signed(plane, channel, unit_of(info, i))
            if both
            else mapped(plane, name, unit_of(info, i), channel)
        )
    return panels
