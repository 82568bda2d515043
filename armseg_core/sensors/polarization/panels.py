"""Polarization as pictures and panels: the angle is a hue."""

from __future__ import annotations

import numpy as np

from armseg_core.files.tensor_file import TensorInfo
from armseg_core.visualization.canvas import Panel, blank, draw_text
from armseg_core.visualization.colors import INK, apply_color_map, hsv_to_rgb, robust_range
from armseg_core.visualization.panels import channels, pictures

DOLP_MAP = "magma"


def panels(frame: np.ndarray, info: TensorInfo) -> list[Panel] | None:
    """Of (s0, dolp, sin 2A, cos 2A), of AoLP and DoLP, and of intensities."""
    if info.channels == ("s0", "dolp", "sin2aolp", "cos2aolp"):
        return stokes(frame.astype(np.float32))
    if (info.representation, len(frame)) == ("aolp_dolp", 3):
        return aolp_dolp(frame.astype(np.float32))
    found = pictures(frame, info.channels, info.value_range)
    return found or channels(frame.astype(np.float32), info.channels, info.units, "gray")


def picture(frame: np.ndarray) -> np.ndarray:
    """The model tensor (4, H, W) as RGB: hue = AoLP, saturation = DoLP, value = S0."""
    s0, dolp, sin2, cos2 = frame
    angle = 0.5 * np.arctan2(np.nan_to_num(sin2), np.nan_to_num(cos2))
    return render_aolp(angle, dolp, render_s0(s0), dolp_limit(dolp))


def stokes(frame: np.ndarray) -> list[Panel]:
    """The hue picture, the angle alone with its wheel, intensity and degree."""
    s0, dolp, sin2, cos2 = np.nan_to_num(frame)
    angle, limit, value = 0.5 * np.arctan2(sin2, cos2), dolp_limit(dolp), render_s0(s0)
    gray = np.rint(value * 255).astype(np.uint8)[..., None].repeat(3, -1)
    return [
        Panel(render_aolp(angle, dolp, value, limit), "hue AoLP, saturation DoLP, value S0"),
        *_angle_and_degree(angle, dolp, limit),
        Panel(gray, "S0 (intensity, gamma 2.2)"),
    ]


def aolp_dolp(frame: np.ndarray) -> list[Panel]:
    """AoLP in radians and DoLP."""
    angle, dolp = np.nan_to_num(frame[:2])
    return _angle_and_degree(angle, dolp, dolp_limit(dolp))


def _angle_and_degree(angle: np.ndarray, dolp: np.ndarray, limit: float) -> list[Panel]:
    wheel = hue_wheel(110, limit)
    return [
        Panel(render_aolp(angle, dolp, 1.0, limit), "hue AoLP, saturation DoLP", side=wheel),
        Panel(apply_color_map(dolp, 0.0, limit, DOLP_MAP), "DoLP", (DOLP_MAP, 0.0, limit, "", False)),
    ]


def dolp_limit(dolp: np.ndarray) -> float:
    """Degree of polarization drawn in full saturation: its 99th percentile, at least 0.05, at most 1.

    Below 0.05 (a free choice) the noise of an unpolarized scene would be drawn in full colors.
    """
    return float(np.clip(robust_range(dolp, percent=1)[1], 0.05, 1.0))


def render_s0(s0: np.ndarray) -> np.ndarray:
    """(H, W) linear intensity -> (H, W) display value in [0, 1]: 99.5 % white, gamma 2.2."""
    s0 = np.nan_to_num(np.asarray(s0, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    # 1e-9: a black picture is not divided by 0; highlights above 99.5 % (a free choice) are cut off
    top = max(float(np.percentile(s0, 99.5)), 1e-9) if s0.size else 1.0
    return np.clip(s0 / top, 0, 1) ** (1 / 2.2)


def render_aolp(
    angle_rad: np.ndarray, dolp: np.ndarray, value: np.ndarray | float = 1.0, limit: float = 1.0
) -> np.ndarray:
    """Angle of linear polarization as a hue wheel.

    Args:
        angle_rad: (H, W) AoLP in radians; hue = 2 * angle, so angles 180 degrees apart look the same.
        dolp: (H, W) degree of polarization, drawn as saturation; `limit` is full saturation.
        value: (H, W) brightness in [0, 1].
    """
    angle = np.nan_to_num(np.asarray(angle_rad, np.float64))
    saturation = np.clip(np.nan_to_num(np.asarray(dolp, np.float64)) / limit, 0, 1)
    return hsv_to_rgb(np.rad2deg(2 * angle), saturation, np.asarray(value, np.float64))


def hue_wheel(size: int = 120, limit: float = 1.0) -> np.ndarray:
    """Legend of `render_aolp`: direction = AoLP (or its opposite), distance from the center = DoLP."""
    pad, r = 26, size / 2
    side = size + 2 * pad
    y, x = np.mgrid[0:side, 0 : side + 24] - np.array([pad + r - 0.5, pad + 12 + r - 0.5])[:, None, None]
    distance = np.hypot(x, y)
    disc = render_aolp(np.arctan2(-y, x), distance / r)
    edge = np.clip(r - distance + 0.5, 0, 1)[..., None]
    canvas: np.ndarray = np.rint(disc * edge + blank(*distance.shape) * (1 - edge)).astype(np.uint8)
    cy, cx = pad + r, pad + 12 + r
    for angle in (0, 45, 90, 135, 180):
        a = np.deg2rad(angle)
        draw_text(canvas, cx + (r + 17) * np.cos(a), cy - (r + 12) * np.sin(a), f"{angle}°", 12, INK, "mm")
    draw_text(canvas, cx, cy + r + 5, f"DoLP 0 to {limit:.2f}", 12, INK, "mt")
    return canvas
