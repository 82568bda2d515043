"""Which of two view numbers counts the rows of views: seen from the pictures.

Shape letters: U V views, H rows, W columns.
"""

from __future__ import annotations

import warnings

import numpy as np

from armseg_core.errors import ArmsegWarning
from armseg_core.sensors.light_field.disparity import mismatch

# Rows or columns: 21 simulated scenes and a Lytro picture have 3 to 4 times the deviation in the wrong order.
_ORDER_SIDE, _ORDER_REACH = 96, 2  # pixels per side and view steps from the center that are compared
_CLEARLY = 0.5
_LEAST_MISMATCH = 1 / 255  # a step of 8 bits: views that differ by less say nothing


def counts_columns(array: np.ndarray, limit: float) -> bool:
    """Whether the views (U, V, H, W, colors) fit together much better with rows and columns exchanged; said.

    Five views of a cross are compared, in the part of the picture that has most contrast.
    """
    center, (h, w) = array.shape[0] // 2, array.shape[2:4]
    reach = min(_ORDER_REACH, array.shape[0] - 1 - center)
    if reach < 1:
        return False
    tops, lefts = (sorted({0, max(0, n - _ORDER_SIDE) // 2, max(0, n - _ORDER_SIDE)}) for n in (h, w))
    parts = [(slice(y, y + _ORDER_SIDE), slice(x, x + _ORDER_SIDE)) for y in tops for x in lefts]
    rows, columns = max(parts, key=lambda part: float(array[center, center, *part].std()))
    offsets = np.array([(0, 0), (0, reach), (0, -reach), (reach, 0), (-reach, 0)])
    views = [array[center + u, center + v, rows, columns, :3].mean(-1, np.float32) for u, v in offsets]
    gray = np.stack(views) / np.float32(np.iinfo(array.dtype).max)
    as_rows, as_columns = (mismatch(gray, order, limit) for order in (offsets, offsets[:, ::-1]))
    swapped = as_rows > _LEAST_MISMATCH and as_columns < _CLEARLY * as_rows
    if swapped:
        text = (
            f"the views fit together as columns, not rows (deviation {as_columns:.3f} against {as_rows:.3f})"
        )
        warnings.warn(ArmsegWarning(f"{text}: taken so; --grid-order rows says otherwise"), stacklevel=3)
    return swapped
