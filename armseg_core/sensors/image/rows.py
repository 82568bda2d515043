"""The rows of declared sensors, and the row IMAGE by which any picture is read outside a data set.

Shape letters: C channels, H rows, W columns.
"""

from __future__ import annotations

import functools

import numpy as np

from armseg_core.errors import FormatError
from armseg_core.resizing import resize_image
from armseg_core.sensors.image.declaration import KIND, VALID, Declaration
from armseg_core.sensors.image.options import ImageOptions
from armseg_core.sensors.image.readers import reader
from armseg_core.sensors.image.representations import representation, resize_valid
from armseg_core.sensors.modality import Modality

# how a noun phrase ends that needs no "image" behind it
_PICTURES = ("image", "picture", "photo", "map", "rendering")


def _unchanged(frame: np.ndarray, channels: tuple[str, ...]) -> np.ndarray:
    return frame.astype(np.float32, copy=False)


# of no data set: a picture is looked at or converted as one; it has the channels that the file has
IMAGE = Modality(
    name=KIND,
    title="picture of any bands",
    prompt="image",
    channels=(),
    value_range=(0.0, 1.0),
    representation=KIND,
    pseudo_rgb=(),
    options=ImageOptions,
    readers=(reader(KIND, "any", None),),
    representations=(representation(KIND),),
    fits_any_color=True,
    model_tensor=_unchanged,
    resize=resize_image,
)


@functools.cache
def declared_row(declaration: Declaration) -> Modality:
    """The row of a declared sensor; the same object for equal declarations."""
    names, words = declaration.channels, declaration.words
    weights = (*pseudo_rgb(len(names)), *([(0.0, 0.0, 0.0)] if declaration.validity else []))

    def model_tensor(frame: np.ndarray, channels: tuple[str, ...]) -> np.ndarray:
        if len(frame) != len(weights):
            has = f"the frame has {len(frame)} channels: {', '.join(channels[:8])}"
            raise FormatError(has, expected=f"{len(weights)}, as declared for {declaration.name}")
        return _unchanged(frame, channels)

    def picture(frame: np.ndarray) -> np.ndarray:
        color = np.tensordot(np.array(weights, np.float32).T, frame, 1)
        levels: np.ndarray = np.rint(np.clip(color, 0, 1) * 255)
        return levels.astype(np.uint8).transpose(1, 2, 0)

    return Modality(
        name=declaration.name,
        title=words,
        prompt=words if words.lower().endswith(_PICTURES) else f"{words} image",
        channels=(*names, *([VALID] if declaration.validity else [])),
        value_range=(0.0, 1.0),
        representation=KIND,
        pseudo_rgb=weights,
        options=ImageOptions,
        readers=(reader(declaration.name, words, len(names)),),
        representations=(representation(declaration.name, names, declaration.validity),),
        model_tensor=model_tensor,
        resize=resize_valid if declaration.validity else None,
        picture=picture if len(names) > 1 else None,
    )


def pseudo_rgb(channels: int) -> tuple[tuple[float, float, float], ...]:
    """(r, g, b) weights of each channel: spread over the colors in their order, each color summing to 1."""
    places = np.linspace(0, 1, channels) if channels > 1 else np.array([0.5])
    width = 1.0 if channels < 3 else 0.5  # of the triangle around the place of a color
    weights = np.maximum(0, 1 - np.abs(places[:, None] - np.array([0.0, 0.5, 1.0])) / width)
    shares = weights / weights.sum(axis=0)
    return tuple((float(r), float(g), float(b)) for r, g, b in shares)
