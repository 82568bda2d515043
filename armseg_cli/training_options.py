"""From the flags of `armseg train` to a TrainConfig."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armseg_cli.settings import Group, merged, parse_settings, settings_of
from armseg_core.config.base import Options, parse_size
from armseg_core.config.model import TINY
from armseg_core.config.presets import preset_values
from armseg_core.config.training import TrainConfig
from armseg_core.errors import CheckpointError, UsageError
from armseg_core.learning.run_folder import CHANGEABLE, OUT, RunFolder
from armseg_core.sensors import SENSORS, parse_modalities

LATEST = "latest"  # in place of a run folder: the one written last
FLAGS = {"out": "--output"}  # options whose flag has another name than the last part of their key


def groups(sensor: str | None = None) -> Iterator[Group]:
    """(title, options) of every group: what `--set` can change.

    Data sets and sensors have places of their own.
    """
    settings = [row for row in settings_of(TrainConfig) if row.key not in ("data", "modalities")]
    yield "Options of the training", settings
    for name, field in TrainConfig.model_fields.items():
        if isinstance(field.default, Options):
            yield f"Options of the {name}", list(settings_of(type(field.default), f"{name}."))


if TYPE_CHECKING:
    from armseg_core.data import Description


def train_config(
    data: list[Path] | None,
    modalities: str | None,
    settings: list[str],
    flags: dict[str, Any],
    preset: str | None = None,
) -> tuple[TrainConfig, list[Description]]:
    """The options of a run, what was given by flag or `--set` over the defaults, and its data sets.

    flags: key as for `--set` -> value, None where it was not given. preset: the values that what was given
    goes over.

    Raises:
        UsageError: an unknown key, a bad value, a data set without the sensor.
    """
    from armseg_core.data import describe
    from armseg_core.learning.batches import sensors_of

    values = _nested({**preset_values(preset), **_given(settings, flags)}, {})
    folders = tuple(data) if data else (_sample_data(),)
    values["data"] = folders
    described = [describe(folder) for folder in folders]
    values["modalities"] = sensors_of(described) if modalities is None else parse_modalities(modalities)
    config: TrainConfig = TrainConfig.parse(values, where="armseg train")
    if config.model.guide == TINY:
        import sys

        from armseg_core.learning.clip_loading import TINY_NOTICE

        print(f"note: {TINY_NOTICE}", file=sys.stderr)
    return config, described


def _given(settings: list[str], flags: dict[str, Any]) -> dict[str, Any]:
    """Key -> value of what was given by flag or `--set`. Arguments and errors as in `train_config`."""
    known = {row.key: row for _, rows in groups() for row in rows}
    given = merged(flags, parse_settings(settings, known, _elsewhere), _same, _flag)
    return {key: _value(value, known[key].kind) for key, value in given.items()}


def _nested(given: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """`values` with what was given put in: 'model.weights' goes into the group 'model'."""
    for key, value in given.items():
        *outer, last = key.split(".")
        group = values.setdefault(outer[0], {}) if outer else values
        group[last] = value
    return values


def resumed_config(
    data: list[Path] | None,
    modalities: str | None,
    settings: list[str],
    flags: dict[str, Any],
    preset: str | None = None,
) -> Callable[[TrainConfig], TrainConfig]:
    """From the options a run began with to those it goes on with. Arguments as in `train_config`.

    Raises:
        UsageError: something was given that may not change.
    """
    given = _given(settings, flags)
    places = {"DATA": data, "modalities": modalities, "preset": preset, **given}
    refused = [key for key, value in places.items() if value not in (None, []) and key not in CHANGEABLE]
    if refused:
        raise UsageError(
            f"{refused[0] if refused[0].isupper() else _flag(refused[0])} cannot be changed with --resume",
            expected="the run's own options, from its config.json; only --guide-weights, "
            "--backbone-weights, --device and --workers may be given anew",
        )

    def changed(recorded: TrainConfig) -> TrainConfig:
        config: TrainConfig = TrainConfig.parse(
            _nested(given, recorded.model_dump()), where="armseg train --resume"
        )
        return config

    return changed


def _elsewhere(key: str) -> str | None:
    """Where a key belongs that is no option of the training."""
    places = {"data": "armseg train DATA", "modalities": "--modalities depth,thermal"}
    sensor = next((name for name, row in SENSORS.items() if key in row.options.model_fields), None)
    if sensor is not None:
        return f"dataset.toml: [modalities.{sensor}] options = {{ {key} = VALUE }}"
    return places.get(key)


def _flag(key: str) -> str:
    return FLAGS.get(key, "--" + key.rpartition(".")[2].replace("_", "-"))


def _same(key: str, flag: Any, text: str) -> bool:
    return str(flag) == text or flag == _value(text, "TEXT")


def _value(value: Any, kind: str) -> Any:
    """Text as JSON where it is JSON (numbers, true, null, lists), a size as (H, W)."""
    if not isinstance(value, str):
        return value
    if kind == "WxH" and value != "null":
        return parse_size(value)
    try:
        return json.loads(value)
    except ValueError:
        return value


def _sample_data() -> Path:
    import sys

    from armseg_core.data.sample_data import sample_data_dir

    folder = sample_data_dir()
    print(f"note: no data set given, training on the sample data in {folder}", file=sys.stderr)
    return folder


def resolve_resume(resume: str, out: str | None) -> Path:
    """The run folder that --resume names; LATEST is the one written last below --output (default: runs).

    Raises:
        CheckpointError: there is none.
    """
    if resume != LATEST:
        return Path(resume)
    place = Path(out) if out else OUT
    found = RunFolder.resumable(place)
    if not found:
        raise CheckpointError("no run to go on with", where=place, hint="armseg train without --resume")
    return found[-1].folder
