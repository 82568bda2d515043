"""Which inputs a result was made from, as a value: nobody parses "rgb+thermal (other scene)"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from armseg_core.errors import UsageError
from armseg_core.sensors.modalities import RGB, get_modality

Control = Literal["other scene"]


@dataclass(frozen=True)
class Inputs:
    """The inputs of a row of a report.

    rgb: the image is used. sensors: names of the extra sensors that are used. control: "other scene" = each
    sample gets the sensor frames of another sample. among: only the samples that have these sensors count,
    also where they are not used (so that RGB alone can be compared with RGB and the sensors).

    Raises:
        UsageError: neither image nor sensor, or a control without a sensor.
    """

    rgb: bool = True
    sensors: tuple[str, ...] = ()
    control: Control | None = None
    among: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.rgb and not self.sensors:
            raise UsageError("no inputs", expected="the RGB image, a sensor, or both")
        if self.control and not self.sensors:
            raise UsageError(f"the control '{self.control}' without a sensor", expected="a sensor")

    @property
    def needs(self) -> tuple[str, ...]:
        """Sensors that a sample must have to count."""
        return tuple(dict.fromkeys((*self.sensors, *self.among)))

    @property
    def title(self) -> str:
        """The name in tables and JSON.

        "rgb", "thermal", "rgb+thermal", "rgb (samples with thermal)", "rgb+thermal (other scene)".
        """
        notes = [f"samples with {', '.join(self.among)}"] if self.among else []
        notes += [self.control] if self.control else []
        return "+".join((*(("rgb",) * self.rgb), *self.sensors)) + (f" ({', '.join(notes)})" if notes else "")

    @classmethod
    def parse(cls, text: str) -> Inputs:
        """'rgb+thermal+depth' or 'thermal' -> Inputs.

        Raises:
            UsageError: an unknown sensor, or nothing.
        """
        names = [get_modality(part).name for part in text.split("+") if part.strip()]
        sensors = tuple(dict.fromkeys(name for name in names if name != RGB.name))
        return cls(rgb=RGB.name in names, sensors=sensors)


RGB_ONLY = Inputs()
