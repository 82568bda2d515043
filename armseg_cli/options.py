"""Option types that several commands share: one spelling, one help text.

Sizes, durations and sensor names stay text here; the core parses them (`config.base.parse_size`,
`modalities.get_modality`) and raises a `UsageError` that names what was expected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[DATA]...", help="Data set folders (default: the sample data, or the model's)."),
]
OutputOption = Annotated[
    str | None,  # text: a "/" at the end says that a folder is meant
    typer.Option("--output", "-o", metavar="PATH", help="Where the result goes (default: see above)."),
]
ForceOption = Annotated[
    bool,
    typer.Option(
        "--force", help="Replace what is in the way, also files that were changed or not made by armseg."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]
ModalitiesOption = Annotated[
    str | None,
    typer.Option(
        "--modalities",
        metavar="SENSOR,...",
        help="Sensors beside RGB, such as depth,thermal; all; rgb for none (default: all).",
    ),
]
RepresentationOption = Annotated[
    str | None,
    typer.Option(
        "--representation",
        "-r",
        metavar="NAME",
        help="What to make: voxel_grid, stokes, ... (default: the sensor's; a wrong name lists all).",
    ),
]
SizeOption = Annotated[
    str | None,
    typer.Option("--size", metavar="WxH", help="Width x height of the images in pixels, such as 640x480."),
]
_DEVICE = typer.Option("--device", metavar="DEVICE", help="auto (CUDA where there is one), cpu or cuda.")
DeviceOption = Annotated[str, _DEVICE]
TrainingDeviceOption = Annotated[str | None, _DEVICE]  # None: that of the run, when it goes on
PrecisionOption = Annotated[
    str | None,
    typer.Option("--precision", metavar="NAME", help="fp32, bf16 or auto: bf16 on CUDA, else fp32."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Processes beside this one; 0: none (default: one per core, in training none).",
    ),
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", min=0, help="Seed of all random choices (default: 0).")
]
StepsOption = Annotated[int | None, typer.Option("--steps", min=1, help="Optimizer steps of the training.")]
BatchSizeOption = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Images at a time (default: 8).")
]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", metavar="FOLDER", help="Model or run folder (default: the newest run in runs/)."),
]
BACKBONE_WEIGHTS = "Weights of the backbone: a file, or to begin with default (published) or none (random)."
GuideWeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--guide-weights",
        metavar="FILE",
        help="Local file of the guide's CLIP weights, instead of a tag or where they have moved.",
    ),
]
BackboneWeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--backbone-weights",
        metavar="FILE",
        help=BACKBONE_WEIGHTS,
    ),
]
