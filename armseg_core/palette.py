"""Colors of classes, as label pictures store them and drawings show them."""

from __future__ import annotations

from typing import Any

import numpy as np

from armseg_core.errors import UsageError

IGNORE = (224, 224, 192)  # color of a pixel that holds no label (the cream of PASCAL VOC)


def checked_palette(palette: Any) -> np.ndarray:
    """A palette as (K, 3) uint8, K from 1 to 256. Raises UsageError for anything else."""
    colors = np.asarray(palette)
    if colors.ndim != 2 or colors.shape[1] != 3 or not 1 <= len(colors) <= 256:
        raise UsageError(f"the palette has shape {colors.shape}", expected="(K, 3) with K from 1 to 256")
    if colors.dtype.kind not in "iu" or colors.min() < 0 or colors.max() > 255:
        raise UsageError(
            "the palette holds values that are not colors", expected="whole numbers from 0 to 255"
        )
    return colors.astype(np.uint8)
