"""One picture per sensor: the model tensor of a modality -> RGB.

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from armseg_core.errors import FormatError
from armseg_core.sensors.modalities import get_modality
from armseg_core.visualization.canvas import blank, draw_text
from armseg_core.visualization.colors import (
    INK,
    NEGATIVE,
    POSITIVE,
    apply_color_map,
    hsv_to_rgb,
    robust_range,
)

DEPTH_MAP = LIDAR_MAP = "viridis_r"
DISPARITY_MAP, THERMAL_MAP, DOLP_MAP = "viridis", "inferno", "magma"


def event_limit(signed: np.ndarray) -> float:
    """Magnitude drawn in full color: the 98th percentile of the non-zero ones, 1 when there is none."""
    magnitude = np.abs(signed[np.isfinite(signed) & (signed != 0)])
    return float(np.percentile(magnitude, 98)) if magnitude.size else 1.0


def render_signed(signed: np.ndarray, limit: float | None = None) -> np.ndarray:
    """(H, W) signed event mass -> (H, W, 3): positive red, negative blue, none white; the color of a weak
    value starts at a quarter of full strength so that single events can be seen."""
    signed = np.nan_to_num(np.asarray(signed, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    strength = np.abs(signed) / (limit or event_limit(signed))
    strength = np.where(signed == 0, 0.0, 0.25 + 0.75 * np.clip(strength, 0, 1))[..., None]
    full = np.where(signed[..., None] > 0, np.asarray(POSITIVE, np.float64), np.asarray(NEGATIVE, np.float64))
    return np.rint(255 + (full - 255) * strength).astype(np.uint8)


def render_polarities(negative: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """(H, W) counts of darker and brighter events -> (H, W, 3): red where only brighter, blue where only
    darker, dark where both, white where none. Counts are drawn logarithmically."""
    strength = []
    for counts in (negative, positive):
        mass = np.log1p(np.clip(np.nan_to_num(np.asarray(counts, np.float64), posinf=0.0), 0, None))
        strength.append(np.where(mass > 0, 0.25 + 0.75 * np.clip(mass / event_limit(mass), 0, 1), 0.0))
    minus, plus = (s[..., None] for s in strength)
    ink = plus * (255 - np.asarray(POSITIVE, np.float64)) + minus * (255 - np.asarray(NEGATIVE, np.float64))
    return np.rint(np.clip(255 - ink, 0, 255)).astype(np.uint8)


def depth_range(meters: np.ndarray, valid: np.ndarray) -> tuple[float, float]:
    """Display range of metric depth in meters (0 < low < high), for a logarithmic scale."""
    low, high = robust_range(meters, valid & (meters > 0), percent=0.5)
    low = max(low, 1e-3)
    return low, max(high, low * 1.05)


def render_depth(meters: np.ndarray, valid: np.ndarray, name: str = DEPTH_MAP) -> np.ndarray:
    """(H, W) meters and validity -> (H, W, 3): near is bright yellow, far dark blue, invalid INVALID gray."""
    low, high = depth_range(meters, valid)
    return apply_color_map(meters, low, high, name, log=True, valid=valid & (meters > 0))


def dolp_limit(dolp: np.ndarray) -> float:
    """Degree of polarization drawn in full saturation: its 99th percentile, at least 0.05, at most 1."""
    return float(np.clip(robust_range(dolp, percent=1)[1], 0.05, 1.0))


def render_s0(s0: np.ndarray) -> np.ndarray:
    """(H, W) linear intensity -> (H, W) display value in [0, 1]: 99.5 % white, gamma 2.2."""
    s0 = np.nan_to_num(np.asarray(s0, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
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
    canvas = np.rint(disc * edge + blank(*distance.shape) * (1 - edge)).astype(np.uint8)
    cy, cx = pad + r, pad + 12 + r
    for angle in (0, 45, 90, 135, 180):
        a = np.deg2rad(angle)
        draw_text(canvas, cx + (r + 17) * np.cos(a), cy - (r + 12) * np.sin(a), f"{angle}°", 12, INK, "mm")
    draw_text(canvas, cx, cy + r + 5, f"DoLP 0 to {limit:.2f}", 12, INK, "mt")
    return canvas


def _rgb(frame: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(np.nan_to_num(frame), 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


def _event(frame: np.ndarray) -> np.ndarray:
    return render_signed(np.nan_to_num(frame, posinf=0.0, neginf=0.0).sum(0, dtype=np.float64))


def _thermal(frame: np.ndarray) -> np.ndarray:
    return apply_color_map(frame[0], *robust_range(frame[0], percent=0.5), THERMAL_MAP)


def _depth(frame: np.ndarray) -> np.ndarray:
    return render_depth(frame[0], frame[1] > 0.5)


def _lidar(frame: np.ndarray) -> np.ndarray:
    return render_depth(frame[0], frame[2] > 0.5, LIDAR_MAP)


def _polarization(frame: np.ndarray) -> np.ndarray:
    s0, dolp, sin2, cos2 = frame
    angle = 0.5 * np.arctan2(np.nan_to_num(sin2), np.nan_to_num(cos2))
    return render_aolp(angle, dolp, render_s0(s0), dolp_limit(dolp))


def _light_field(frame: np.ndarray) -> np.ndarray:
    return apply_color_map(frame[0], *robust_range(frame[0]), DISPARITY_MAP)


_RENDERERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rgb": _rgb,
    "event": _event,
    "thermal": _thermal,
    "depth": _depth,
    "lidar": _lidar,
    "polarization": _polarization,
    "light_field": _light_field,
}


def render_channel(channel: np.ndarray) -> np.ndarray:
    """Any (H, W) numbers -> (H, W, 3), cividis over their own range; not finite = invalid."""
    return apply_color_map(channel, *robust_range(channel), "cividis")


def render_model_tensor(frame: np.ndarray, modality: str) -> np.ndarray:
    """The model tensor of a sensor as one RGB picture.

    Events: red brighter, blue darker, on white. Depth and LiDAR: bright near, dark far (logarithmic), gray
    where there is no measurement. Thermal: inferno. Polarization: hue = AoLP, saturation = DoLP, value = S0.
    Light field: disparity. A modality without a renderer of its own shows its first channel.

    Args:
        frame: (C, H, W) float with the channels of `MODALITIES[modality]`, in that order.

    Returns:
        (H, W, 3) uint8.

    Raises:
        FormatError: the frame does not have those channels.
    """
    row = get_modality(modality)
    frame = np.asarray(frame)
    if frame.ndim != 3 or len(frame) != row.num_channels:
        raise FormatError(
            f"a {row.title} frame has shape {frame.shape}", expected=f"({row.num_channels}, H, W)"
        )
    frame = frame.astype(np.float32)  # float16 files overflow in sums
    renderer = _RENDERERS.get(row.name)
    return renderer(frame) if renderer else render_channel(frame[0])
