"""Options as text: KEY=VALUE, the flag beside it, and the list of all options that `--set help` prints."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from armseg_cli.console import print_table
from armseg_core.config.base import Options
from armseg_core.errors import UsageError

HELP = "help"  # `--set help`


@dataclass(frozen=True)
class Setting:
    """One option of an options group, as a user meets it.

    key: what stands before the '='. kind: what stands behind it: N (integer), X (number), TIME, WxH, FILE,
    yes|no, the choices with '|' between them, TEXT, VALUE (any of these), [list] or {table}.
    default: '' where the description says it.
    """

    key: str
    kind: str
    default: str
    description: str


Group = tuple[str, list[Setting]]  # title and options


def settings_of(group: type[Options], prefix: str = "") -> Iterator[Setting]:
    """The options of a group, without those of the groups inside it, in the order of the group."""
    for name, field in group.model_fields.items():
        if not isinstance(field.default, Options):
            yield Setting(prefix + name, kind_of(field), default_of(field), field.description or "")


def kind_of(field: FieldInfo) -> str:
    """What the value of an option or of a key of dataset.toml looks like (see `Setting`)."""
    return _kind(field.annotation, field.metadata)


def _kind(annotation: Any, checks: Sequence[Any] = ()) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _kind(parts[0], (*checks, *parts[1:]))
    if origin in (typing.Union, types.UnionType):  # X | None
        return _kind(next(part for part in parts if part is not type(None)), checks)
    if annotation is int and any(isinstance(check, BeforeValidator) for check in checks):
        return "TIME"
    if origin is typing.Literal:
        return "|".join(map(str, parts))
    kinds: dict[Any, str] = {
        bool: "yes|no",
        int: "N",
        float: "X",
        Path: "FILE",
        tuple[int, int]: "WxH",
        Any: "VALUE",
    }
    if origin is tuple and annotation not in kinds:
        return "[" + ",".join("..." if part is Ellipsis else _kind(part) for part in parts) + "]"
    if origin is dict:
        return f"{{{_kind(parts[0])} = {_kind(parts[1])}}}"
    return kinds.get(annotation, "TEXT")


def default_of(field: FieldInfo) -> str:
    """The default as a user would write it; '' where there is none."""
    value, kind = field.default, kind_of(field)
    if value is None or value is PydanticUndefined or value in ((), {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if kind == "TIME":
        return f"{value // 1000}ms"
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, tuple) else str(value)


def parse_settings(
    texts: Iterable[str], known: Collection[str], hint: Callable[[str], str | None] = lambda key: None
) -> dict[str, str]:
    """['loss.dice=0.3', 'sensor-size=346x260'] -> {'loss.dice': '0.3', 'sensor_size': '346x260'}.

    The last value of a key counts, as with flags.

    Args:
        texts: what stands behind each `--set`.
        known: every key there is.
        hint: what to type instead of an unknown key that nothing in `known` looks like.

    Raises:
        UsageError: not KEY=VALUE, or an unknown key.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        key = name.strip().lstrip("-").replace("-", "_")
        if not sign or not key or not value.strip():
            near = difflib.get_close_matches(key, known, n=1)
            raise UsageError(
                f"--set {text} is not KEY=VALUE",
                expected=f"such as {near[0]}=VALUE" if near else None,
                hint="--set help lists every option",
            )
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            other = hint(key) or (f"did you mean '{near[0]}'?" if near else None)
            raise UsageError(
                f"unknown option '{key}'", where="--set", hint=other or "--set help lists every option"
            )
        values[key] = value.strip()
    return values


def merged(
    flags: Mapping[str, Any],
    settings: Mapping[str, Any],
    same: Callable[[str, Any, Any], bool],
    flag_of: Callable[[str], str],
) -> dict[str, Any]:
    """What was given by flag (None: not given) and by `--set`, together.

    Args:
        same: (key, value of the flag, value of --set) -> whether they mean the same.
        flag_of: key -> its flag.

    Raises:
        UsageError: a flag and a `--set` of one key disagree.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    for key in given.keys() & settings.keys():
        if not same(key, given[key], settings[key]):
            raise UsageError(
                f"{flag_of(key)} and --set {key} disagree",
                expected=f"one of {_shown(given[key])} and {_shown(settings[key])}",
                hint="leave one of the two out",
            )
    return {**settings, **given}


def _shown(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def set_option(groups: Callable[[str | None], Iterable[Group]]) -> Any:
    """The type of the parameter of `--set` of a command.

    Args:
        groups: sensor that was asked for with --modality, or None -> what `--set help` lists.
    """

    def callback(ctx: typer.Context, value: list[str] | None) -> list[str] | None:
        if value and HELP in value and not ctx.resilient_parsing:
            for title, rows in groups(ctx.meta.get(MODALITY)):
                cells = [(row.key, row.kind, row.default, row.description) for row in rows]
                print_table(("KEY", "VALUE", "default", "what it is"), cells, title=title)
            raise typer.Exit(0)
        return value

    return Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any option by its name (repeatable); '--set help' lists them all.",
            callback=callback,
            is_eager=True,  # '--set help' needs no arguments
        ),
    ]


MODALITY = "armseg.modality"  # key of the context: the sensor that --modality names, while --help is answered
