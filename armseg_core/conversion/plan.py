"""What a conversion will do, decided and checked before any data is read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armseg_core.config.base import Options
from armseg_core.errors import InputError, OutputError, UsageError
from armseg_core.files.provenance import source_hash
from armseg_core.files.tensor_file import DTYPES, is_tensor_file
from armseg_core.sensors.modalities import SENSORS, get_modality
from armseg_core.sensors.recognition import Reader, sniff
from armseg_core.sensors.representations import Representation, get_representation


@dataclass(frozen=True)
class Plan:
    """One conversion, decided: what is read how, and what becomes of it."""

    source: Path
    output: Path
    reader: Reader
    row: Representation
    options: Options
    dtype: str | None  # None: chosen from the data

    @property
    def modality(self) -> str:
        return self.row.modality

    @property
    def parameters(self) -> dict[str, Any]:
        """What the frames depend on beside the source, as JSON; files appear by name and hash."""
        values = {"reader": self.reader.name, "dtype": self.dtype or "auto"}
        values |= self.options.model_dump(mode="json")
        given = {name: value for name, value in self.options if isinstance(value, Path)}
        values |= {name: path.name for name, path in given.items()}
        files = {name: source_hash(path)[0] for name, path in {**self._beside(given), **given}.items()}
        return values | ({"files": files} if files else {})

    def _beside(self, given: dict[str, Path]) -> dict[str, Path]:
        """Files of the recording that neither lie in its own path nor are named by an option.

        They go by their names, or by their paths from the source's folder where names are the same.
        """
        files = [
            path
            for path in self.reader.files(self.source, self.options)
            if self.source not in (path, *path.parents) and path not in given.values()
        ]
        names = [path.name for path in (self.source, *files)]
        longer = {path: Path(os.path.relpath(path, self.source.parent)).as_posix() for path in files}
        return {path.name if names.count(path.name) == 1 else longer[path]: path for path in files}


def plan_conversion(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    modality: str | None = None,
    representation: str | None = None,
    options: dict[str, Any] | None = None,
    dtype: str | None = None,
) -> Plan:
    """Decide a conversion without reading the data: reader, representation, options and output are checked.

    Raises:
        ArmsegError: anything that can be known to be wrong beforehand.
    """
    source = Path(path)
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"unknown dtype '{dtype}'", where="--dtype", expected="one of " + ", ".join(DTYPES))
    if modality is not None:
        _check_sensor(modality)
    reader = sniff(source, modality)
    row = get_representation(reader.modality, representation)
    parsed = parse_options(reader.modality, options or {})
    return Plan(source, output_path(source, output, row.name), reader, row, parsed, dtype)


def parse_options(modality: str, values: dict[str, Any]) -> Options:
    """The options group of a sensor from plain values (None = not given).

    Raises:
        UsageError: unknown option, one that belongs to other sensors, or a bad value.
    """
    group = SENSORS[modality].options
    given = {name: value for name, value in values.items() if value is not None}
    for name in given:
        owners = [sensor for sensor, row in SENSORS.items() if name in row.options.model_fields]
        if owners and modality not in owners:
            flag = "--" + name.replace("_", "-")
            raise UsageError(
                f"does not apply to a recording of the {SENSORS[modality].title}",
                where=flag,
                expected="a recording of " + " or ".join(owners),
                hint=f"leave {flag} out",
            )
    options = group.parse(given)
    for name, value in options:
        if isinstance(value, Path) and not value.is_file():
            raise InputError("no such file", where=f"--{name.replace('_', '-')} {value}")
    return options


def _check_sensor(modality: str) -> None:
    name = get_modality(modality).name
    if name not in SENSORS:
        raise UsageError(
            f"'{name}' is not a sensor that is converted",
            where="--modality",
            expected="one of " + ", ".join(SENSORS),
        )


def output_path(source: Path, output: str | os.PathLike[str] | None, representation: str) -> Path:
    """Where the result goes.

    Raises:
        UsageError: it would overwrite the recording. OutputError: it would overwrite a file of another kind.
    """
    absolute = source.absolute()
    name = default_name(absolute, representation)
    if output is None:
        target = (source if source.name not in ("", "..") else absolute.resolve()).parent / name
    else:
        is_folder = Path(output).is_dir() or not Path(output).suffix or str(output).endswith(("/", os.sep))
        target = Path(output) / name if is_folder else Path(output)
    if target.exists() and target.samefile(source):
        raise UsageError(
            "would overwrite the recording itself", where=target, hint="another name with -o/--output"
        )
    if source.is_dir() and absolute.resolve() in target.absolute().resolve().parents:
        raise UsageError(
            "the result would lie inside the recording's own folder",
            where=target,
            hint="another folder with -o/--output",
        )
    foreign = target.is_file() and target.stat().st_size > 0 and not is_tensor_file(target)
    if foreign and target.name != name:  # a damaged file of our own naming is made again
        raise OutputError(
            "is in the way and was not made by `armseg convert`",
            where=target,
            hint="another name with -o/--output, or remove it",
        )
    return target


def default_name(source: Path, representation: str) -> str:
    """'scene/events.h5' -> 'events.voxel_grid.h5'; a folder keeps its whole name."""
    stem = source.name if source.is_dir() else source.stem
    return f"{stem}.{representation}.h5"
