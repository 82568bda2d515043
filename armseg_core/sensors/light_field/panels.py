"""Light fields as pictures and panels."""

from __future__ import annotations

import re

import numpy as np

from armseg_core.files.tensor_file import TensorInfo
from armseg_core.visualization.canvas import Panel
from armseg_core.visualization.colors import apply_color_map, robust_range
from armseg_core.visualization.panels import contact_sheet, mapped, picture_names, to_uint8

DISPARITY_MAP = "viridis"


def panels(frame: np.ndarray, info: TensorInfo) -> list[Panel] | None:
    """Of view stacks, epipolar plane images and disparity."""
    places = view_names(info.channels)
    if places:
        return views(frame, places, info.value_range)
    if info.representation == "epi" and picture_names(info.channels):
        return epi(frame, info)
    if info.channels == ("disparity", "confidence", "view_std"):
        return disparity(frame.astype(np.float32))
    return None


def picture(frame: np.ndarray) -> np.ndarray:
    """The model tensor (3, H, W) as RGB: disparity."""
    return apply_color_map(frame[0], *robust_range(frame[0]), DISPARITY_MAP)


def disparity(frame: np.ndarray) -> list[Panel]:
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


def views(frame: np.ndarray, places: list[tuple[int, int]], value_range: tuple[float, float]) -> list[Panel]:
    """A contact sheet of the views, and the middle one."""
    middle = len(places) // 2
    u, v = places[middle]
    center = to_uint8(frame[3 * middle : 3 * middle + 3], value_range)
    if len(places) == 1:
        return [Panel(center, f"view u{u} v{v}")]
    sheet = contact_sheet(frame, places, value_range)
    return [Panel(sheet, f"{len(places)} views: u down, v to the right"), Panel(center, f"view u{u} v{v}")]


def epi(frame: np.ndarray, info: TensorInfo) -> list[Panel] | None:
    """Epipolar plane images of the middle row and column, every view drawn thick, beside the middle view."""
    names = picture_names(info.channels) or []
    shown = [to_uint8(frame[3 * i : 3 * i + 3], info.value_range) for i in range(len(names))]
    across = [p for p, name in zip(shown, names, strict=True) if name.startswith("horizontal")]
    down = [p for p, name in zip(shown, names, strict=True) if name.startswith("vertical")]
    if not across or not down:
        return None
    h, w = frame.shape[1:]
    row = np.stack([p[h // 2] for p in across]).repeat(8, axis=0)
    column = np.stack([p[:, w // 2] for p in down], axis=1).repeat(-(-w // len(down)), axis=1)
    return [
        Panel(across[len(across) // 2], "middle view"),
        Panel(row, f"row {h // 2}, views from top to bottom"),
        Panel(column, f"column {w // 2}, views from left to right"),
    ]
