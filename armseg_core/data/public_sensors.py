"""Model tensors from the derived files some public data sets ship instead of recordings.

Shape letters: B time bins, H rows, W columns.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from armseg_core.data.images import read_bytes, read_rgb, to_unit
from armseg_core.errors import FormatError
from armseg_core.modalities import get_modality
from armseg_core.resizing import resize_model_tensor
from armseg_core.tensorfile import SensorTensor, TensorInfo

BINS = 5


def model_sensor(modality: str, frame: np.ndarray, size: tuple[int, int], source: str) -> SensorTensor:
    """A model tensor (C, H, W) as a SensorTensor of one frame at `size`."""
    row = get_modality(modality)
    info = TensorInfo(modality, row.representation, row.channels, ("1",) * row.num_channels, row.value_range,
                      {"approximation": source})
    resized = resize_model_tensor(frame.astype(np.float32), row, size)
    return SensorTensor(resized[None], np.zeros(1, np.int64), info)


def aolp_pair_tensor(root: Path, sample_id: str, cut_columns: int, size: tuple[int, int]) -> SensorTensor:
    """MCubeS: (s0, DoLP, sin 2A, cos 2A) from `polL_dolp`, `polL_aolp_sin` and `polL_aolp_cos`.

    s0 is the luma of `polL_color`.

    The arrays hold the sine and cosine of the angle A by the data set's README; some users read them as those
    of 2A. A in [0, 180) or (-90, 90] degrees leaves sine or cosine without negative values; where both have
    them in more than 1 % of the pixels the arrays are taken as those of 2A. Not verified on real files.
    """
    dolp, sine, cosine = (read_npy(root / folder / f"{sample_id}.npy", (2,))[:, cut_columns:]
                          for folder in ("polL_dolp", "polL_aolp_sin", "polL_aolp_cos"))
    if min((sine < -1e-3).mean(), (cosine < -1e-3).mean()) <= 0.01:
        sine, cosine = 2 * sine * cosine, cosine**2 - sine**2
    image = to_unit(read_rgb(root / "polL_color" / f"{sample_id}.png"))[..., cut_columns:]
    s0 = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), image, 1)
    if not s0.shape == dolp.shape == sine.shape == cosine.shape:
        raise FormatError(f"DoLP is {dolp.shape} and the image {s0.shape}", expected="the same size",
                          where=root / "polL_dolp" / f"{sample_id}.npy")
    frame = np.stack([s0, np.clip(dolp, 0, 1), sine, cosine])
    return model_sensor("polarization", frame, size, "DoLP and AoLP")


def hha_depth_tensor(path: Path, size: tuple[int, int]) -> SensorTensor:
    """HHA image -> (depth m, valid, inverse depth 1/m).

    Its first channel is 31000 / depth in cm (Gupta ECCV 2014). 8 bits: the step is 0.08 m at 5 m and 0.3 m at
    10 m, and everything below 1.22 m is 1.22 m.
    """
    disparity = read_rgb(path)[..., 0].astype(np.float32)
    valid = disparity > 0
    depth = np.where(valid, 310 / np.maximum(disparity, 1), 0)
    return model_sensor("depth", np.stack([depth, valid, disparity / 310]), size, "HHA")


def event_moments_tensor(path: Path, size: tuple[int, int]) -> SensorTensor:
    """Ev-SegNet's 6 channels (H, W, 6) -> approximate signed voxel grid with DSEC normalisation.

    Channels: count of positive and of negative events, then mean and standard deviation of the positive
    events' normalised times, then those of the negative ones (order as in Ev-SegNet's own viewer). The n
    events of a pixel are placed half at mean - std and half at mean + std, which keeps count, mean and
    variance. The smallest count of a channel is taken as "no event", and a negative mean as times in [-1, 1]:
    not verified on real files.
    """
    array = read_npy(path, (3,))
    if array.shape[2] < 6:
        array = np.moveaxis(array, 0, 2)
    if array.shape[2] != 6:
        raise FormatError(f"the event array is {array.shape}", where=path, expected="(H, W, 6)")
    grid = np.zeros((BINS, *array.shape[:2]), np.float32)
    for sign, first, mean, deviation in ((1, 0, 2, 3), (-1, 1, 4, 5)):
        count, time, spread = array[..., first], array[..., mean], array[..., deviation]
        count = count - count.min()
        if time.min() < 0:
            time, spread = (time + 1) / 2, spread / 2
        for place in (time - spread, time + spread):
            position = np.clip(place, 0, 1) * (BINS - 1)
            for index in range(BINS):
                grid[index] += sign * count / 2 * np.maximum(0, 1 - np.abs(index - position))
    return model_sensor("event", normalize(grid), size, "Ev-SegNet moments")


def event_picture_tensor(path: Path, size: tuple[int, int]) -> SensorTensor:
    """An 8-bit rendering of events -> the same signed frame in every bin, with DSEC normalisation.

    Red minus blue is the sign. CARLA paints one polarity red and the other blue; which is which was not
    verified. The times of the events are lost, so all bins are equal.
    """
    image = to_unit(read_rgb(path))
    frame = np.repeat((image[0] - image[2])[None], BINS, 0)
    return model_sensor("event", normalize(frame), size, "event picture")


def normalize(grid: np.ndarray) -> np.ndarray:
    """Zero mean and unit (unbiased) deviation over the non-zero cells, as DSEC does; zeros stay zero."""
    cells = grid != 0
    if cells.sum() < 2:
        return grid
    values = grid[cells]
    deviation = values.std(ddof=1)
    out = np.zeros_like(grid)
    out[cells] = (values - values.mean()) / (deviation if deviation > 0 else 1)
    return out


def read_npy(path: Path, dimensions: tuple[int, ...]) -> np.ndarray:
    """A numeric .npy as float32.

    Raises:
        InputError: missing or unreadable. FormatError: not such an array (pickles are refused).
    """
    try:
        array = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise FormatError("not a readable .npy array", where=path) from error
    if array.dtype.kind not in "fiub" or array.ndim not in dimensions:
        raise FormatError(f"the array is {array.dtype} {array.shape}", where=path,
                          expected=f"numbers with {' or '.join(map(str, dimensions))} dimensions")
    return array.astype(np.float32)
