"""A frame of a sensor-tensor file as a figure: title, panels, colour bars with units.

The channels decide what is drawn: the model tensor of a sensor gets the figure of that sensor, the other
representations get theirs by name, and everything else a grid of its channels.

Shape letters: C channels, H rows, W columns, U V views.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import cv2
import numpy as np

from armseg_core.errors import FormatError, UsageError
from armseg_core.modalities import MODALITIES
from armseg_core.tensorfile import TensorFile, TensorInfo
from armseg_core.visualization.canvas import Panel, figure
from armseg_core.visualization.colours import apply_colour_map, robust_range
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
Bar = tuple[str, float, float, str, bool]


def _bar(values: np.ndarray, name: str, unit: str, percent: float = 0.5) -> Bar:
    low, high = robust_range(values, percent=percent)
    return name, low, high, unit, False


def _mapped(values: np.ndarray, name: str, unit: str, caption: str, percent: float = 0.5) -> Panel:
    bar = _bar(values, name, unit, percent)
    return Panel(apply_colour_map(values, bar[1], bar[2], name), caption, bar)


def _signed(values: np.ndarray, caption: str, unit: str, limit: float | None = None) -> Panel:
    limit = limit or event_limit(values)
    return Panel(render_signed(values, limit), caption, ("events", -limit, limit, unit, False))


def _unit(unit: str) -> str:
    return "" if unit in ("1", "-", "none", "unitless", "normalised", "normalized") else unit


def _voxel_panels(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Signed event channels: their sum, then each bin."""
    unit, bins = _unit(info.units[0]), len(frame)
    caption = f"sum of {bins} bins" if bins > 1 else info.channels[0]
    panels = [_signed(frame.sum(0), f"{caption}: red brighter, blue darker", unit)]
    if 1 < bins <= 11:
        limit = event_limit(frame)
        panels += [_signed(*each, unit, limit) for each in zip(frame, info.channels, strict=True)]
    return panels


def _count_panels(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Counts with a polarity in the channel name: darker against brighter, summed over time."""
    plus = np.array([_polarity(name) > 0 for name in info.channels])
    minus = np.array([_polarity(name) < 0 for name in info.channels])
    negative, positive = frame[minus].sum(0), frame[plus].sum(0)
    merged = Panel(render_polarities(negative, positive), "red brighter, blue darker, dark both (log scale)")
    if len(frame) > 2:
        return [merged, *_channel_panels(frame, info)]
    unit = _unit(info.units[0])
    return [merged, _mapped(negative, "magma", unit, "darker"), _mapped(positive, "magma", unit, "brighter")]


def _polarity(name: str) -> int:
    """+1, -1 or 0 from a channel name such as 'positive', 'neg3', 'count_pos'."""
    if re.search(r"pos|brighter|\bon\b", name.lower()):
        return 1
    return -1 if re.search(r"neg|darker|\boff\b", name.lower()) else 0


def _thermal_panels(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    return [_mapped(frame[0], THERMAL_MAP, _unit(info.units[0]), info.channels[0].replace("_", " "))]


def _depth_panels(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    metres, valid = frame[0], frame[1] > 0.5
    low, high = depth_range(metres, valid)
    note = f"{100 * (1 - valid.mean()):.1f}% without measurement (grey)"
    picture = render_model_tensor(frame, "depth")
    inverse = np.where(valid, frame[2], np.nan)
    return [Panel(picture, "depth", (DEPTH_MAP, low, high, "m", True), note=note),
            _mapped(inverse, "viridis", "1/m", "inverse depth", percent=1.0)]


def _grow_points(picture: np.ndarray, metres: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Each LiDAR point drawn 3x3 (the nearest wins), so that sparse points can be seen."""
    far = np.where(valid, metres, np.inf).astype(np.float32)
    padded, (h, w) = np.pad(far, 1, constant_values=np.inf), far.shape
    shifts = [(dy, dx) for dy in (0, 1, 2) for dx in (0, 1, 2)]
    nearest = np.argmin([padded[dy:dy + h, dx:dx + w] for dy, dx in shifts], axis=0)
    dy, dx = np.array(shifts).T[:, nearest]
    y, x = np.clip(np.mgrid[0:h, 0:w] + np.stack([dy, dx]) - 1, 0, np.array([h - 1, w - 1])[:, None, None])
    return np.where(valid[..., None], picture, picture[y, x])


def _lidar_panels(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    metres, valid = frame[0], frame[2] > 0.5
    low, high = depth_range(metres, valid)
    depth = render_model_tensor(frame, "lidar")
    intensity = np.where(valid, frame[1], np.nan)
    bar = _bar(intensity, "inferno", "")
    strength = apply_colour_map(intensity, bar[1], bar[2], "inferno")
    note = f"{int(valid.sum())} pixels hit ({100 * valid.mean():.1f}%)"
    if valid.mean() < 0.3 and valid.shape[1] >= 240:
        depth, strength = (_grow_points(p, metres, valid) for p in (depth, strength))
        note += ", drawn 3x3"
    return [Panel(depth, "depth", (LIDAR_MAP, low, high, "m", True), note=note),
            Panel(strength, "intensity", bar)]


def _polarization_panels(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    s0, dolp, sin2, cos2 = np.nan_to_num(frame)
    angle, limit = 0.5 * np.arctan2(sin2, cos2), dolp_limit(dolp)
    gray = np.rint(render_s0(s0) * 255).astype(np.uint8)[..., None].repeat(3, -1)
    return [
        Panel(render_aolp(angle, dolp, render_s0(s0), limit), "hue AoLP, saturation DoLP, value S0"),
        Panel(render_aolp(angle, dolp, 1.0, limit), "hue AoLP, saturation DoLP", side=hue_wheel(110, limit)),
        Panel(gray, "S0 (intensity, gamma 2.2)"),
        Panel(apply_colour_map(dolp, 0.0, limit, DOLP_MAP), "DoLP", (DOLP_MAP, 0.0, limit, "", False)),
    ]


def _light_field_panels(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    return [_mapped(frame[0], DISPARITY_MAP, "px/view", "disparity", percent=1.0),
            _mapped(frame[1], "cividis", "", "confidence"),
            _mapped(frame[2], "cividis", "", "standard deviation over the views")]


_MODEL_TENSORS: dict[str, Callable[[np.ndarray, TensorInfo], list[Panel]]] = {
    "event": _voxel_panels, "thermal": _thermal_panels, "depth": _depth_panels, "lidar": _lidar_panels,
    "polarization": _polarization_panels, "light_field": _light_field_panels,
}


def view_names(channels: tuple[str, ...]) -> list[tuple[int, int]] | None:
    """[(u, v), ...] when the channels are light-field views (u0v0r, u0v0g, u0v0b, u0v1r, ...), else None."""
    found = [re.fullmatch(r"u(\d+)v(\d+)([rgb])", name) for name in channels]
    if not found or len(found) % 3 or not all(found):
        return None
    if [m[3] for m in found if m] != list("rgb") * (len(found) // 3):
        return None
    return [(int(m[1]), int(m[2])) for m in found[::3] if m]


def contact_sheet(frame: np.ndarray, views: list[tuple[int, int]], width: int = 1280) -> np.ndarray:
    """(N*3, H, W) views -> one picture, view (u, v) in row u and column v, scaled to about `width` pixels."""
    rows, columns = (sorted({view[i] for view in views}) for i in (0, 1))
    h, w = frame.shape[1:]
    cell = max(24, min(w * 4, (width - 4 * (len(columns) - 1)) // len(columns)))
    size = (cell, max(1, round(h * cell / w)))
    way = cv2.INTER_AREA if cell < w else cv2.INTER_NEAREST
    sheet = np.full((len(rows) * (size[1] + 4) - 4, len(columns) * (cell + 4) - 4, 3), 255, np.uint8)
    for i, (u, v) in enumerate(views):
        picture = _to_uint8(frame[3 * i:3 * i + 3]).transpose(1, 2, 0)
        y, x = rows.index(u) * (size[1] + 4), columns.index(v) * (cell + 4)
        sheet[y:y + size[1], x:x + cell] = cv2.resize(np.ascontiguousarray(picture), size, interpolation=way)
    return sheet


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Image data of any dtype -> uint8: 16-bit by its high byte, float from [0, 1]."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)
    return np.rint(np.clip(np.nan_to_num(values.astype(np.float32)), 0, 1) * 255).astype(np.uint8)


def _view_panels(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    views = view_names(info.channels) or []
    u, v = views[len(views) // 2]
    centre = _to_uint8(frame[3 * (len(views) // 2):][:3]).transpose(1, 2, 0)
    sheet = contact_sheet(frame, views)
    return [Panel(sheet, f"{len(views)} views: u down, v to the right"), Panel(centre, f"view u{u} v{v}")]


def _channel_panels(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Each channel with its own colour bar; an event channel with both signs is red and blue."""
    name = "magma" if info.modality == "event" else "cividis"
    panels = []
    for plane, channel, unit in zip(frame[:MAX_CHANNELS], info.channels, info.units, strict=False):
        low, high = robust_range(plane, percent=0.5)
        signed = info.modality == "event" and low < 0 < high
        panels.append(_signed(plane, channel, _unit(unit)) if signed
                      else _mapped(plane, name, _unit(unit), channel))
    return panels


def _picture_panels(frame: np.ndarray, info: TensorInfo) -> list[Panel]:
    """Three channels that make an image of themselves (photo, HHA, normals): the image, then the channels."""
    low, high = info.value_range if _is_range(info.value_range) else robust_range(frame.astype(np.float32))
    image = _to_uint8((frame.astype(np.float32) - low) / (high - low)).transpose(1, 2, 0)
    together = Panel(image, ", ".join(info.channels) + " as red, green, blue")
    return [together] if info.modality == "rgb" else [together, *_channel_panels(frame, info)]


def _is_range(limits: tuple[float, float]) -> bool:
    """Whether a value range can be a display range."""
    return bool(np.isfinite(limits).all()) and limits[1] > limits[0]


def _choose(frame: np.ndarray, info: TensorInfo) -> Callable[[np.ndarray, TensorInfo], list[Panel]]:
    modality, channels, made = info.modality, info.channels, info.representation
    if view_names(channels):
        return _view_panels
    if modality in _MODEL_TENSORS and channels == MODALITIES[modality].channels:
        return _MODEL_TENSORS[modality]
    if modality == "event" and ("histogram" in made or "voxel" in made):
        polarities = {_polarity(name) for name in channels}
        return {(-1, 1): _count_panels, (0,): _voxel_panels}.get(tuple(sorted(polarities)), _channel_panels)
    if modality == "thermal" and len(channels) == 1:
        return _thermal_panels
    if len(channels) == 3 and (modality == "rgb" or made in ("hha", "normals")):
        return _picture_panels
    return _channel_panels


def describe(frame: np.ndarray, info: TensorInfo, t_us: int = 0, note: str = "") -> tuple[str, str]:
    """(title, subtitle) of a frame's figure."""
    title = MODALITIES[info.modality].title if info.modality in MODALITIES else info.modality
    title = f"{title[:1].upper()}{title[1:]}: {info.representation.replace('_', ' ')}"
    c, h, w = frame.shape
    parts = [f"{c} x {h} x {w} {frame.dtype}"]
    if t_us:
        parts.append(f"ends at t = {t_us / 1e6:.6f} s")
    if info.source_name:
        parts.append(f"from {info.source_name}")
    return title, " · ".join([*parts, *([note] if note else [])])


def render_frame(frame: np.ndarray, info: TensorInfo, t_us: int = 0, note: str = "") -> np.ndarray:
    """One frame of a sensor-tensor file as a figure.

    Args:
        frame: (C, H, W). info: of the file. t_us: end time of the frame, 0 for sensors without a clock.
        note: further text for the subtitle.

    Returns:
        (h, w, 3) uint8.

    Raises:
        FormatError: the frame does not have the channels of `info`, or has no pixels.
    """
    if frame.ndim != 3 or len(frame) != len(info.channels) or not frame.size:
        raise FormatError(f"the frame has shape {frame.shape}", expected=f"({len(info.channels)}, H, W)")
    make = _choose(frame, info)
    values = frame if make is _view_panels else frame.astype(np.float32)
    if info.modality == "event":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    title, subtitle = describe(frame, info, t_us, note)
    if make is _channel_panels and len(frame) > MAX_CHANNELS:
        subtitle += f" · the first {MAX_CHANNELS} channels"
    return figure(title, subtitle, make(values, info))


def render_tensor_file(path: str | os.PathLike[str], frame: int = -1) -> np.ndarray:
    """Frame number `frame` (negative: from the end) of a sensor-tensor file as a figure.

    Raises:
        InputError, FormatError: the file cannot be used.
        UsageError: it has no such frame.
    """
    with TensorFile(path) as file:
        count = len(file)
        if not -count <= frame < count:
            raise UsageError(f"no frame {frame}" if count else "holds no frames", where=file.path,
                             expected=f"0 to {count - 1}" if count else None)
        index = range(count)[frame]
        note = f"frame {index + 1} of {count}" if count > 1 else ""
        return render_frame(file.frame(index), file.info, int(file.t_us[index]), note)
