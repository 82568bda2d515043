"""`armseg predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from armseg_cli.console import print_next, say
from armseg_cli.options import (
    BackboneWeightsOption,
    DeviceOption,
    ForceOption,
    GuideWeightsOption,
    JsonOption,
    ModelOption,
    OutputOption,
    PrecisionOption,
)
from armseg_cli.sensor_options import ModalityOption, with_sensor_options
from armseg_core import advice
from armseg_core.files.json_text import to_json

if TYPE_CHECKING:
    from armseg_core.learning.prediction import Prediction


@with_sensor_options
def command(
    image: Annotated[Path, typer.Argument(help="RGB image.")],
    sensors: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Sensor recordings of the same view, one of each sensor: raw (events.h5, mosaic, TIFF, "
            "16-bit PNG, ...) or converted.",
            metavar="[SENSOR_FILE]...",
        ),
    ] = None,
    modality: ModalityOption = None,
    model: ModelOption = None,
    output: OutputOption = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="Whose class list, when the model knows several data sets."),
    ] = None,
    at_us: Annotated[
        int | None,
        typer.Option("--at", metavar="US", help="Time in the recording, microseconds (default: its end)."),
    ] = None,
    stretch: Annotated[
        bool, typer.Option("--stretch", help="Accept a sensor frame of another aspect ratio.")
    ] = False,
    guide_weights: GuideWeightsOption = None,
    backbone_weights: BackboneWeightsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    *,
    options: dict[str, Any],
) -> None:
    """Label every pixel of an image, with the help of sensor recordings.

    Writes NAME.mask.png (class indices with a palette), NAME.color.png and NAME.overlay.png (with legend) to
    the folder --output (default: predictions), and prints the share of each class. NAME is that of the
    image; where the folder holds the prediction of another image of that name, the image's own folder goes
    before it (scene_1_rgb.mask.png). The sensor of a file comes from --modality (names in the order of the
    files, with commas between), else from the file, else from the model.

    Example:
        armseg predict sample_data/scene_00018/rgb.png sample_data/scene_00018/thermal.tiff
        armseg predict sample_data/scene_00018/rgb.png sample_data/scene_00018/thermal.tiff \
sample_data/scene_00018/depth.png
        armseg predict sample_data/scene_00018/rgb.png --model runs/train-001 -o predicted
    """
    from armseg_core.errors import InputError
    from armseg_core.files.ownership import check_free
    from armseg_core.learning.prediction import Predictor
    from armseg_core.learning.prediction_files import prediction_paths, prediction_stem, save_prediction
    from armseg_core.learning.run_folder import RunFolder

    for path in (image, *(sensors or ())):
        if not path.exists():
            raise InputError("no such file", where=path)
    folder = Path("predictions" if output is None else output)
    stem = prediction_stem(folder, image)
    check_free(prediction_paths(folder, stem).values(), force=force)
    predictor = Predictor.load(
        model or RunFolder.newest().folder, device, guide_weights, backbone_weights, precision or "auto"
    )
    result = predictor.predict(
        image,
        *(sensors or ()),
        modalities=[] if modality is None else modality.split(","),
        dataset=dataset,
        at_us=at_us,
        options=options,
        stretch=stretch,
    )
    paths = save_prediction(result, folder, stem, image=image, force=force)
    if as_json:
        say(to_json(_values(result, paths), indent=2))
    else:
        _show(result, paths, [known.name for known in predictor.model.datasets])


def _inputs(result: Prediction) -> str:
    """'rgb only', or 'rgb + thermal (from file) + depth (from option)'."""
    named = [f"{name} (from {how})" for name, how in result.sensors.items()]
    return " + ".join(["rgb", *named]) if named else "rgb only"


def _values(result: Prediction, paths: dict[str, Path]) -> dict[str, Any]:
    return {
        "dataset": result.dataset.name,
        "sensors": result.sensors,
        "shares": result.shares,
        "mean_confidence": float(result.confidence.mean()),
        "files": {kind: str(path) for kind, path in paths.items()},
    }


def _show(result: Prediction, paths: dict[str, Path], known: list[str]) -> None:
    """known: names of the data sets of the model."""
    say(
        f"inputs: {_inputs(result)}, "
        f"{result.mask.shape[1]}x{result.mask.shape[0]}, mean confidence {result.confidence.mean():.0%}"
    )
    if len(known) > 1:
        others = ", ".join(name for name in known if name != result.dataset.name)
        say(f"classes: of {result.dataset.name} (--dataset takes those of: {others})")
    for name, share in result.shares.items():
        say(f"  {name:<20} {share:6.1%}")
    for kind, path in paths.items():
        say(f"{kind}: {path}")
    print_next(advice.command("visualize", paths["mask"]))
