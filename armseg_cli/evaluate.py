"""`armseg eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from armseg_cli.console import print_next, print_table
from armseg_cli.options import DeviceOption, JsonOption, ModalitiesOption, SizeOption

if TYPE_CHECKING:
    from armseg_core.learning.evaluation import Report
    from armseg_core.learning.run_folder import RunFolder


def command(
    model: Annotated[
        Path | None, typer.Argument(help="Run or model folder (default: the newest run in runs/).")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", metavar="FOLDER", help="Data set (default: those the run was trained on)."),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Split to measure.")] = "test",
    modalities: ModalitiesOption = None,
    controls: Annotated[
        bool,
        typer.Option("--controls", help="Also measure the sensor alone, and the sensor of another scene."),
    ] = False,
    size: SizeOption = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images at a time.")] = 8,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="CLIP weights, when they have moved.")
    ] = None,
    device: DeviceOption = "auto",
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure a model on a split: IoU per class, mIoU in both conventions, pixel accuracy.

    The RGB-only row always stands beside the rows with a sensor. "mIoU" averages over the classes that occur,
    "mIoU all" counts an absent class as 0. Inputs are resized as in training, unless --size says otherwise;
    logits are resized to the label.

    Example:
        armseg eval
        armseg eval runs/train-001 --split val --controls
    """
    from armseg_core.config.base import parse_size
    from armseg_core.learning.evaluation import evaluate, save_report
    from armseg_core.learning.run_folder import RunFolder, find_model
    from armseg_core.sensors.modalities import parse_modalities

    folder = find_model(model) if model else RunFolder.newest().model
    run = RunFolder.of(folder)
    report = evaluate(
        folder,
        data or _training_data(run),
        split,
        modalities=None if modalities is None else parse_modalities(modalities),
        controls=controls,
        size=parse_size(size) if size else None,
        batch_size=batch_size,
        device=device,
        precision=precision,
        weights=weights,
    )
    saved = None
    if run is not None:
        saved = run.eval_report(split)
        save_report(report, saved)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        _show(report, saved)


def _training_data(run: RunFolder | None) -> list[Path]:
    """The data sets that a run was trained on."""
    from armseg_core.data.sample_data import sample_data_dir
    from armseg_core.errors import UsageError

    found = run.data if run is not None else []
    if not found:
        raise UsageError(
            "no data set given, and the model folder has no run folder around it", hint="--data FOLDER"
        )
    missing = [p for p in found if not p.is_dir()]
    if missing and all("sample_data" in p.name for p in missing):
        return [sample_data_dir()]
    return found


def _input_size(report: Report) -> str:
    """'64x48' or 'native', and the size of the training where it was another one."""

    def words(size: tuple[int, int] | None) -> str:
        return f"{size[1]}x{size[0]}" if size else "native"

    if report.size == report.trained_size:
        return words(report.size)
    return f"{words(report.size)} (--size; trained at {words(report.trained_size)})"


def _show(report: Report, saved: Path | None) -> None:
    typer.echo(f"model: {report.model}, split: {report.split}, input size: {_input_size(report)}")
    for dataset, names in report.class_names.items():
        rows = [r for r in report.rows if r.dataset == dataset]
        present = int(rows[0].matrix.present.sum())
        cells: list[tuple[str, ...]] = [
            (n, *("-" if not r.matrix.present[k] else f"{r.matrix.iou[k]:.1%}" for r in rows))
            for k, n in enumerate(names)
        ]
        cells += [
            (f"mIoU ({present} of {len(names)} present)", *(f"{r.matrix.miou:.1%}" for r in rows)),
            ("mIoU all", *(f"{r.matrix.miou_all:.1%}" for r in rows)),
            ("pixel accuracy", *(f"{r.matrix.pixel_accuracy:.1%}" for r in rows)),
            ("samples", *(str(r.samples) for r in rows)),
        ]
        print_table(
            ("class", *(r.inputs.title for r in rows)), cells, title=dataset, numeric=range(1, len(rows) + 1)
        )
    if saved is not None:
        typer.echo(f"saved: {saved}")
    print_next("armseg predict IMAGE SENSOR_FILE")
