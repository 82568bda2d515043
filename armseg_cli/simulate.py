"""`armseg simulate`: write simulated scenes with raw files of every sensor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from armseg_cli.console import print_next


def command(
    out: Annotated[Path, typer.Argument(help="Folder to write the data set to.", metavar="OUT")],
    scenes: Annotated[int, typer.Option(help="Number of scenes.")] = 20,
    seed: Annotated[
        int, typer.Option(help="Scene i depends only on (seed, i), the size and the version.")
    ] = 0,
    size: Annotated[str, typer.Option(help="Image size, WIDTHxHEIGHT, both even.")] = "160x128",
    workers: Annotated[int, typer.Option(help="Processes that render at the same time.")] = 1,
    sensors: Annotated[str, typer.Option(help="Comma-separated sensors to write, or 'all'.")] = "all",
    light_field_views: Annotated[
        int, typer.Option(help="Light-field views per side: 3, 5, 7 or 9 (the center of the 9x9 grid).")
    ] = 9,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Write simulated street scenes: RGB, labels and raw files of all sensors, as a folder data set.

    Existing whole scenes with the same parameters are kept, so the command can be interrupted and repeated.

    Example:
        armseg simulate scenes --scenes 20 --seed 1 --size 160x128
    """
    import time

    from armseg_core.config.base import parse_size
    from armseg_core.sensors.modalities import parse_modalities
    from armseg_core.simulate import simulate

    start = time.perf_counter()
    simulate(
        out,
        scenes,
        seed=seed,
        size=parse_size(size),
        sensors=parse_modalities(sensors),
        workers=workers,
        progress=not quiet,
        light_field_views=light_field_views,
    )
    seconds = time.perf_counter() - start
    noun = "scene" if scenes == 1 else "scenes"
    typer.echo(f"{scenes} {noun} in {out} ({seconds:.1f} s, {scenes / seconds:.2f} scenes/s)")
    print_next(f"armseg check {out}")
