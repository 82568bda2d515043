"""`armseg convert`: raw recordings to sensor-tensor files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from armseg_cli.console import print_next, say
from armseg_cli.options import (
    ForceOption,
    JsonOption,
    OutputOption,
    QuietOption,
    RepresentationOption,
    WorkersOption,
)
from armseg_cli.sensor_options import ModalityOption, with_sensor_options
from armseg_core import advice
from armseg_core.files.json_text import to_json
from armseg_core.sensors import get_modality

if TYPE_CHECKING:
    from armseg_core.conversion.convert import ConversionSummary
    from armseg_core.conversion.folder import FolderSummary


@with_sensor_options
def command(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Recordings, folders of recordings, or patterns such as 'scenes/*/events.h5'.",
        ),
    ],
    modality: ModalityOption = None,
    representation: RepresentationOption = None,
    output: OutputOption = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            metavar="TYPE",
            help="float16, float32, uint8 or uint16 (default: float16 for events, else "
            "what keeps the precision of the data).",
        ),
    ] = None,
    compression: Annotated[
        str | None,
        typer.Option(
            "--compression",
            metavar="NAME",
            help="gzip, which any HDF5 library reads, or blosc, which is quicker and needs hdf5plugin "
            "(default: gzip).",
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
    force: ForceOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    *,
    options: dict[str, Any],
) -> None:
    """Turn raw recordings of any sensor into sensor-tensor files (HDF5).

    The format is found from the content. One recording becomes STEM.REPRESENTATION.h5 beside it, or -o FILE.
    Of a folder or pattern every recording is converted in parallel, below -o FOLDER with the same structure;
    a run that was stopped is finished by the same command, and manifest.jsonl says what became of each
    recording. A result that is whole and current is left alone; --force makes it again.

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
        "compression": compression,
        "force": force,
        "options": options,
        "progress": not quiet,
    }
    share = parse_shard(shard) if shard else None
    if share or engine != "local" or is_many(paths, modality):
        # one worker is this process
        processes = workers if workers is None else max(1, workers)
        summary = convert_folder(paths, output, workers=processes, shard=share, engine=engine, **common)
        _show_folder(summary, as_json)
        raise typer.Exit(1 if summary.failed else 0)
    _show_file(convert_file(paths[0], output, **common), as_json)


def _show_file(made: ConversionSummary, as_json: bool) -> None:
    if as_json:
        say(to_json(made.to_dict(), indent=1))
        return
    n, c, h, w = made.shape
    say(f"{'Already current' if made.skipped else 'Made'}: {made.output}")
    say(f"  what     {made.representation} of the {get_modality(made.modality).title} ({made.reader})")
    say(f"  shape    {n} x {c} x {h} x {w} {made.dtype} (windows x channels x rows x columns)")
    if made.events is not None and made.duration_s is not None:
        rate = f", {made.event_rate / 1e6:.3g} M events/s" if made.event_rate else ""
        say(f"  events   {made.events:,} in {made.duration_s:.3f} s of recording{rate}")
    if made.skipped:
        say("  --force converts it again")
    else:
        speed = f" ({made.events / made.seconds / 1e6:.1f} M events/s)" if made.events else ""
        say(f"  seconds  {made.seconds:.2f}{speed}")
    for note in made.notes:
        say(f"  note     {note}")
    print_next(advice.command("visualize", Path(made.output)))


def _show_folder(made: FolderSummary, as_json: bool) -> None:
    if as_json:
        values = {
            name: getattr(made, name) for name in ("converted", "skipped", "failed", "seconds", "manifest")
        }
        say(to_json({**values, "shard": made.shard, "outcomes": made.outcomes}, indent=1))
        return
    for entry in made.outcomes:
        if entry["status"] == "failed":
            say(f"failed: {entry['error']}", err=True)
    share = f" (share {made.shard[0]} of {made.shard[1]})" if made.shard else ""
    say(
        f"{made.converted} converted, {made.skipped} already current, {made.failed} failed "
        f"of {len(made.outcomes)} recordings{share} in {made.seconds:.1f} s"
    )
    say(f"Manifest: {made.manifest}")
    good = [entry for entry in made.outcomes if entry["status"] != "failed"]
    if good:
        print_next(advice.command("visualize", Path(made.manifest).parent / good[0]["output"]))
