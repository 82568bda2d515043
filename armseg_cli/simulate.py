"""`armseg simulate`: write simulated scenes with raw files of every sensor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from armseg_cli.console import print_next, say
from armseg_cli.options import (
    ForceOption,
    JsonOption,
    ModalitiesOption,
    QuietOption,
    SeedOption,
    SizeOption,
    WorkersOption,
)
from armseg_core import advice
from armseg_core.files.json_text import to_json


def command(
    out: Annotated[Path, typer.Argument(help="Folder to write the data set to.", metavar="OUT")],
    scenes: Annotated[int, typer.Option("--scenes", help="Number of scenes.")] = 20,
    seed: SeedOption = None,
    size: SizeOption = None,
    workers: WorkersOption = None,
    modalities: ModalitiesOption = None,
    light_field_views: Annotated[
        int, typer.Option(help="Light-field views per side: 3, 5, 7 or 9 (the center of the 9x9 grid).")
    ] = 9,
    force: ForceOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write simulated street scenes: RGB, labels and raw files of all sensors, as a folder data set.

    OUT stands where the other commands take DATA, as it is a data set afterwards. Scene i depends only on
    (seed, i), the size (default: 160x128; both sides even) and the version. Whole scenes with the same
    parameters are kept, so that the command can be interrupted and repeated. Scenes with other parameters
    are replaced, unless a file in them is not armseg's or was changed.

    Example:
        armseg simulate scenes --scenes 20 --seed 1 --size 160x128
    """
    import time

    from armseg_core.config.base import parse_size
    from armseg_core.conversion.folder import available_cores
    from armseg_core.sensors.modalities import parse_modalities
    from armseg_core.simulate import simulate

    start = time.perf_counter()
    simulate(
        out,
        scenes,
        seed=seed or 0,
        size=parse_size(size or "160x128"),
        sensors=parse_modalities("all" if modalities is None else modalities),
        workers=available_cores() if workers is None else max(1, workers),  # one worker is this process
        progress=not (quiet or as_json),
        light_field_views=light_field_views,
        force=force,
    )
    seconds = time.perf_counter() - start
    if as_json:
        say(to_json({"data": str(out), "scenes": scenes, "seconds": seconds}))
        return
    noun = "scene" if scenes == 1 else "scenes"
    say(f"{scenes} {noun} in {out} ({seconds:.1f} s, {scenes / seconds:.2f} scenes/s)")
    print_next(advice.command("check", out))
