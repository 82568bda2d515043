"""`armseg train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from armseg_cli.console import print_next, print_table, say
from armseg_cli.group import ArmsegCommand
from armseg_cli.options import (
    BACKBONE_WEIGHTS,
    BatchSizeOption,
    DataArgument,
    ForceOption,
    GuideWeightsOption,
    JsonOption,
    ModalitiesOption,
    OutputOption,
    PrecisionOption,
    QuietOption,
    SeedOption,
    SizeOption,
    StepsOption,
    TrainingDeviceOption,
    WorkersOption,
)
from armseg_cli.settings import set_option
from armseg_cli.training_options import LATEST, groups
from armseg_core.config.presets import PRESETS
from armseg_core.files.json_text import to_json

if TYPE_CHECKING:
    from armseg_core.learning.run_folder import RunFolder


class TrainCommand(ArmsegCommand):
    """A command whose --resume may stand without a value: the newest run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _with_newest(args))


def _with_newest(args: list[str]) -> list[str]:
    """The arguments with `--resume latest` for a `--resume` that no value follows."""
    known = args[: args.index("--")] if "--" in args else args
    places = [i for i, word in enumerate(known) if word == "--resume"]
    bare = [i for i in places if i + 1 == len(known) or known[i + 1].startswith("-")]
    return [word for i, arg in enumerate(args) for word in ([arg, LATEST] if i in bare else [arg])]


def command(
    data: DataArgument = None,
    modalities: ModalitiesOption = None,
    steps: StepsOption = None,
    batch_size: BatchSizeOption = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")] = None,
    size: SizeOption = None,
    crop: Annotated[str | None, typer.Option("--crop", metavar="WxH", help="Training crop.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="Size of the network: " + ", ".join(f"{n} ({p.title})" for n, p in PRESETS.items()) + ".",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            metavar="NAME",
            help="Encoder of RGB: small, convnext_tiny (any of timm), mit_b0, clip; help lists them.",
        ),
    ] = None,
    backbone_weights: Annotated[
        str | None,
        typer.Option(
            "--backbone-weights",
            metavar="FILE",
            help=BACKBONE_WEIGHTS,
        ),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option("--tune", metavar="HOW", help="How the backbone learns: frozen, lora or full."),
    ] = None,
    guide: Annotated[
        str | None,
        typer.Option(
            "--guide",
            metavar="NAME",
            help="CLIP that guides: armseg-tiny, an open_clip name such as ViT-B-16-quickgelu, a config "
            ".json, or none.",
        ),
    ] = None,
    guide_pretrained: Annotated[
        str | None,
        typer.Option(
            "--guide-pretrained", metavar="TAG", help="open_clip tag of the guide's weights, such as openai."
        ),
    ] = None,
    guide_weights: GuideWeightsOption = None,
    output: OutputOption = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run (default: train).")] = None,
    seed: SeedOption = None,
    device: TrainingDeviceOption = None,
    precision: PrecisionOption = None,
    workers: WorkersOption = None,
    # the parameter's type is made by a call, which typer may do and mypy not
    settings: set_option(groups) = None,  # type: ignore[valid-type]
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run folder (without RUN: the newest)."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Build everything, run one batch, print shapes and sizes, write nothing."
        ),
    ] = False,
    force: ForceOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train one model for RGB and the given sensors, in a new run folder below --output (default: runs).

    Several data sets may be given: they are trained jointly. Sensors that a data set lacks are left out for
    it. Without a data set the sample data is used, and without --guide the bundled demonstration CLIP guides.
    A new run never replaces a file; --force is for the pictures of a run that goes on.

    A run that goes on keeps its options; --device, --workers, --guide-weights and --backbone-weights may be
    given anew.

    Example:
        armseg train --modalities depth,thermal
        armseg train DATA --preset b --guide ViT-B-16-quickgelu --guide-pretrained openai --steps 20000
    """
    from armseg_cli.training_options import resolve_resume, resumed_config, train_config
    from armseg_core.data import describe
    from armseg_core.learning.run_folder import RunFolder
    from armseg_core.learning.suggestions import after_training
    from armseg_core.learning.training import dry_run as run_dry
    from armseg_core.learning.training import train

    if backbone == "help":
        _show_backbones()
        return

    flags = {
        "steps": steps,
        "batch_size": batch_size,
        "lr": lr,
        "size": size,
        "crop": crop,
        "out": output,
        "name": name,
        "seed": seed,
        "device": device,
        "precision": precision,
        "workers": workers,
        "model.backbone": backbone,
        "model.backbone_weights": backbone_weights,
        "model.tune": tune,
        "model.guide": guide,
        "model.guide_pretrained": guide_pretrained,
        "model.guide_weights": guide_weights,
    }
    run, described = None, None
    if resume is not None:
        # --output says where to look for the run
        changes = resumed_config(data, modalities, settings or [], {**flags, "out": None}, preset)
        run = resolve_resume(resume, output)
        config = changes(RunFolder.reopen(run)[1])
    else:
        config, described = train_config(data, modalities, settings or [], flags, preset)
    if dry_run:
        _show_dry_run(run_dry(config, described), as_json)
    else:
        made = RunFolder(train(config, resume=run, data=described, progress=not quiet, force=force))
        _show(made, as_json)
        if not as_json:
            print_next(after_training(made, described or [describe(folder) for folder in config.data]))


command.command_class = TrainCommand  # type: ignore[attr-defined]


def _show_backbones() -> None:
    """The table of backbones, with the licenses of their published weights."""
    from armseg_core.model.backbones.table import list_backbones

    rows = [(line.name, line.title, line.license or "-") for line in list_backbones()]
    print_table(("--backbone", "kind", "license of its weights"), rows)


def _show_dry_run(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say(to_json(facts, indent=2))
        return
    print_table(("what", "value"), [(k.replace("_", " "), v) for k, v in facts.items() if k != "terms"])
    say("dry run: nothing was written")


def _show(run: RunFolder, as_json: bool) -> None:
    from armseg_core.learning.metrics import percent

    last: dict[str, dict[str, float | None]] = next(
        (r["val"] for r in reversed(run.rows()) if "val" in r), {}
    )
    if as_json:
        say(to_json({"run": str(run.folder), "validation": last}))
        return
    table = [
        (data, inputs, percent(miou)) for data, values in last.items() for inputs, miou in values.items()
    ]
    if table:
        print_table(("data set", "inputs", "val mIoU"), table, numeric=(2,))
    say(f"run folder: {run.folder} (best/ and last/ are model folders, plots/ has the curves)")
