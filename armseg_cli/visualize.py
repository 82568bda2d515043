"""`armseg visualize`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from armseg_cli.console import print_next, say
from armseg_cli.options import ForceOption, JsonOption, OutputOption, RepresentationOption
from armseg_cli.sensor_options import ModalityOption, with_sensor_options
from armseg_core.files.json_text import to_json


@with_sensor_options
def command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="What to show.", show_default=False)],
    output: OutputOption = None,
    frame: Annotated[
        int | None,
        typer.Option(
            "--frame",
            metavar="N",
            help="Frame or window, from 0; negative from the end (default: the fullest window of "
            "events, else the middle one).",
        ),
    ] = None,
    modality: ModalityOption = None,
    representation: RepresentationOption = None,
    sample: Annotated[
        str | None, typer.Option("--sample", metavar="ID", help="Sample of a data set (default: the first).")
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", min=0, max=1, help="Opacity of a sample's label over its RGB image.")
    ] = 0.5,
    force: ForceOption = False,
    as_json: JsonOption = False,
    *,
    options: dict[str, Any],
) -> None:
    """Render a recording, tensor file, sample or run as PNG.

    PATH is a raw recording of a sensor, a sensor-tensor file, an RGB or label picture, a data set folder
    (shows a sample) or a run folder (shows training curves and the confusion matrix). The picture goes to
    NAME.view.png in the current folder, that of a run to plots/overview.png in the run.

    Example:
        armseg visualize sample_data --sample scene_00018
    """
    from armseg_core.figures import visualize

    made = visualize(
        path,
        output,
        force=force,
        frame=frame,
        modality=modality,
        representation=representation,
        options=options,
        sample=sample,
        alpha=alpha,
    )
    if as_json:
        say(to_json({**asdict(made), "output": str(made.output)}, indent=1))
        return
    say(f"{made.output}  ({made.width}x{made.height}, {made.what})")
    print_next(made.next_command)
