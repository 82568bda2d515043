"""How a raw recording is read, decided and checked before any of its data is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armseg_core.config.base import Options
from armseg_core.errors import InputError, UsageError
from armseg_core.sensors.modalities import get_modality, readable_as
from armseg_core.sensors.recognition import Reader, recognize, sniff
from armseg_core.sensors.representations import Representation, get_representation


@dataclass(frozen=True)
class Reading:
    """A raw recording that is recognized but not read.

    path: file or folder. reader: its format. row: the representation of its frames. options: of the sensor's
    group.
    """

    path: Path
    reader: Reader
    row: Representation
    options: Options

    @staticmethod
    def find(
        path: str | os.PathLike[str],
        modality: str | None = None,
        options: dict[str, Any] | None = None,
        representation: str | None = None,
        *,
        refused_too: bool = False,
    ) -> Reading:
        """Recognize a recording and check what is asked of it.

        Args:
            path: file, or folder that is one recording.
            modality: sensor, when content and name leave it open.
            options: fields of the sensor's options group (None = not given).
            representation: row of REPRESENTATIONS (default: the sensor's).
            refused_too: also find a recording whose format is known but cannot be read (`Reader.refuse`).

        Raises:
            ArmsegError: no such recording, or it does not have such a representation or option.
        """
        if modality is not None:
            _check_sensor(modality)
        reader = (recognize if refused_too else sniff)(path, modality)
        return Reading.of(reader, path, options, representation)

    @staticmethod
    def of(
        reader: Reader,
        path: str | os.PathLike[str],
        options: dict[str, Any] | None = None,
        representation: str | None = None,
    ) -> Reading:
        """`find` for a recording that has been recognized already.

        Raises:
            ArmsegError: its sensor does not have such a representation or option.
        """
        parsed = parse_options(reader.modality, options or {})
        row = get_representation(reader.modality, representation, parsed)
        return Reading(Path(path), reader, row, parsed)

    @property
    def sensor(self) -> str:
        return self.row.modality

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file the frames depend on: see `Reader.files`."""
        return self.reader.files(self.path, self.options)


def parse_options(modality: str, values: dict[str, Any]) -> Options:
    """The options group of a sensor from plain values (None = not given).

    Raises:
        UsageError: unknown option, one that belongs to other sensors, or a bad value.
    """
    sensors = readable_as()
    group = sensors[modality].options
    given = {name: value for name, value in values.items() if value is not None}
    for name in given:
        owners = [sensor for sensor, row in sensors.items() if name in row.options.model_fields]
        if owners and modality not in owners:
            flag = "--" + name.replace("_", "-")
            raise UsageError(
                f"does not apply to a recording of the {sensors[modality].title}",
                where=flag,
                expected="a recording of " + " or ".join(owners),
                hint=f"leave {flag} out",
            )
    options: Options = group.parse(given)
    for name, value in options:
        if isinstance(value, Path) and not value.is_file():
            raise InputError("no such file", where=f"--{name.replace('_', '-')} {value}")
    return options


def _check_sensor(modality: str) -> None:
    name = get_modality(modality).name
    if name not in readable_as():
        raise UsageError(
            f"'{name}' is not a sensor that is converted",
            where="--modality",
            expected="one of " + ", ".join(readable_as()),
        )
