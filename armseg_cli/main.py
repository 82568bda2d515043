"""The table of commands and the application built from it."""

from __future__ import annotations

from typing import Annotated

import typer

from armseg_cli.group import ArmsegGroup, Row

FORMER_WEIGHTS = {"--weights": "--guide-weights"}
FORMER_CLIP = {"--clip": "--guide", "--pretrained": "--guide-pretrained", **FORMER_WEIGHTS}
COMMANDS: tuple[Row, ...] = (
    Row(
        "convert",
        "armseg_cli.convert",
        "Turn raw recordings into sensor-tensor files.",
        "finished outputs are kept; run the same command again to do the rest",
    ),
    Row(
        "train",
        "armseg_cli.train",
        "Train a model on one or several data sets.",
        "nothing was written",
        {"--out": "--output", **FORMER_CLIP},
    ),
    Row(
        "eval",
        "armseg_cli.evaluate",
        "Measure a model: IoU per class, RGB only beside RGB+X.",
        "nothing was written",
        {"--data": "armseg eval DATA --model RUN", **FORMER_WEIGHTS},
    ),
    Row(
        "predict",
        "armseg_cli.predict",
        "Segment an image with its sensor recordings.",
        "finished pictures are kept",
        FORMER_WEIGHTS,
    ),
    Row(
        "visualize",
        "armseg_cli.visualize",
        "Render a recording, tensor file, sample or run as PNG.",
        "finished pictures are kept",
    ),
    Row(
        "inspect",
        "armseg_cli.inspect",
        "Say what a raw or converted file is, without converting it.",
        "nothing was written",
        {"--option": "--set KEY=VALUE"},
    ),
    Row("check", "armseg_cli.check", "List every problem of a data set at once.", "nothing was written"),
    Row(
        "simulate",
        "armseg_cli.simulate",
        "Make scenes with raw files of all sensors.",
        "finished scenes are kept",
        {"--sensors": "--modalities"},
    ),
    Row(
        "demo",
        "armseg_cli.demo",
        "convert, train, eval, predict and visualize on sample data.",
        "finished steps are kept in the output folder; run the same command to start again",
    ),
    Row(
        "doctor",
        "armseg_cli.doctor",
        "Check this installation: versions, GPU, codecs, weights.",
        "nothing was written",
    ),
)


class Commands(ArmsegGroup):
    """`ArmsegGroup` with the rows above."""

    rows = COMMANDS


app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """RGB-X semantic segmentation: from a raw sensor recording to a colored mask.

    Sensors: event camera, thermal, depth and LiDAR, polarization, light field.

    Example:
        armseg demo
    """
    if version:
        from armseg_core import __version__

        typer.echo(f"armseg {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
