"""What a data set says about a sensor that armseg has no name for: enough to make its row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from armseg_core.config.base import Options
from armseg_core.errors import UsageError
from armseg_core.sensors.image.options import ImageOptions

KIND = "image"
VALID = "valid"  # name of the channel that says where there is a value
MOST_CHANNELS = 256  # hyperspectral cameras have some 200; more is a mistake (an image height)


@dataclass(frozen=True)
class Declaration:
    """A declared sensor: pictures of some bands on the pixel grid of the RGB image.

    name: in commands, files and model folders. channels: of the picture. words: noun phrase for tables and
    prompts, such as "near infrared". validity: the model gets one more channel, 1 where there is a value.

    Raises:
        UsageError: a bad name or bad channels.
    """

    name: str
    channels: tuple[str, ...]
    words: str
    validity: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            expected = "small letters, digits and _, a letter first, such as nir or sar_before"
            raise UsageError(f"'{self.name}' cannot be the name of a sensor", expected=expected)
        names = {*self.channels, *([VALID] if self.validity else [])}
        count = len(self.channels) + self.validity
        if not 0 < len(self.channels) <= MOST_CHANNELS or len(names) != count or not all(names):
            raise UsageError(
                f"the channels of '{self.name}' are {', '.join(self.channels[:8]) or 'none'}",
                expected=f"1 to {MOST_CHANNELS} names that differ"
                + (f", none of them '{VALID}'" if self.validity else ""),
            )
        if not self.words.strip():
            raise UsageError(f"the words for '{self.name}' are empty", expected='such as "near infrared"')

    @staticmethod
    def of(
        name: str, channels: int | tuple[str, ...] = 1, words: str | None = None, validity: bool = False
    ) -> Declaration:
        """A declaration as it is written: a number of channels names them, and words may be left out."""
        if isinstance(channels, int):
            channels = channel_names(channels, name)
        return Declaration(name, tuple(channels), words or name.replace("_", " "), validity)

    def describe(self) -> str:
        """What two declarations of a name have to agree in, as text."""
        valid = " and validity" if self.validity else ""
        return f"{', '.join(self.channels)}{valid} ({self.words})"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `of(name, **values)` is the inverse."""
        return {"channels": list(self.channels), "words": self.words, "validity": self.validity}

    def parse_options(self, values: dict[str, Any]) -> ImageOptions:
        """The options of its pictures.

        Raises:
            UsageError: bad ones, or ranges or bands that are not as many as its channels.
        """
        options: ImageOptions = ImageOptions.parse(values)
        check_counts(options, len(self.channels), self.name)
        return options


def channel_names(count: int, name: str) -> tuple[str, ...]:
    """Names of so many channels: the sensor's own for one, colors for three, else numbered from 1."""
    if count == 1:
        return (name,)
    return ("red", "green", "blue") if count == 3 else tuple(f"{name}_{i}" for i in range(1, count + 1))


def check_counts(options: Options, channels: int, name: str) -> None:
    """Raise UsageError where `range` or `bands` do not fit a number of channels."""
    assert isinstance(options, ImageOptions)
    if options.range is not None and len(options.range) not in (2, 2 * channels):
        raise UsageError(
            f"range has {len(options.range)} numbers, and {name} {channels} channel{'s' * (channels != 1)}",
            expected="low and high"
            + (f", or {2 * channels} numbers: low, high of each" if channels > 1 else ""),
        )
    if options.bands is not None and len(options.bands) != channels:
        raise UsageError(
            f"bands has {len(options.bands)} numbers, and {name} {channels} channel{'s' * (channels != 1)}",
            expected="one band for each channel",
            hint=f"channels = {len(options.bands)} under [modalities.{name}] in dataset.toml",
        )
