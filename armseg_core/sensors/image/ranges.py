"""What speaks against a declared range: found where all pictures of a data set are read."""

from __future__ import annotations

import numpy as np

_LITTLE = 0.02  # of the range; 12 bits in a range of 16 fill 6 %, meters in a range of millimeters 0.1 %


def out_of_range(tensor: np.ndarray, channels: tuple[str, ...], declared: tuple[float, ...]) -> list[str]:
    """What speaks against the declared range of a picture, by channel, in words.

    Args:
        tensor: (C, H, W), scaled by the range; more channels than names do not count. channels: names.
        declared: option `range`, low and high for all channels or for each.
    """
    found = []
    pairs = [f"{low:g} to {high:g}" for low, high in zip(declared[::2], declared[1::2], strict=True)]
    for i, name in enumerate(channels):
        plane, pair = tensor[i], pairs[i if len(pairs) > 1 else 0]
        if plane.min() >= 1:
            found.append(f"all of {name} is above the declared range {pair}")
        elif plane.max() <= 0:
            found.append(f"all of {name} is below the declared range {pair}, or without a value")
        elif np.mean(plane >= 1) > 0.5:
            found.append(f"more than half of {name} is above the declared range {pair}")
        elif np.ptp(plane) < _LITTLE:
            found.append(f"all of {name} lies in {_LITTLE:.0%} of the declared range {pair}")
    return found
