"""The tables of sensors: SENSORS holds one row per sensor, MODALITIES the RGB camera and the sensors.

Adding a sensor = one folder with a `row.py` and its name in `BUILT_IN`; or, without touching this package, a
package with an entry point of the group `armseg.sensors` that loads a `Modality` (or a tuple of them). Both
tables are read on first use, plug-ins after the built-in sensors. A data set or model folder may declare
further sensors, pictures of any bands: they stand behind the others from then on, in this process.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from armseg_core.errors import UsageError
from armseg_core.plugins import Plugin, join_plugins
from armseg_core.sensors.image.declaration import Declaration
from armseg_core.sensors.image.rows import IMAGE, declared_row
from armseg_core.sensors.modality import Modality, row_problems
from armseg_core.sensors.rgb import RGB

__all__ = [
    "BUILT_IN",
    "IMAGE",
    "MODALITIES",
    "PLUGINS",
    "RGB",
    "SENSORS",
    "Declaration",
    "Modality",
    "declaration_of",
    "declare",
    "get_modality",
    "installed_sensors",
    "package_of",
    "parse_modalities",
    "readable_as",
    "sensor_plugins",
]

BUILT_IN = (
    "event",
    "thermal",
    "depth",
    "lidar",
    "polarization",
    "light_field",
)  # folders; their order is kept
PLUGINS = "armseg.sensors"  # group of entry points


class _Sensors(Mapping[str, Modality]):
    """name -> row of every sensor, in the order of `BUILT_IN`, then plug-ins, then declared ones.

    Loaded on first use. declared: name -> what was declared, and by whom.
    """

    def __init__(self) -> None:
        self._loaded: tuple[dict[str, Modality], tuple[Plugin, ...]] | None = None
        self.declared: dict[str, tuple[Declaration, str]] = {}

    def load(self) -> tuple[dict[str, Modality], tuple[Plugin, ...]]:
        """The rows, and every plug-in with what became of it."""
        if self._loaded is None:
            self._loaded = _load()
        return self._loaded

    def __getitem__(self, name: str) -> Modality:
        if name in self.declared:
            return declared_row(self.declared[name][0])
        return self.load()[0][name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.load()[0], *self.declared))

    def __len__(self) -> int:
        return len(self.load()[0]) + len(self.declared)


class _Modalities(Mapping[str, Modality]):
    """RGB, then SENSORS."""

    def __getitem__(self, name: str) -> Modality:
        return RGB if name == RGB.name else SENSORS[name]

    def __iter__(self) -> Iterator[str]:
        return iter((RGB.name, *SENSORS))

    def __len__(self) -> int:
        return 1 + len(SENSORS)


_SENSORS = _Sensors()
SENSORS: Mapping[str, Modality] = _SENSORS
MODALITIES: Mapping[str, Modality] = _Modalities()


def _load() -> tuple[dict[str, Modality], tuple[Plugin, ...]]:
    rows: dict[str, Modality] = {}
    for folder in BUILT_IN:
        row = importlib.import_module(f"armseg_core.sensors.{folder}.row").SENSOR
        rows[row.name] = row

    def join(given: tuple[Any, ...]) -> str:
        problem = _problem(given, rows)
        if not problem:
            rows.update({row.name: row for row in given})
        return problem

    plugins = join_plugins(PLUGINS, "sensor", join)
    return rows, plugins


def _problem(given: tuple[object, ...], rows: Mapping[str, Modality]) -> str:
    """Why the rows of a plug-in cannot join the others, "" when they can."""
    taken = {RGB.name: RGB, IMAGE.name: IMAGE, **rows}
    for row in given:
        if not isinstance(row, Modality):
            return f"it loads {type(row).__name__}, not a Modality row or a tuple of them"
        if problems := row_problems(row):
            return f"sensor {row.name}: " + "; ".join(problems)
        for other in taken.values():
            names = {row.name, *row.aliases} & {other.name, *other.aliases}
            formats = {r.name for r in row.readers} & {r.name for r in other.readers}
            if names or formats:
                what = "the name" if names else "the format"
                return f"sensor {row.name}: {what} '{min(names or formats)}' belongs to the {other.title}"
        taken[row.name] = row
    return ""


def sensor_plugins() -> tuple[Plugin, ...]:
    """Every installed sensor plug-in, with the `problem` of each that is left out."""
    return _SENSORS.load()[1]


def installed_sensors() -> tuple[Modality, ...]:
    """The sensors of this installation: built-in ones and plug-ins."""
    return tuple(_SENSORS.load()[0].values())


def readable_as() -> dict[str, Modality]:
    """Everything a recording can be read as: SENSORS, and IMAGE for a picture of any bands."""
    return {**SENSORS, IMAGE.name: IMAGE}


def declaration_of(sensor: str) -> Declaration | None:
    """What was declared of a sensor; None for an installed one."""
    found = _SENSORS.declared.get(sensor)
    return found[0] if found else None


def declare(declaration: Declaration, where: object) -> None:
    """Make a declared sensor known to this process; nothing happens where it is known already.

    Args:
        where: who declares it (a data set, a model folder), for messages. It may declare it anew, otherwise.

    Raises:
        UsageError: the name belongs to another sensor, or is declared otherwise elsewhere.
    """
    if problem := name_taken(declaration.name):
        raise UsageError(problem, where=where, hint="another name for the declared sensor")
    known, by = _SENSORS.declared.get(declaration.name, (declaration, str(where)))
    if known != declaration and by != str(where):
        raise UsageError(
            f"{declaration.name} is declared as {declaration.describe()}, and in {by} as {known.describe()}",
            where=where,
            expected="the same channels and words wherever a name is used together",
            hint="another name for one of the two",
        )
    _SENSORS.declared[declaration.name] = (declaration, by)


def name_taken(name: str) -> str:
    """To whom a name belongs that no data set may declare, in words; "" for a free one."""
    if name == "all":
        return "'all' stands for every sensor"
    for row in (RGB, IMAGE, *installed_sensors()):
        if name in (row.name, *row.aliases):
            return f"the name '{name}' belongs to the {row.title}"
    return ""


def package_of(sensor: str) -> str:
    """The package that brings a sensor: "" for a built-in one."""
    for plugin in sensor_plugins():
        rows = plugin.value if isinstance(plugin.value, tuple) else (plugin.value,)
        if not plugin.problem and any(row.name == sensor for row in rows):
            return plugin.package
    return ""


def get_modality(name: str) -> Modality:
    """The row of a modality, by name or alias (case and '-' / '_' do not matter).

    Raises:
        UsageError: for an unknown name, listing the known ones.
    """
    key = name.strip().lower().replace("-", "_")
    for modality in (*MODALITIES.values(), IMAGE):
        if key == modality.name or key in modality.aliases:
            return modality
    raise UsageError(
        f"unknown modality '{name}'",
        expected="one of " + ", ".join((*MODALITIES, IMAGE.name)),
        hint="armseg --help",
    )


def parse_modalities(text: str) -> tuple[str, ...]:
    """'depth,thermal' -> ('depth', 'thermal'); 'rgb' or '' -> () (no extra sensor); 'all' -> every sensor.

    Raises:
        UsageError: for an unknown name.
    """
    if text.strip().lower() == "all":
        return tuple(SENSORS)
    names = [get_modality(part).name for part in text.split(",") if part.strip()]
    return tuple(dict.fromkeys(name for name in names if name != RGB.name))
