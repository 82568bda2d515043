"""Random changes to a whole Sample, so that image, label and every sensor stay registered.

What a change means for a sensor:

- Zoom and crop resample values by the sensor's rule (`resizing.py`) and do not change them. A zoom is
  a longer focal length at the same place: depth in meters stays, and so does light-field disparity, whose
  unit is the pixel of the recorded views and not of the resampled grid.
- A horizontal flip shows the mirrored scene as the same camera would record it. An angle of polarization
  A becomes -A, so the channels in `modality.flip_negates` (sin 2A) change sign. Events keep polarity and
  time, so a voxel grid only mirrors. The view axis of a light field mirrors together with the image, so
  disparity keeps its sign.
- Photometric changes touch the RGB image alone: what the sensors measure does not depend on the RGB
  camera.

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armseg_core.data.sample import Sample
from armseg_core.errors import UsageError
from armseg_core.resizing import resize_image, resize_model_tensor, resize_nearest
from armseg_core.sensors.modalities import get_modality

# luma weights of ITU-R BT.601, for saturation
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Augment:
    """Random zoom, crop, flip and color for training. `augment(sample, rng)` depends on its arguments only.

    crop: (H, W) of the result, whatever the size of the sample.
    scale: the sample is zoomed by a factor from this range (log-uniform) before the crop; where it is then
        smaller than the crop it is padded: label with ignore_index, image and sensors with 0.
    hflip: mirror every second sample, by chance.
    photometric: change brightness, contrast, saturation, gamma and noise of the RGB image.
    ignore_index: label of padded pixels.
    """

    crop: tuple[int, int]
    scale: tuple[float, float] = (0.75, 1.5)
    hflip: bool = True
    photometric: bool = True
    ignore_index: int = 255

    def __post_init__(self) -> None:
        if min(self.crop) < 1:
            raise UsageError(f"crop is {self.crop}", expected="at least 1x1")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UsageError(f"scale is {self.scale}", expected="0 < low <= high")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample = random_crop(sample, self.crop, self.scale, rng, self.ignore_index)
        if self.hflip and rng.random() < 0.5:
            sample = flip(sample)
        rgb = jitter(sample.rgb, rng) if self.photometric else sample.rgb
        return Sample(sample.id, rgb, sample.label, sample.sensors)


def flip(sample: Sample) -> Sample:
    """The sample mirrored left to right, as the same cameras would see the mirrored scene."""
    label = None if sample.label is None else np.ascontiguousarray(sample.label[:, ::-1])
    return Sample(
        sample.id,
        np.ascontiguousarray(sample.rgb[:, :, ::-1]),
        label,
        {name: flip_tensor(tensor, name) for name, tensor in sample.sensors.items()},
    )


def flip_tensor(tensor: np.ndarray, modality: str) -> np.ndarray:
    """A model tensor (C, H, W) mirrored left to right, angle channels negated."""
    row = get_modality(modality)
    out = np.ascontiguousarray(tensor[:, :, ::-1])
    for index, name in enumerate(row.channels):
        if name in row.flip_negates:
            out[index] = -out[index]
    return out


def random_crop(
    sample: Sample,
    crop: tuple[int, int],
    scale: tuple[float, float],
    rng: np.random.Generator,
    ignore_index: int = 255,
) -> Sample:
    """Zoom by a random factor and cut out `crop` at a random place, padding where the sample is too small.

    The box is cut at the sample's own resolution and then resampled, the same for image, label and sensors.
    """
    factor = float(np.exp(rng.uniform(np.log(scale[0]), np.log(scale[1]))))
    box = tuple(min(have, max(1, round(want / factor))) for have, want in zip(sample.size, crop, strict=True))
    inside = tuple(
        want if have * factor >= want else max(1, min(want, round(have * factor)))
        for have, want in zip(sample.size, crop, strict=True)
    )
    top, left = (int(rng.integers(0, have - part + 1)) for have, part in zip(sample.size, box, strict=True))
    pad = tuple(int(rng.integers(0, want - part + 1)) for want, part in zip(crop, inside, strict=True))

    def place(array: np.ndarray, fill: float) -> np.ndarray:
        if inside == crop:
            return np.ascontiguousarray(array)
        out = np.full((*array.shape[:-2], *crop), fill, array.dtype)
        out[..., pad[0] : pad[0] + inside[0], pad[1] : pad[1] + inside[1]] = array
        return out

    window = (..., slice(top, top + box[0]), slice(left, left + box[1]))
    target = (inside[0], inside[1])
    label = sample.label
    if label is not None:
        label = place(resize_nearest(label[window], target), ignore_index)
    return Sample(
        sample.id,
        place(resize_image(sample.rgb[window], target), 0.0),
        label,
        {
            name: place(resize_model_tensor(tensor[window], get_modality(name), target), 0.0)
            for name, tensor in sample.sensors.items()
        },
    )


def jitter(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random gamma, brightness, contrast, saturation and noise of an image (3, H, W) in [0, 1]."""
    gamma, gain, contrast, saturation = np.exp(rng.uniform(-0.3, 0.3, 4)).astype(np.float32)
    sigma, seed = float(rng.uniform(0, 0.02)), int(rng.integers(2**31))
    image = gain * np.power(rgb, gamma)
    mean = image.mean(dtype=np.float32)
    image = mean + contrast * (image - mean)
    gray = np.tensordot(_LUMA, image, 1)
    image = gray + saturation * (image - gray)
    image += sigma * _noise(image.shape, seed)
    changed: np.ndarray = np.clip(image, 0, 1).astype(np.float32, copy=False)
    return changed


def _noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Unit Gaussian noise, float32. Its own generator keeps the caller's stream independent of the size."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)
