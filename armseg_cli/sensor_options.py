"""The options of the sensors on the command line, for every command that reads recordings.

Name, type, help and default of an option stand in the options groups of the sensors and nowhere else. A
command gets a flag for each (`--depth-unit mm`) and the same by `--set depth_unit=mm`. The help of a command
lists those of a sensor where `--modality` stands beside `--help`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from armseg_cli.group import ArmsegCommand, Sections
from armseg_cli.settings import (
    HELP,
    MODALITY,
    Group,
    Setting,
    merged,
    parse_settings,
    set_option,
    settings_of,
)
from armseg_core.errors import UsageError
from armseg_core.sensors import get_modality
from armseg_core.sensors.modalities import readable_as

PANEL = "Options of the sensors"
ModalityOption = Annotated[
    str | None,
    typer.Option(
        "--modality",
        "-m",
        metavar="SENSOR",
        help=f"{', '.join(readable_as())} (default: from the file).",
    ),
]


def with_sensor_options(function: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `options` of a command by a flag for each option of the sensors, and `--set`.

    The function receives `options: dict[str, Any]` of what was given (text, or a bool of a flag without a
    value); the options group of the sensor parses it. Where the command has a parameter of its own with the
    name of an option, the option is reached by `--set` only.
    """
    signature = inspect.signature(function, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != "options"]
    names = [name for name in owners() if name not in signature.parameters]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        flags = {name: given.pop(name) for name in names}
        settings = parse_settings(given.pop("settings") or (), owners())
        values = {name: None if text == "null" else text for name, text in settings.items()}
        function(**given, options=merged(flags, values, _same, _flag))

    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in (("settings", set_option(groups)), *((n, _annotation(n)) for n in names))
    ]
    # a function takes any attribute; its type knows of none
    command.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
    command.command_class = SensorCommand  # type: ignore[attr-defined]
    return command


def owners() -> dict[str, list[str]]:
    """Option -> the sensors that have it."""
    found: dict[str, list[str]] = {}
    for sensor, row in readable_as().items():
        for name in row.options.model_fields:
            found.setdefault(name, []).append(sensor)
    return found


def groups(sensor: str | None = None) -> Iterator[Group]:
    """(title, options) of every sensor, or of one."""
    for name, row in readable_as().items():
        if sensor in (None, name):
            yield f"Options of the {row.title}", list(settings_of(row.options))


def _setting(name: str, sensor: str) -> Setting:
    return next(row for row in settings_of(readable_as()[sensor].options) if row.key == name)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _annotation(name: str) -> Any:
    """The typer option of a sensor's option: text that its group parses, or a flag without a value."""
    row = _setting(name, owners()[name][0])
    switch = row.kind == "yes|no"
    flag = _flag(name)
    declared = f"{flag}/--no-{flag[2:]}" if row.default == "yes" else flag
    option = typer.Option(
        declared,
        metavar=None if switch else row.kind,
        help=row.description,
        rich_help_panel=PANEL,
        show_default=False,
    )
    return Annotated[(bool if switch else str) | None, option]


def _same(name: str, flag: Any, text: Any) -> bool:
    """Whether the two values of an option mean the same to the first sensor that has it."""
    group = readable_as()[owners()[name][0]].options
    try:
        return bool(
            getattr(group.model_validate({name: flag}), name)
            == getattr(group.model_validate({name: text}), name)
        )
    except ValidationError:  # a bad value, or one that needs another option beside it
        return bool(flag == text)


class SensorCommand(ArmsegCommand):
    """A command whose help shows the options of one sensor, on request."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[MODALITY] = self._asked_sensor(ctx, args)
        return super().parse_args(ctx, args)

    def _asked_sensor(self, ctx: Any, args: list[str]) -> str | None:
        """The sensor that --modality names: it is wanted before --help and --set help are answered."""
        try:
            text = self.make_parser(ctx).parse_args(args=list(args))[0].get("modality")
        except typer.TyperException:
            return None  # said when the arguments are parsed
        try:
            # of several files, the first
            return None if text is None else get_modality(text.partition(",")[0]).name
        except UsageError:
            if {"--help", HELP} & set(args):
                raise
            # perhaps declared by the model or data set that the command opens; else it is said then
            return None

    def sections(self, ctx: Any) -> Sections:
        """The options of all commands; then those of the sensor, or how to see them."""
        found = super().sections(ctx)
        found.pop(PANEL, None)
        asked = ctx.meta.get(MODALITY)
        if asked not in readable_as():
            shown = f"{ctx.command_path} --modality SENSOR --help"
            found[PANEL] = [(shown, f"options of one of {', '.join(readable_as())}")]
            return found
        title = f"Options of the {readable_as()[asked].title}"
        flags = {p.name: p.get_help_record(ctx) or ("", "") for p in self.params if _in_panel(p)}
        found[title] = []
        for row in settings_of(readable_as()[asked].options):
            written = flags[row.key][0] if row.key in flags else f"--set {row.key}={row.kind}"
            default = f" [{row.default}]" if row.default and row.kind != "yes|no" else ""
            found[title].append((written, row.description + default))
        return found


def _in_panel(parameter: Any) -> bool:
    return getattr(parameter, "rich_help_panel", None) == PANEL
