"""Light field -> frames: view stacks, epipolar images, macro-pixels, focal stacks, disparity.

Shape letters: U V views (rows, columns), H rows, W columns, N kept views.
"""

from __future__ import annotations

import re

import numpy as np

from armseg_core.arrays import Frame, LightField
from armseg_core.errors import FormatError
from armseg_core.resizing import resize_picture
from armseg_core.sensors.light_field.disparity import estimate_disparity
from armseg_core.sensors.light_field.options import LightFieldOptions
from armseg_core.sensors.representation import Representation

MODEL_CHANNELS = ("disparity", "confidence", "view_std")
# views per side used for disparity (UrbanLF and HCI have 9): finer grids are thinned, which costs no baseline
_MAX_SIDE = 9
_NAME = re.compile(r"u(\d+)v(\d+)([rgb])")


def chosen_views(grid: tuple[int, int], which: str) -> list[tuple[int, int]]:
    """(u, v) of the views kept, row by row.

    which: all | row (u = U//2) | column (v = V//2) | cross (both) | star (cross and the diagonals through the
        center: the four directions of EPINet, Shin et al., CVPR 2018) | center.
    """
    u_center, v_center = grid[0] // 2, grid[1] // 2

    def keep(du: int, dv: int) -> bool:
        return {
            "all": True,
            "row": du == 0,
            "column": dv == 0,
            "cross": du == 0 or dv == 0,
            "star": du == 0 or dv == 0 or abs(du) == abs(dv),
            "center": du == dv == 0,
        }[which]

    return [(u, v) for u in range(grid[0]) for v in range(grid[1]) if keep(u - u_center, v - v_center)]


def views(field: LightField, options: LightFieldOptions) -> Frame:
    """View stack (3N, H, W), uint8 or uint16 as recorded, channels u{u}v{v}r, g, b of each kept view."""
    array = _resized(field, options)
    kept = chosen_views(array.shape[:2], options.views)
    frame = np.concatenate([np.moveaxis(array[u, v], -1, 0) for u, v in kept])
    return Frame(frame, _names(kept), ("counts",) * len(frame), _range(array))


def epi(field: LightField, options: LightFieldOptions) -> Frame:
    """Every horizontal and vertical epipolar plane image: (3V + 3U, H, W).

    The first 3V planes are the views of the central row, so that frame[0:3V:3, y, :] is the horizontal
    EPI (V, W) of row y in red; the last 3U those of the central column: frame[3V::3, :, x] is the
    vertical EPI (U, H) of column x. (Bolles, Baker & Marimont, IJCV 1987.)
    """
    array = _resized(field, options)
    kept = chosen_views(array.shape[:2], "row") + chosen_views(array.shape[:2], "column")
    frame = np.concatenate([np.moveaxis(array[u, v], -1, 0) for u, v in kept])
    split = 3 * array.shape[1]
    names = tuple(
        f"{'horizontal' if i < split else 'vertical'}_{name}" for i, name in enumerate(_names(kept))
    )
    return Frame(frame, names, ("counts",) * len(frame), _range(array))


def macropixel(field: LightField, options: LightFieldOptions) -> Frame:
    """(3, H U, W V), the picture of a lenslet camera: pixel (y U + u, x V + v) is (y, x) of view (u, v)."""
    array = _resized(field, options)
    u, v, h, w, _ = array.shape
    frame = np.ascontiguousarray(array.transpose(4, 2, 0, 3, 1).reshape(3, h * u, w * v))
    return Frame(frame, ("red", "green", "blue"), ("counts",) * 3, _range(array))


def focal_stack(field: LightField, options: LightFieldOptions) -> Frame:
    """Shift and sum (Ng et al. 2005): (3 planes, H, W) float32 in [0, 1], d from -range to +range.

    A plane is the mean of all views, each sampled at (x - d dv, y - d du): points of disparity d are sharp.
    """
    import cv2

    array = _resized(field, options)
    rows, columns, h, w, _ = array.shape
    scale = np.float32(1 / np.iinfo(array.dtype).max)
    disparities = np.linspace(-options.disparity_range, options.disparity_range, options.planes)
    frame = np.zeros((len(disparities), h, w, 3), np.float32)
    for plane, disparity in zip(frame, disparities, strict=True):
        for u in range(rows):
            for v in range(columns):
                move = np.array(
                    [[1, 0, disparity * (v - columns // 2)], [0, 1, disparity * (u - rows // 2)]], np.float32
                )
                plane += cv2.warpAffine(
                    array[u, v].astype(np.float32),
                    move,
                    (w, h),
                    flags=cv2.INTER_LINEAR,
                    borderMode=cv2.BORDER_REPLICATE,
                )
    frame *= scale / (rows * columns)
    names = tuple(f"focus{d:+.2f}px_{c}" for d in disparities for c in "rgb")
    stack = np.ascontiguousarray(np.moveaxis(frame, -1, 1)).reshape(-1, h, w)
    return Frame(stack, names, ("fraction of full scale",) * len(names), (0.0, 1.0))


def disparity(field: LightField, options: LightFieldOptions) -> Frame:
    """(disparity px per view step, confidence, view_std), see `disparity.estimate_disparity`."""
    array = _resized(field, options)
    kept = chosen_views(array.shape[:2], options.views)
    stack = np.concatenate([np.moveaxis(array[u, v], -1, 0) for u, v in kept])
    frame = model_tensor(stack, _names(kept), options.disparity_range)
    return Frame(frame, MODEL_CHANNELS, ("px per view step", "1", "fraction of full scale"), (-4.0, 4.0))


def model_tensor(frame: np.ndarray, channels: tuple[str, ...], limit: float = 3.0) -> np.ndarray:
    """The model tensor of a view stack: (disparity, confidence, view_std), float32 (3, H, W).

    Args:
        frame: (3N, H, W) views as `views` stores them (uint8, uint16, or float32 of either or of [0,
            1]), or a frame that is the model tensor already.
        channels: their names, u{u}v{v}r, g, b; (u, v) of the center is the middle of the u and of the v
            present.
        limit: largest |disparity| searched, pixels per view step.

    Raises:
        FormatError: the channels are not views.
    """
    if tuple(channels) == MODEL_CHANNELS:
        return frame.astype(np.float32, copy=False)
    matches = [_NAME.fullmatch(name) for name in channels]
    if not matches or len(matches) % 3 or not all(matches) or len(matches) != len(frame):
        raise FormatError(
            f"channels {', '.join(channels[:4])}, ... are not a stack of views",
            expected="u{u}v{v}r, u{u}v{v}g, u{u}v{v}b of each view",
            hint="convert again with --representation views",
        )
    grid = np.array([(int(m[1]), int(m[2])) for m in matches[::3] if m])
    offsets = grid - [_middle(grid[:, 0]), _middle(grid[:, 1])]
    steps = [max(1, int(np.ceil((np.ptp(offsets[:, axis]) + 1) / _MAX_SIDE))) for axis in (0, 1)]
    used = np.flatnonzero((offsets % steps == 0).all(axis=1))
    planes = frame.reshape(-1, 3, *frame.shape[1:])[used]
    gray = planes[:, 0].astype(np.float32)
    gray += planes[:, 1]
    gray += planes[:, 2]
    gray *= np.float32(1 / (3 * _full_scale(frame)))
    return np.stack(estimate_disparity(gray, offsets[used], limit))


def _middle(values: np.ndarray) -> int:
    """Center index of the view numbers present; U // 2 of a whole grid."""
    present = np.unique(values)
    return int(present[len(present) // 2])


def _full_scale(frame: np.ndarray) -> float:
    if frame.dtype.kind == "u":
        return float(np.iinfo(frame.dtype).max)
    top = float(frame.max(initial=0))
    return 1.0 if top <= 1 else 255.0 if top <= 255 else 65535.0


def _names(kept: list[tuple[int, int]]) -> tuple[str, ...]:
    return tuple(f"u{u}v{v}{c}" for u, v in kept for c in "rgb")


def _range(array: np.ndarray) -> tuple[float, float]:
    return 0.0, float(np.iinfo(array.dtype).max)


def _resized(field: LightField, options: LightFieldOptions) -> np.ndarray:
    """Views at `options.size`: averaged over the covered area when they shrink, bilinear when they grow.

    Disparity measured on them is in pixels of that size.
    """
    array = field.views
    if options.size is None or array.shape[2:4] == options.size:
        return array
    return np.array([[resize_picture(view, options.size) for view in row] for row in array])


LIGHT_FIELD_REPRESENTATIONS: tuple[Representation, ...] = (
    Representation(
        "views",
        "light_field",
        "stack of sub-aperture views",
        "Levoy & Hanrahan, SIGGRAPH 1996",
        views,
    ),
    Representation(
        "disparity",
        "light_field",
        "disparity, confidence and deviation over the views",
        "plane sweep with Gauss-Newton refinement (see representations/disparity.py)",
        disparity,
    ),
    Representation(
        "epi",
        "light_field",
        "horizontal and vertical epipolar plane images",
        "Bolles, Baker & Marimont, IJCV 1987",
        epi,
    ),
    Representation(
        "macropixel", "light_field", "macro-pixel picture of a lenslet camera", "Ng et al., 2005", macropixel
    ),
    Representation(
        "focal_stack", "light_field", "refocused pictures by shift and sum", "Ng et al., 2005", focal_stack
    ),
)
