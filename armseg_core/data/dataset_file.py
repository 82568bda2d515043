"""`dataset.toml`: what a folder data set says about itself. Unknown names are refused with a suggestion.

    format_version = 1
    name = "simulated"
    ignore_index = 255
    [[classes]]                       # index = order
    name = "ground"
    color = [128, 64, 128]
    synonyms = ["road", "floor"]
    [rgb]
    path = "{id}/rgb.png"             # or "rgb/{id}.png"
    [label]
    path = "{id}/label.png"           # class indices (encoding = "color": the classes' colors)
    map = { 255 = 1 }                 # optional: stored value -> class index
                                      # (painted: ignore_colors = [[0, 0, 0]] names colors that do not count)
    [caption]                         # optional
    path = "{id}/caption.txt"
    [times]                           # optional: "id microseconds" per line, where in a recording a sample is
    path = "times.txt"
    [modalities.event]
    path = "{id}/events.h5"           # raw, or a sensor-tensor file
    options = { window = "50ms" }     # the options of `armseg convert` for that sensor
    [modalities.nir]                  # a sensor armseg has no name for, on the RGB image's pixel grid
    kind = "image"                    # PNG, TIFF of any number of bands, JPEG or npy
    path = "nir/{id}.tiff"
    channels = 1                      # or names: ["vv", "vh"]; 3 for a rendering in false colors (default: 1)
    words = "near infrared"           # for tables and the prompt (default: the name)
    validity = true                   # one more channel: 1 where there is a value (default: false)
    options = { range = [0, 4000], nodata = 0 }   # or percentiles = [1, 99] of each picture; bands = [4, 3]
    [splits]
    train = "splits/train.txt"        # one id per line

In a path `{id}` is the whole id, `{parent}` what stands before its last '/', `{stem}` what stands after it.
"""

from __future__ import annotations

import copy
import difflib
import string
import tomllib
import typing
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator, model_validator

from armseg_core import advice
from armseg_core.config.base import Options, expected_in_words
from armseg_core.data.sample import ClassInfo, default_color
from armseg_core.errors import DataSetError, UsageError
from armseg_core.files.text import read_text
from armseg_core.sensors.modalities import (
    RGB,
    SENSORS,
    Declaration,
    get_modality,
    installed_sensors,
    name_taken,
)

FILE_NAME = "dataset.toml"
PLACEHOLDERS = ("id", "parent", "stem")


def _check_template(text: str) -> str:
    """A path template that names the sample; relative, so that a data set can be moved as a whole.

    Backslashes become '/'.
    """
    text = text.replace("\\", "/")
    if not {"id", "stem"} & _check_fields(text, "path"):
        raise ValueError("a path with {id}, such as rgb/{id}.png")
    if "*" in text:
        raise ValueError("one file per sample: {id}, {parent} and {stem} instead of '*'")
    return _check_inside(text)


def _check_fields(text: str, where: str) -> set[str]:
    """The names in braces in a path, all of them known."""
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise ValueError(f"{where} with balanced {{ }}") from error
    if not fields <= set(PLACEHOLDERS):
        raise ValueError(f"{where} with no other braces than {{id}}, {{parent}} and {{stem}}")
    return fields


def _check_inside(text: str) -> str:
    text = text.replace("\\", "/")
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts:
        raise ValueError("a path inside the data set's folder, without '..'")
    return text


def _check_file(text: str, where: str) -> None:
    """A file that an option names: inside the data set's folder, as every file of it."""
    _check_fields(text, where)
    try:
        _check_inside(text)
    except ValueError as error:
        raise ValueError(f"{where} with {error}") from error


def _check_channels(value: Any) -> Any:
    """A number of channels, or their names."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ValueError('a number, or names such as ["vv", "vh"]')


Template = Annotated[str, AfterValidator(_check_template)]
InsidePath = Annotated[str, AfterValidator(_check_inside)]
Byte = Annotated[int, Field(ge=0, le=255)]


class ClassRow(Options):
    """One class; its index is its position."""

    name: str = Field(min_length=1, description="Name, used as the text prompt.")
    color: tuple[Byte, Byte, Byte] | None = Field(None, description="Red, green, blue, 0 to 255.")
    synonyms: tuple[str, ...] = Field((), description="Other words for the class.")


class FileRow(Options):
    """Where a sample's file is."""

    path: Template = Field(description="Path with {id}, relative to dataset.toml.")


class LabelRow(FileRow):
    """Where a sample's label is and how it is stored."""

    encoding: Literal["index", "color"] = Field("index", description="Indices, or the classes' colors.")
    map: dict[int, int] = Field({}, description="Stored value -> class index or ignore_index.")
    ignore_colors: tuple[tuple[Byte, Byte, Byte], ...] = Field(
        (), description="With encoding color: colors of pixels that do not count."
    )


class ModalityRow(FileRow):
    """Where a sample's sensor file is and how it is converted."""

    kind: Literal["image"] | None = Field(
        None, description="image = a picture of any bands: declares a sensor of any other kind."
    )
    channels: Annotated[Any, AfterValidator(_check_channels)] = Field(
        1, description='With kind: how many channels its pictures have, or their names: ["vv", "vh"].'
    )
    words: str | None = Field(
        None,
        min_length=1,
        description="With kind: what it is, for tables and the prompt (default: its name).",
    )
    validity: bool = Field(
        False, description="With kind: give the model one more channel, 1 where there is a value."
    )
    options: dict[str, Any] = Field({}, description="Options of `armseg convert` for this sensor.")

    def declaration(self, name: str) -> Declaration:
        """What a row with `kind` declares.

        Raises:
            UsageError: a bad name, or bad channels.
        """
        return Declaration.of(name, self.channels, self.words, self.validity)


class TimesRow(Options):
    """The file with the time of each sample."""

    path: InsidePath = Field(description="Text file, 'id microseconds' per line.")


class DataSetFile(Options):
    """The whole of dataset.toml."""

    format_version: Literal[1] = Field(description="Version of this layout.")
    name: str = Field(min_length=1, description="Name of the data set.")
    ignore_index: int = Field(255, ge=0, le=65535, description="Label value that does not count.")
    classes: tuple[ClassRow, ...] = Field(min_length=1, max_length=1000, description="In index order.")
    rgb: FileRow
    label: LabelRow | None = None
    caption: FileRow | None = None
    times: TimesRow | None = None
    modalities: dict[str, ModalityRow] = Field({}, description="Sensors.")
    splits: dict[str, InsidePath] = Field(min_length=1, description="Split name -> file of ids, one a line.")

    @field_validator("classes")
    @classmethod
    def _names_differ(cls, rows: tuple[ClassRow, ...]) -> tuple[ClassRow, ...]:
        names = [row.name.strip().lower() for row in rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"class names that differ (given more than once: {', '.join(twice)})")
        return rows

    @field_validator("modalities", mode="before")
    @classmethod
    def _known_modalities(cls, rows: Any) -> Any:
        if not isinstance(rows, dict):
            return rows
        named = {}
        for name, row in rows.items():
            is_declared = isinstance(row, dict) and "kind" in row
            key = _free_name(name) if is_declared else _installed(name)
            if key == "rgb" or key in named:
                raise ValueError(f"each sensor once and no rgb here, got '{name}'")
            named[key] = row
        return named

    @model_validator(mode="after")
    def _options_and_map(self) -> DataSetFile:
        allowed = {*range(len(self.classes)), self.ignore_index}
        wrong = sorted(set(self.label.map.values()) - allowed) if self.label else []
        if wrong:
            raise ValueError(
                f"label.map to class indices 0 to {len(self.classes) - 1} or {self.ignore_index}, got {wrong}"
            )
        self._check_ignore_colors()
        for name, row in self.modalities.items():
            if row.kind is not None:
                _check_declared(name, row)
                continue
            extra = {"channels", "words", "validity"} & row.model_fields_set
            if extra:
                raise ValueError(f'kind = "image" beside {min(extra)} under [modalities.{name}]')
            _parse_options(name, row.options)
            for option in path_options(name) & set(row.options):
                _check_file(str(row.options[option]), f"modalities.{name}.options.{option}")
        return self

    def _check_ignore_colors(self) -> None:
        if self.label is None or not self.label.ignore_colors:
            return
        if self.label.encoding != "color":
            raise ValueError('label.ignore_colors with label.encoding = "color" only')
        for info in self.class_infos:
            if info.color in self.label.ignore_colors:
                raise ValueError(
                    f"label.ignore_colors without {list(info.color)}, the color of class '{info.name}'"
                )

    @property
    def declared(self) -> tuple[Declaration, ...]:
        """The sensors that armseg has no name for."""
        return tuple(row.declaration(name) for name, row in self.modalities.items() if row.kind is not None)

    @property
    def class_infos(self) -> tuple[ClassInfo, ...]:
        """The classes, with a color each."""
        return tuple(
            ClassInfo(row.name, row.color or default_color(i), row.synonyms)
            for i, row in enumerate(self.classes)
        )


def _installed(name: str) -> str:
    """The name of an installed sensor, by name or alias; ValueError for any other."""
    try:
        key = get_modality(name).name
    except UsageError:
        key = ""
    names = [row.name for row in installed_sensors()]
    if key in (RGB.name, *names):
        return key
    near = difflib.get_close_matches(name, names, n=1)
    raise ValueError(
        f"one of rgb, {', '.join(names)}, or kind = \"image\" for a picture of any other sensor, got '{name}'"
        + (f", did you mean '{near[0]}'?" if near else "")
    )


def _free_name(name: str) -> str:
    """The name of a declared sensor; ValueError where it is no good or belongs to another one."""
    if problem := name_taken(name):
        raise ValueError(f"a name of its own for a sensor with kind, and {problem}")
    try:
        return Declaration.of(name).name
    except UsageError as error:
        raise ValueError(f"{error.expected}, got '{name}'") from error


def _check_declared(name: str, row: ModalityRow) -> None:
    try:
        declaration = row.declaration(name)
    except UsageError as error:
        raise ValueError(f"valid modalities.{name} ({error})") from error
    try:
        declaration.parse_options(row.options)
    except UsageError as error:
        raise ValueError(f"valid modalities.{name}.options ({error})") from error


def _parse_options(modality: str, options: dict[str, Any]) -> Options | None:
    sensor = SENSORS.get(modality)
    if sensor is None:
        return None
    try:
        return sensor.options.parse(options)
    except UsageError as error:
        raise ValueError(f"valid modalities.{modality}.options ({error})") from error


def path_options(modality: str) -> set[str]:
    """Names of the options of a sensor that are files (resolved against the data set's folder)."""
    sensor = SENSORS.get(modality)
    fields = sensor.options.model_fields.items() if sensor else ()
    return {
        name for name, info in fields if info.annotation is Path or Path in typing.get_args(info.annotation)
    }


def read_toml(path: Path) -> dict[str, Any]:
    """The plain content of a TOML file.

    Raises:
        InputError: it does not exist or may not be read. FormatError: not UTF-8. DataSetError: not TOML.
    """
    try:
        return tomllib.loads(read_text(path))
    except RecursionError as error:
        raise DataSetError("nested too deeply", where=path, expected="a few levels of tables") from error
    except ValueError as error:  # also a whole number of thousands of digits
        raise DataSetError(f"not valid TOML: {error}", where=path) from error


def parse_dataset_file(path: Path) -> DataSetFile:
    """Read and validate dataset.toml.

    Raises:
        InputError: it does not exist or may not be read.
        DataSetError: the first problem, and how many more there are.
    """
    values = read_toml(path)
    try:
        return DataSetFile.model_validate(values)
    except ValidationError as error:
        first, *more = problems(error)
        check = advice.command("check", path.parent)
        hint = f"{check} lists all {len(more) + 1} problems" if more else None
        raise DataSetError(first, where=path, hint=hint) from error


def problems(error: ValidationError) -> list[str]:
    """Every problem of a dataset.toml in one line each, unknown names with the nearest known one."""
    return [_problem(item) for item in error.errors()]


def drop_unknown_names(values: dict[str, Any], error: ValidationError) -> dict[str, Any]:
    """A copy of the file's content without the names that `error` calls unknown."""
    kept = copy.deepcopy(values)
    for item in error.errors():
        if item["type"] == "extra_forbidden":
            place: Any = kept
            for part in item["loc"][:-1]:
                place = place[part]
            del place[item["loc"][-1]]
    return kept


def _problem(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"]) or "dataset.toml"
    if item["type"] == "extra_forbidden":
        known = _fields_at(item["loc"][:-1])
        near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        advice = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
        return f"unknown name '{where}', {advice}"
    if item["type"] == "missing":
        return f"'{where}' is missing"
    expected = expected_in_words(item)
    if not item["loc"]:
        return f"expected {expected}"
    shown = repr(item["input"])
    return f"'{where}' is {shown if len(shown) < 60 else shown[:57] + '...'} (expected {expected})"


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    """Names allowed at a place of dataset.toml, found by walking the models."""
    model: type[BaseModel] = DataSetFile
    for part in location:
        if part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [_model_in(part) for part in typing.get_args(annotation)]
    return next((model for model in found if model is not None), None)
