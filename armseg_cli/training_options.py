"""From the flags of `armseg train` to a TrainConfig."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armseg_core.config.base import parse_size
from armseg_core.config.training import TINY, TrainConfig
from armseg_core.errors import CheckpointError, UsageError
from armseg_core.learning.run_folder import OUT, RunFolder
from armseg_core.sensors.modalities import parse_modalities

if TYPE_CHECKING:
    from armseg_core.data import Description


def train_config(
    data: list[Path] | None, modalities: str | None, settings: list[str], flags: dict[str, Any]
) -> tuple[TrainConfig, list[Description]]:
    """The options of a run, flags that were given over `--set` over the defaults, and its data sets.

    Raises:
        UsageError: an unknown key, a bad value, a data set without the sensor.
    """
    values = parse_settings(settings)
    for key, value in flags.items():
        if value is not None:
            _put(values, key, parse_size(value) if key in ("size", "crop") else value)
    for key, how in (("data", "armseg train DATA"), ("modalities", "--modalities depth,thermal")):
        if key in values:
            raise UsageError(f"--set {key} is not possible", hint=how)
    from armseg_core.data import describe

    folders = tuple(data) if data else (_sample_data(),)
    values["data"] = folders
    described = [describe(folder) for folder in folders]
    values["modalities"] = _available(described) if modalities is None else parse_modalities(modalities)
    config = TrainConfig.parse(values, where="armseg train")
    if config.model.clip == TINY:
        import sys

        from armseg_core.learning.clip_loading import TINY_NOTICE

        print(f"note: {TINY_NOTICE}", file=sys.stderr)
    return config, described


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """['loss.dice=0.3', 'steps=10'] -> {'loss': {'dice': 0.3}, 'steps': 10}.

    Raises:
        UsageError: not KEY=VALUE.
    """
    values: dict[str, Any] = {}
    for text in settings:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UsageError(f"--set {text}", expected="KEY=VALUE, such as loss.dice=0.3")
        _put(values, key, _value(value))
    return values


def _available(described: list[Description]) -> tuple[str, ...]:
    """Every sensor that some data set has, in table order."""
    from armseg_core.sensors.modalities import SENSORS

    found = {m for each in described for m in each.modalities}
    return tuple(m for m in SENSORS if m in found)


def _sample_data() -> Path:
    import sys

    from armseg_core.data.sample_data import sample_data_dir

    folder = sample_data_dir()
    print(f"note: no data set given, training on the sample data in {folder}", file=sys.stderr)
    return folder


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *groups, last = dotted.split(".")
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise UsageError(f"--set {dotted}: '{group}' is not a group of options")
    values[last] = value


def _value(text: str) -> Any:
    """JSON where it is JSON (numbers, true, null, lists), else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def resolve_resume(resume: str, out: Path | None, others: list[str]) -> Path:
    """The run folder that --resume names; 'latest' is the one written last below --out (default: runs).

    others: what else was given on the command line.

    Raises:
        UsageError: something else was given: a run goes on with the options it began with.
        CheckpointError: there is none.
    """
    if others:
        name = others[0].removeprefix("model.").replace("_", "-")
        raise UsageError(
            f"{name if name.isupper() else f'--{name}'} cannot be changed with --resume",
            expected="the run's own options, from its config.json",
        )
    if resume != "latest":
        return Path(resume)
    place = out or OUT
    found = RunFolder.resumable(place)
    if not found:
        raise CheckpointError("no run to go on with", where=place, hint="armseg train without --resume")
    return found[-1].folder
