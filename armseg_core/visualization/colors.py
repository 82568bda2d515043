"""Color maps and palettes: numbers -> RGB.

Shape letters: H rows, W columns, K classes. Every picture is (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

import functools

import numpy as np

# Free choices, unless a source is named.
INVALID = (64, 64, 64)  # a pixel that holds no measurement: a gray that no color map but "gray" has
POSITIVE, NEGATIVE = (214, 24, 31), (26, 78, 196)  # events: brighter, darker
INK, FAINT, FRAME, PAPER = (28, 28, 32), (120, 120, 128), (200, 200, 206), (255, 255, 255)

_CV2_MAPS = ("viridis", "inferno", "magma", "cividis")
_STOPS = {
    "gray": ((0, 0, 0), (255, 255, 255)),
    # four of ColorBrewer's Blues (Brewer, Harrower)
    "blues": ((255, 255, 255), (158, 202, 225), (33, 113, 181), (8, 48, 107)),
    "events": (NEGATIVE, (255, 255, 255), POSITIVE),  # signed: darker, nothing, brighter
}
COLOR_MAPS: tuple[str, ...] = (*_CV2_MAPS, *(f"{name}_r" for name in _CV2_MAPS), *_STOPS)


@functools.cache
def color_table(name: str) -> np.ndarray:
    """(256, 3) uint8 RGB table of one of COLOR_MAPS; a name ending in '_r' is the reversed map."""
    if name.endswith("_r"):
        table = color_table(name[:-2])[::-1].copy()
    elif name in _CV2_MAPS:
        import cv2

        number = getattr(cv2, f"COLORMAP_{name.upper()}")
        table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], number)[:, 0, ::-1].copy()
    else:
        stops = np.asarray(_STOPS[name], np.float64)
        at = np.linspace(0, len(stops) - 1, 256)
        table = np.stack([np.interp(at, np.arange(len(stops)), stops[:, c]) for c in range(3)], -1).round()
        table = table.astype(np.uint8)
    table.setflags(write=False)  # it is cached
    return table


def robust_range(
    values: np.ndarray, keep: np.ndarray | None = None, percent: float = 1.0
) -> tuple[float, float]:
    """Display range (low, high), low < high: percentiles `percent` and 100 - `percent` of the finite values.

    keep: bool mask of the values that count. (0, 1) when none does; (v, v + 1) when all are the same.
    """
    finite = np.isfinite(values)
    known = np.asarray(values, np.float64)[finite if keep is None else finite & keep]
    if not known.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(known, (percent, 100 - percent)))
    # beside a large value the ticks of a range of 1 would read alike
    return (low, high) if high > low else (low, low + max(1.0, abs(low) * 1e-3))


def apply_color_map(
    values: np.ndarray,
    low: float,
    high: float,
    name: str,
    *,
    log: bool = False,
    valid: np.ndarray | None = None,
) -> np.ndarray:
    """Color a map of numbers.

    Args:
        values: (H, W) numbers; what is not finite is drawn as invalid.
        low, high: values of the first and last color (0 < low when log).
        name: one of COLOR_MAPS.
        log: equal ratios, not equal differences, get equal color steps.
        valid: (H, W) bool; False is drawn as invalid (INVALID gray).

    Returns:
        (H, W, 3) uint8.
    """
    x = np.asarray(values, np.float64)
    good = np.isfinite(x) if valid is None else np.isfinite(x) & valid
    x = np.clip(np.where(good, x, low), low, high)
    if log:
        x, low, high = np.log(x), float(np.log(low)), float(np.log(high))
    index = np.rint((x - low) / (high - low) * 255).astype(np.uint8)
    picture = color_table(name)[index]
    picture[~good] = INVALID
    return picture


def hsv_to_rgb(hue_deg: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """(H, W) hue in degrees (any), saturation and value in [0, 1] -> (H, W, 3) uint8 RGB."""
    import cv2

    hsv = np.stack(np.broadcast_arrays(np.mod(hue_deg, 360.0), saturation, value), -1).astype(np.float32)
    return np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


# the first 14 are colors of Cityscapes' classes, which many know; the others fill gaps between them
_DISTINCT = (
    (128, 64, 128),
    (220, 20, 60),
    (70, 130, 180),
    (107, 142, 35),
    (250, 170, 30),
    (0, 0, 142),
    (153, 153, 153),
    (244, 35, 232),
    (152, 251, 152),
    (119, 11, 32),
    (70, 70, 70),
    (0, 80, 100),
    (220, 220, 0),
    (102, 102, 156),
    (0, 191, 165),
    (255, 112, 67),
    (203, 163, 227),
    (121, 85, 72),
    (174, 234, 255),
    (63, 81, 181),
)


def distinct_palette(count: int) -> np.ndarray:
    """(count, 3) uint8 colors that differ visibly, none of them black, white or the ignore color.

    The first ones never change with `count`.
    """
    if count <= len(_DISTINCT):
        return np.asarray(_DISTINCT[:count], np.uint8).reshape(-1, 3)
    extra = np.arange(count - len(_DISTINCT))
    # the golden angle, 360 (1 - 1 / 1.618...), keeps neighbors apart; the two levels of saturation and value
    # (free choices) part those whose hues come close
    hue = np.mod(extra * 137.508, 360.0)[None]
    more = hsv_to_rgb(hue, np.where(extra % 2, 0.9, 0.55)[None], np.where(extra % 3, 0.9, 0.6)[None])[0]
    return np.concatenate([np.asarray(_DISTINCT, np.uint8), more])
