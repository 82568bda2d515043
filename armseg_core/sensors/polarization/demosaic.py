"""From a polarization mosaic to one picture per polarizer angle, in float, by masked bilinear interpolation.

A sample is spread with a kernel and divided by the spread of its sampling mask (normalized convolution),
so that samples keep their value exactly and borders need no special case. OpenCV's own Bayer conversion
rounds to integers and is not used.

Shape letters: H rows, W columns.
"""

from __future__ import annotations

import numpy as np

ANGLES = (0, 45, 90, 135)  # degrees, the order of the planes that leave this module
# bilinear weights for samples on every second row and column, and for the quincunx of a Bayer green
_LATTICE = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32)
_QUINCUNX = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32)


def split_cells(mosaic: np.ndarray, cell: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Angle -> (H/2, W/2) samples of a 2x2 cell, without interpolation.

    cell: angles of top left, top right, bottom left, bottom right.
    """
    return {angle: mosaic[i // 2 :: 2, i % 2 :: 2] for i, angle in enumerate(cell)}


def demosaic_polarizers(
    mosaic: np.ndarray, cell: tuple[int, ...], bayer: str = "none", *, half: bool = False
) -> np.ndarray:
    """(4, H, W) or, with a Bayer filter, (4, H, W, 3) float32 behind 0, 45, 90 and 135 degrees.

    mosaic: (H, W) float32, H and W even; with `bayer` (the order of the 2x2 blocks, such as "rggb")
    multiples of 4:
        the polarizers of one color stand together (quad-Bayer, Sony IMX250MYR), so that each angle
        alone is an ordinary Bayer mosaic of half the size.
    half: stop at (H/2, W/2): the angles are then half a pixel apart, but nothing is interpolated between
    them.
    """
    parts = split_cells(mosaic, cell)
    pictures = [parts[a] if bayer == "none" else demosaic_bayer(parts[a], bayer) for a in ANGLES]
    if half:
        return np.stack([np.ascontiguousarray(picture) for picture in pictures])
    return np.stack([_upsample(picture, cell.index(a)) for a, picture in zip(ANGLES, pictures, strict=True)])


def demosaic_bayer(mosaic: np.ndarray, bayer: str) -> np.ndarray:
    """(H, W) float32 Bayer mosaic -> (H, W, 3) RGB float32, bilinear. bayer: the 2x2 cell, row by row."""
    h, w = mosaic.shape
    color_of = np.array(["rgb".index(c) for c in bayer]).reshape(2, 2)
    colors = np.tile(color_of, (h // 2 + 1, w // 2 + 1))[:h, :w]
    planes = []
    for color in range(3):
        mask = (colors == color).astype(np.float32)
        planes.append(_normalized(mosaic * mask, mask, _QUINCUNX if color == 1 else _LATTICE))
    return np.stack(planes, axis=-1)


def _upsample(picture: np.ndarray, position: int) -> np.ndarray:
    """Bilinear from samples at one position (0 to 3) of every 2x2 cell to all pixels."""
    h, w = picture.shape[:2]
    full = np.zeros((2 * h, 2 * w, *picture.shape[2:]), np.float32)
    full[position // 2 :: 2, position % 2 :: 2] = picture
    mask = np.zeros((2 * h, 2 * w), np.float32)
    mask[position // 2 :: 2, position % 2 :: 2] = 1
    return _normalized(full, mask, _LATTICE)


def _normalized(samples: np.ndarray, mask: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    import cv2

    def spread(image: np.ndarray) -> np.ndarray:
        return cv2.filter2D(np.ascontiguousarray(image), cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT)

    weight = spread(mask)
    total = spread(samples)
    mean: np.ndarray = total / (weight if total.ndim == 2 else weight[..., None])
    return mean
