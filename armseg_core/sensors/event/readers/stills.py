"""Event files that hold no single events: pictures drawn from them, and their statistics per pixel.

They are one frame each, without a clock, and only the voxel grid can be made of them (approximately: see
`representations/event_stills.py`).

Shape letters: H rows, W columns.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from armseg_core.arrays import EventMoments, EventPicture
from armseg_core.errors import ArmsegWarning, FormatError
from armseg_core.files.image_headers import image_header
from armseg_core.files.npy import npy_header, read_npy
from armseg_core.files.pictures import read_image
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.reader import Reader, quiet

_FOLDERS = ("event", "events")
# 'event', '000010_event', '000010_event_front': what stands behind the word is the view of the camera
_NAME = re.compile(r"(?:.*[_-])?events?(?:[_-](?:front|rear|back|left|right))?", re.IGNORECASE)
_MOMENTS = 6  # count, mean and deviation of each polarity


def read_event_picture(path: Path, options: EventOptions) -> EventPicture:
    """An 8-bit color rendering of events: red minus blue is the polarity.

    CARLA, which DELIVER was made with, paints one polarity red and the other blue; which is which was not
    verified.

    Raises:
        FormatError: another kind of picture, or damaged.
    """
    image = read_image(path)
    if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8:
        raise FormatError(f"the picture is {image.dtype} {image.shape}", where=path, expected="8-bit color")
    red, blue = (image[..., i].astype(np.float32) / np.float32(255) for i in (0, 2))
    return EventPicture(red - blue)


def read_event_moments(path: Path, options: EventOptions) -> EventMoments:
    """Ev-SegNet's array (H, W, 6) or (6, H, W).

    Channels: count of the positive and of the negative events, then mean and standard deviation of the
    positive events' times, then those of the negative ones (order as in Ev-SegNet's own viewer). Not verified
    on real files: the smallest count of a channel is taken as "no event", and a negative mean as times in
    [-1, 1]; a note says where that changes the values.

    Raises:
        FormatError: another shape, or values that are not finite.
    """
    array = read_npy(path)
    if array.ndim == 3 and array.shape[2] != _MOMENTS:
        array = np.moveaxis(array, 0, 2)
    if array.ndim != 3 or array.shape[2] != _MOMENTS or array.dtype.kind not in "fiu":
        what = f"the event array is {array.dtype} {array.shape}"
        raise FormatError(what, where=path, expected="numbers (H, W, 6) or (6, H, W)")
    planes = np.ascontiguousarray(np.moveaxis(array, 2, 0), np.float32)
    if not np.isfinite(planes).all():
        raise FormatError("the event array holds NaN or infinity", where=path, expected="finite numbers")
    count, mean, deviation = planes[:2], planes[[2, 4]], planes[[3, 5]]
    least = count.min(axis=(1, 2), keepdims=True)
    if least.any():
        _note("the smallest count of a polarity is not 0: it is taken as 'no event'")
    for sign in range(2):
        if mean[sign].min() < 0:
            _note("mean times below 0: the times are taken to last from -1 to 1")
            mean[sign], deviation[sign] = (mean[sign] + 1) / 2, deviation[sign] / 2
    return EventMoments(count - least, mean, deviation)


def _note(text: str) -> None:
    warnings.warn(ArmsegWarning(text), stacklevel=3)


# --- content tests: neither a color picture nor an array says that it shows events, so names count ---


def _named_event(path: Path) -> bool:
    """Whether the name, or one of the two folders around it, is the word for events."""
    folders = path.absolute().parents[:2]
    return bool(_NAME.fullmatch(path.stem)) or any(here.name.lower() in _FOLDERS for here in folders)


@quiet
def _is_picture(path: Path) -> bool:
    header = image_header(path)
    is_color = header is not None and header.kind == "png" and header.channels in (3, 4) and header.bits == 8
    return is_color and _named_event(path)


@quiet
def _is_moments(path: Path) -> bool:
    header = npy_header(path)
    if header is None or len(header[0]) != 3 or _MOMENTS not in (header[0][0], header[0][2]):
        return False
    shape, kind = header[0], header[1].kind
    size = shape[:2] if shape[2] == _MOMENTS else shape[1:]
    return min(size) > _MOMENTS and (kind == "f" or (kind in "iu" and _named_event(path)))


STILL_READERS: tuple[Reader, ...] = (
    Reader(
        "event-picture",
        "event",
        "picture of events (DELIVER)",
        ("*_event_front.png", "event/*.png"),
        _is_picture,
        read_event_picture,
        notes="8-bit color, by its name or folder: red minus blue in every bin; voxel_grid only",
    ),
    Reader(
        "event-moments",
        "event",
        "event statistics of Ev-SegNet (DDD17)",
        ("*.npy",),
        _is_moments,
        read_event_moments,
        notes="(H, W, 6) or (6, H, W) floats, integers in a folder named events; voxel_grid only",
    ),
)
