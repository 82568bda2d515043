"""`armseg train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from armseg_cli.console import print_next, print_table
from armseg_cli.options import DeviceOption, JsonOption, ModalitiesOption, SizeOption

if TYPE_CHECKING:
    from armseg_core.learning.run_folder import RunFolder


def command(
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Data set folders (default: the sample data).", metavar="[DATA]..."),
    ] = None,
    modalities: ModalitiesOption = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Optimizer steps.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Images per step.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")] = None,
    size: SizeOption = None,
    crop: Annotated[str | None, typer.Option("--crop", metavar="WxH", help="Training crop.")] = None,
    clip: Annotated[
        str | None,
        typer.Option(
            "--clip",
            metavar="NAME",
            help="CLIP model: armseg-tiny, an open_clip name such as ViT-B-16-quickgelu, or a config .json.",
        ),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            "--pretrained", metavar="TAG", help="open_clip tag of the CLIP weights, such as openai."
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="Local CLIP weights, instead of a tag.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where the run folder goes (default: runs)."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run (default: train).")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed of weights, sampling and augmentation.")
    ] = None,
    device: DeviceOption = "auto",
    precision: Annotated[str | None, typer.Option("--precision", help="auto, fp32 or bf16.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Processes that prepare batches.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any other option, such as loss.dice=0.3 or model.lora_rank=4."
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run folder; 'latest' takes the newest."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Build everything, run one batch, print shapes and sizes, write nothing."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train one model for RGB and the given sensors.

    Several data sets may be given: they are trained jointly. Sensors that a data set lacks are left out for
    it. Without a data set the sample data is used, and without --clip the bundled demonstration CLIP.

    Example:
        armseg train --modalities depth,thermal
        armseg train DATA --clip ViT-B-16-quickgelu --pretrained openai --steps 20000
    """
    from armseg_cli.training_options import resolve_resume, train_config
    from armseg_core.learning.run_folder import RunFolder
    from armseg_core.learning.training import dry_run as run_dry
    from armseg_core.learning.training import train

    flags = {
        "steps": steps,
        "batch_size": batch_size,
        "lr": lr,
        "size": size,
        "crop": crop,
        "out": out,
        "name": name,
        "seed": seed,
        "device": None if device == "auto" else device,
        "precision": precision,
        "workers": workers,
        "model.clip": clip,
        "model.pretrained": pretrained,
        "model.weights": weights,
    }
    run, described = None, None
    if resume is not None:
        # --out says where to look for the run
        given = {"DATA": data, "modalities": modalities, "set": settings, **flags, "out": None}
        run = resolve_resume(resume, out, [key for key, value in given.items() if value not in (None, [])])
        config = RunFolder.reopen(run)[1]
    else:
        config, described = train_config(data, modalities, settings or [], flags)
    if dry_run:
        _show_dry_run(run_dry(config, described), as_json)
    else:
        _show(RunFolder(train(config, resume=run, data=described)), as_json)


def _show_dry_run(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    print_table(("what", "value"), [(k.replace("_", " "), v) for k, v in facts.items() if k != "terms"])
    typer.echo("dry run: nothing was written")


def _show(run: RunFolder, as_json: bool) -> None:
    last: dict[str, dict[str, float]] = next((r["val"] for r in reversed(run.rows()) if "val" in r), {})
    if as_json:
        typer.echo(json.dumps({"run": str(run.folder), "validation": last}))
        return
    table = [
        (data, inputs, f"{miou:.1%}") for data, values in last.items() for inputs, miou in values.items()
    ]
    if table:
        print_table(("data set", "inputs", "val mIoU"), table, numeric=(2,))
    typer.echo(f"run folder: {run.folder} (best/ and last/ are model folders, plots/ has the curves)")
    print_next(f"armseg eval {run.folder}")
