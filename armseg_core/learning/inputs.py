"""Which inputs a result was made from, as a value: nobody parses "rgb+thermal (other scene)"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from armseg_core.errors import UsageError

Control = Literal["other scene"]


@dataclass(frozen=True)
class Inputs:
    """The inputs of a row of a report.

    rgb: the image is used. sensors: names of the extra sensors that are used. control: "other scene" = each
    sample gets the sensor frame of another sample. among: only the samples that have this sensor count, also
    where it is not used (so that RGB alone can be compared with RGB and the sensor).

    Raises:
        UsageError: neither image nor sensor, or a control without a sensor.
    """

    rgb: bool = True
    sensors: tuple[str, ...] = ()
    control: Control | None = None
    among: str | None = None

    def __post_init__(self) -> None:
        if not self.rgb and not self.sensors:
            raise UsageError("no inputs", expected="the RGB image, a sensor, or both")
        if self.control and not self.sensors:
            raise UsageError(f"the control '{self.control}' without a sensor", expected="a sensor")

    @property
    def sensor(self) -> str | None:
        """The sensor, None for RGB alone.

        Raises:
            UsageError: there are several, and the network takes one.
        """
        if len(self.sensors) > 1:
            raise UsageError(f"{len(self.sensors)} sensors at once", where=self.title, expected="at most one")
        return self.sensors[0] if self.sensors else None

    @property
    def needs(self) -> tuple[str, ...]:
        """Sensors that a sample must have to count."""
        return self.sensors if self.among is None else tuple(dict.fromkeys((*self.sensors, self.among)))

    @property
    def title(self) -> str:
        """The name in tables and JSON.

        "rgb", "thermal", "rgb+thermal", "rgb (samples with thermal)", "rgb+thermal (other scene)".
        """
        notes = [f"samples with {self.among}"] if self.among else []
        notes += [self.control] if self.control else []
        return "+".join((*(("rgb",) * self.rgb), *self.sensors)) + (f" ({', '.join(notes)})" if notes else "")


RGB_ONLY = Inputs()
