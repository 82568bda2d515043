"""`armseg convert`: raw recordings to sensor-tensor files.

The flags of the sensors are made from the options groups in the rows of SENSORS: name, type, help and
default stand there and nowhere else.
"""

from __future__ import annotations

import inspect
import json
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from armseg_cli.console import print_next
from armseg_cli.options import JsonOption, ModalityOption, WorkersOption
from armseg_core.sensors.modalities import SENSORS

if TYPE_CHECKING:
    from armseg_core.conversion.convert import ConversionSummary
    from armseg_core.conversion.folder import FolderSummary


def command(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Recordings, folders of recordings, or patterns such as 'scenes/*/events.h5'.",
        ),
    ],
    modality: ModalityOption = None,
    representation: Annotated[
        str | None,
        typer.Option(
            "--representation",
            "-r",
            metavar="NAME",
            help="What to make: voxel_grid, stokes, ... (default: the sensor's; a wrong name lists all).",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="File or folder (default: beside the recording)."
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            metavar="TYPE",
            help="float16, float32, uint8 or uint16 (default: float16 for events, else "
            "what keeps the precision of the data).",
        ),
    ] = None,
    workers: WorkersOption = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Only share I of N of the recordings, from 1/N to N/N (default: from "
            "SLURM_ARRAY_TASK_ID where it is set).",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine", metavar="ENGINE", help="local (processes) or ray (an existing Ray cluster)."
        ),
    ] = "local",
    force: Annotated[bool, typer.Option("--force", help="Convert again what is whole and current.")] = False,
    as_json: JsonOption = False,
    **settings: Any,
) -> None:
    """Turn raw recordings of any sensor into sensor-tensor files (HDF5).

    The format is found from the content. One recording becomes STEM.REPRESENTATION.h5 beside it, or -o FILE.
    Of a folder or pattern every recording is converted in parallel, below -o FOLDER with the same structure;
    a run that was stopped is finished by the same command, and manifest.jsonl says what became of each
    recording.

    Exit code: 0 done, 1 some recordings of a folder failed, 2 nothing could be done.

    Example:
        armseg convert sample_data/scene_00018/events.h5 --window 50ms -o events.voxel_grid.h5
        armseg convert sample_data --modality depth -o converted
    """
    from armseg_core.conversion.convert import convert_file
    from armseg_core.conversion.discovery import is_many
    from armseg_core.conversion.folder import convert_folder, parse_shard

    common: dict[str, Any] = {
        "modality": modality,
        "representation": representation,
        "dtype": dtype,
        "force": force,
        "options": {name: value for name, value in settings.items() if value is not None},
    }
    share = parse_shard(shard) if shard else None
    if share or engine != "local" or is_many(paths, modality):
        summary = convert_folder(paths, output, workers=workers, shard=share, engine=engine, **common)
        _show_folder(summary, as_json)
        raise typer.Exit(1 if summary.failed else 0)
    _show_file(convert_file(paths[0], output, **common), as_json)


def _show_file(made: ConversionSummary, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(made.to_dict(), indent=1))
        return
    n, c, h, w = made.shape
    typer.echo(f"{'Already current' if made.skipped else 'Made'}: {made.output}")
    typer.echo(f"  what     {made.representation} of the {SENSORS[made.modality].title} ({made.reader})")
    typer.echo(f"  shape    {n} x {c} x {h} x {w} {made.dtype} (windows x channels x rows x columns)")
    if made.events is not None and made.duration_s is not None:
        rate = f", {made.event_rate / 1e6:.3g} M events/s" if made.event_rate else ""
        typer.echo(f"  events   {made.events:,} in {made.duration_s:.3f} s of recording{rate}")
    if made.skipped:
        typer.echo("  --force converts it again")
    else:
        speed = f" ({made.events / made.seconds / 1e6:.1f} M events/s)" if made.events else ""
        typer.echo(f"  seconds  {made.seconds:.2f}{speed}")
    for note in made.notes:
        typer.echo(f"  note     {note}")
    print_next(f"armseg visualize {made.output}")


def _show_folder(made: FolderSummary, as_json: bool) -> None:
    if as_json:
        values = {
            name: getattr(made, name) for name in ("converted", "skipped", "failed", "seconds", "manifest")
        }
        typer.echo(json.dumps({**values, "shard": made.shard, "outcomes": made.outcomes}, indent=1))
        return
    for entry in made.outcomes:
        if entry["status"] == "failed":
            typer.echo(f"failed: {entry['error']}", err=True)
    share = f" (share {made.shard[0]} of {made.shard[1]})" if made.shard else ""
    typer.echo(
        f"{made.converted} converted, {made.skipped} already current, {made.failed} failed "
        f"of {len(made.outcomes)} recordings{share} in {made.seconds:.1f} s"
    )
    typer.echo(f"Manifest: {made.manifest}")
    good = [entry for entry in made.outcomes if entry["status"] != "failed"]
    if good:
        print_next(f"armseg visualize {Path(made.manifest).parent / good[0]['output']}")


def sensor_flags() -> list[inspect.Parameter]:
    """One flag for each name in the options groups, listed by sensor in the help."""
    owners: dict[str, list[str]] = {}
    for sensor, row in SENSORS.items():
        for name in row.options.model_fields:
            owners.setdefault(name, []).append(sensor)
    shared_first = sorted(owners.items(), key=lambda item: len(item[1]) == 1)
    return [_flag(name, sensors) for name, sensors in shared_first]


def _flag(name: str, sensors: list[str]) -> inspect.Parameter:
    field = SENSORS[sensors[0]].options.model_fields[name]
    kind, metavar = _kind(field)
    flag = "--" + name.replace("_", "-")
    if kind is bool and field.default:
        flag += f"/--no-{flag[2:]}"
    panel = SENSORS[sensors[0]].title if len(sensors) == 1 else "several sensors"
    option = typer.Option(
        flag,
        metavar=metavar,
        help=_described(name, sensors, metavar),
        rich_help_panel=panel[0].upper() + panel[1:],
        show_default=False,
    )
    annotation: Any = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kind(field: FieldInfo) -> tuple[type, str | None]:
    """(type that typer parses, name of the value in the help); what is text here is parsed by the group."""
    annotation, checks = field.annotation, [*field.metadata]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):  # X | None
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
    if typing.get_origin(annotation) is Annotated:
        annotation, *more = typing.get_args(annotation)
        checks += more
    if any(isinstance(check, BeforeValidator) for check in checks):
        return str, "TIME" if annotation is int else "WxH"
    if typing.get_origin(annotation) is typing.Literal:
        return str, "|".join(typing.get_args(annotation))
    plain = {bool: (bool, None), int: (int, "N"), float: (float, "X"), Path: (str, "FILE")}
    return plain.get(annotation, (str, "TEXT"))  # type: ignore[arg-type]


def _described(name: str, sensors: list[str], metavar: str | None) -> str:
    """The description of an option (by sensor where they differ), and its default."""
    owners: dict[str, list[str]] = {}
    for sensor in sensors:
        owners.setdefault(SENSORS[sensor].options.model_fields[name].description or "", []).append(sensor)
    text = " ".join(
        description if len(owners) == 1 else f"{', '.join(names)}: {description}"
        for description, names in owners.items()
    )
    default = SENSORS[sensors[0]].options.model_fields[name].default
    if default is None or isinstance(default, bool):
        return text
    return f"{text} [{f'{default // 1000}ms' if metavar == 'TIME' else default}]"


def _with_flags(function: Any) -> None:
    signature = inspect.signature(function, eval_str=True)
    fixed = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    function.__signature__ = signature.replace(parameters=[*fixed, *sensor_flags()])


_with_flags(command)
