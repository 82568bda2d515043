"""`armseg inspect`: what a file is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from armseg_cli.console import print_next, say
from armseg_cli.options import JsonOption
from armseg_cli.sensor_options import ModalityOption, with_sensor_options
from armseg_core import advice
from armseg_core.errors import ArmsegError, InputError, MissingExtraError
from armseg_core.files.json_text import to_json


@with_sensor_options
def command(
    paths: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Raw or converted files, or recording folders.")
    ],
    modality: ModalityOption = None,
    as_json: JsonOption = False,
    *,
    options: dict[str, Any],
) -> None:
    """Say what a raw or converted file is, without converting it.

    Format, size, resolution, duration, event rate, polarity balance, events out of order or unusable, bit
    depth, units, and where a converted file came from.

    Of several files, one that cannot be read does not stop the others; the exit code is 2 then.

    Example:
        armseg inspect sample_data/scene_00018/events.h5
    """
    from armseg_core.conversion.inspection import inspect_file

    reports: list[dict[str, Any]] = []
    refused: list[ArmsegError] = []
    for name in paths:
        try:
            report = inspect_file(name, modality=modality, options=options)
        except (InputError, MissingExtraError) as error:  # another file may be read; a wrong option is wrong
            if len(paths) == 1:
                raise
            refused.append(error)
            reports.append({"path": name, "error": str(error)})
            say(f"error: {error}", err=True)
            continue
        reports.append(report)
        if not as_json:
            show(report)
    if as_json:
        say(to_json(reports[0] if len(reports) == 1 else reports, indent=1))
    elif len(reports) == 1 and reports[0]["kind"] != "refused":
        converted = reports[0]["kind"] == "converted"
        path = Path(paths[0])
        possible = reports[0].get("representations", [None])
        flags = advice.sensor_flags(modality, possible[0], options)
        again = advice.command("visualize", path) if converted else advice.command("convert", path, *flags)
        print_next(again)
    if refused:
        raise typer.Exit(2)


def show(report: dict[str, Any]) -> None:
    """Print a report, one line per fact."""
    say(report["path"])
    for name, value in report.items():
        if name == "notes":
            for note in value:
                say(f"  {'note':<18} {note}")
        elif name != "path" and value is not None:
            say(f"  {name.replace('_', ' '):<18} {_text(name, value)}")


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_share") or name == "active_pixels":
        return f"{value:.1%}"
    if isinstance(value, int) and not name.endswith("_us"):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(key, item)}" for key, item in value.items())
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "; ".join(", ".join(f"{item:g}" for item in row) for row in value)
    if isinstance(value, list):
        text = ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
        names = {3: "  (least, median, greatest)", 2: "  (least, greatest)"}
        return text + (names.get(len(value), "") if all(isinstance(item, float) for item in value) else "")
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
