"""What a conversion will do, decided and checked before any data is read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armseg_core.conversion.reading import Reading
from armseg_core.errors import UsageError
from armseg_core.files.hashing import source_hash
from armseg_core.files.tensor_file import COMPRESSIONS, DTYPES


@dataclass(frozen=True)
class Plan:
    """One conversion, decided: what is read how, and what becomes of it."""

    reading: Reading
    output: Path
    dtype: str | None  # None: chosen from the data
    compression: str = COMPRESSIONS[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """What the frames depend on beside the source, as JSON; files appear by name and hash."""
        values = {"reader": self.reading.reader.name, "dtype": self.dtype or "auto"}
        if self.compression != COMPRESSIONS[0]:  # older files, which do not say theirs, stay current
            values["compression"] = self.compression
        values |= self.reading.options.model_dump(mode="json")
        given = {name: value for name, value in self.reading.options if isinstance(value, Path)}
        values |= {name: path.name for name, path in given.items()}
        files = {name: source_hash(path)[0] for name, path in {**self._beside(given), **given}.items()}
        return values | ({"files": files} if files else {})

    def _beside(self, given: dict[str, Path]) -> dict[str, Path]:
        """Files of the recording that neither lie in its own path nor are named by an option.

        They go by their names, or by their paths from the source's folder where names are the same.
        """
        source = self.reading.path
        files = [
            path
            for path in self.reading.files
            if source not in (path, *path.parents) and path not in given.values()
        ]
        names = [path.name for path in (source, *files)]
        longer = {path: Path(os.path.relpath(path, source.parent)).as_posix() for path in files}
        return {path.name if names.count(path.name) == 1 else longer[path]: path for path in files}


def plan_conversion(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    modality: str | None = None,
    representation: str | None = None,
    options: dict[str, Any] | None = None,
    dtype: str | None = None,
    compression: str | None = None,
) -> Plan:
    """Decide a conversion without reading the data: reader, representation, options and output are checked.

    Raises:
        ArmsegError: anything that can be known to be wrong beforehand.
    """
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(f"unknown dtype '{dtype}'", where="--dtype", expected="one of " + ", ".join(DTYPES))
    compression = check_compression(compression)
    reading = Reading.find(path, modality, options, representation)
    return Plan(reading, output_path(reading.path, output, reading.row.name), dtype, compression)


def check_compression(name: str | None) -> str:
    """A name of COMPRESSIONS, None being the default. Raises UsageError."""
    if name is not None and name not in COMPRESSIONS:
        expected = "one of " + ", ".join(COMPRESSIONS)
        raise UsageError(f"unknown compression '{name}'", where="--compression", expected=expected)
    return name or COMPRESSIONS[0]


def output_path(source: Path, output: str | os.PathLike[str] | None, representation: str) -> Path:
    """Where the result goes.

    Raises:
        UsageError: it would overwrite the recording, or lie inside it.
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
    return target


def default_name(source: Path, representation: str) -> str:
    """'scene/events.h5' -> 'events.voxel_grid.h5'; a folder keeps its whole name."""
    stem = source.name if source.is_dir() else source.stem
    return f"{stem}.{representation}.h5"
