"""`armseg eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from armseg_cli.console import print_next, print_table, say
from armseg_cli.options import (
    BackboneWeightsOption,
    BatchSizeOption,
    DataArgument,
    DeviceOption,
    ForceOption,
    GuideWeightsOption,
    JsonOption,
    ModalitiesOption,
    ModelOption,
    PrecisionOption,
    QuietOption,
    SizeOption,
)
from armseg_core import advice
from armseg_core.files.json_text import to_json

if TYPE_CHECKING:
    from armseg_core.learning.evaluation import Report


def command(
    data: DataArgument = None,
    model: ModelOption = None,
    split: Annotated[str, typer.Option("--split", help="Split to measure.")] = "test",
    modalities: ModalitiesOption = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--inputs",
            metavar="rgb+SENSOR+...",
            help="Measure these inputs instead, such as rgb+thermal+depth or thermal; may be repeated.",
        ),
    ] = None,
    controls: Annotated[
        bool,
        typer.Option("--controls", help="Also measure the sensors alone, and those of another scene."),
    ] = False,
    size: SizeOption = None,
    batch_size: BatchSizeOption = None,
    guide_weights: GuideWeightsOption = None,
    backbone_weights: BackboneWeightsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a model on a split: IoU per class, mIoU in both conventions, pixel accuracy.

    Without DATA, on the data sets that the run was trained on.

    Rows: the RGB image alone, with each sensor, and with all of them; --inputs asks for others. "mIoU"
    averages over the classes that occur, "mIoU all" counts an absent class as 0. Inputs are resized as in
    training, unless --size says otherwise; logits are resized to the label. The report is kept in the run,
    metrics/eval_SPLIT.json.

    Example:
        armseg eval
        armseg eval sample_data --model runs/train-001 --split val --controls
    """
    from armseg_core.config.base import parse_size
    from armseg_core.data import describe
    from armseg_core.errors import UsageError
    from armseg_core.files.ownership import check_free
    from armseg_core.learning.evaluation import evaluate, save_report, training_data
    from armseg_core.learning.inputs import Inputs
    from armseg_core.learning.run_folder import RunFolder, find_model
    from armseg_core.sensors.modalities import parse_modalities

    if inputs and (controls or modalities is not None):
        other = "--controls" if controls else "--modalities"
        raise UsageError(f"{other} beside --inputs, which names every row itself", hint="one of the two")
    _refuse_models(data or [])
    folder = find_model(model) if model else RunFolder.newest().model
    run = RunFolder.of(folder)
    saved = None if run is None else run.eval_report(split)
    if saved is not None:
        check_free([saved], force=force, elsewhere="")
    sources = data or training_data(run, folder)
    for source in sources if modalities else ():
        describe(source)  # it may declare sensors
    given: dict[str, Any] = {"batch_size": batch_size, "precision": precision}
    report = evaluate(
        folder,
        sources,
        split,
        modalities=None if modalities is None else parse_modalities(modalities),
        inputs=[Inputs.parse(text) for text in inputs or ()],
        controls=controls,
        size=parse_size(size) if size else None,
        device=device,
        guide_weights=guide_weights,
        backbone_weights=backbone_weights,
        progress=not quiet,
        **{name: value for name, value in given.items() if value is not None},
    )
    if saved is not None:
        save_report(report, saved, force=force)
    if as_json:
        say(to_json(report.to_dict(), indent=2))
    else:
        _show(report, saved)
        same = [
            ("--model", model),
            ("--guide-weights", guide_weights),
            ("--backbone-weights", backbone_weights),
        ]
        flags = [word for flag, value in same if value is not None for word in (flag, value)]
        image, *others = report.example
        print_next(advice.command("predict", image, *others, *flags))


def _refuse_models(data: list[Path]) -> None:
    """Models among the data sets: they were positional once.

    Raises:
        UsageError: there is one, with the command that measures it.
    """
    from armseg_core.errors import UsageError
    from armseg_core.learning.run_folder import RunFolder, is_model_folder

    for path in data:
        if is_model_folder(path) or RunFolder.of(path) is not None:
            others = [other for other in data if other != path]
            hint = advice.command("eval", *others, "--model", path)
            raise UsageError("is a model and not a data set", where=path, hint=hint)


def _input_size(report: Report) -> str:
    """'64x48' or 'native', and the size of the training where it was another one."""

    def words(size: tuple[int, int] | None) -> str:
        return f"{size[1]}x{size[0]}" if size else "native"

    if report.size == report.trained_size:
        return words(report.size)
    return f"{words(report.size)} (--size; trained at {words(report.trained_size)})"


def _show(report: Report, saved: Path | None) -> None:
    from armseg_core.learning.metrics import percent

    say(f"model: {report.model}, split: {report.split}, input size: {_input_size(report)}")
    for dataset, names in report.class_names.items():
        rows = [r for r in report.rows if r.dataset == dataset]
        present = int(rows[0].matrix.present.sum())
        cells: list[tuple[str, ...]] = [
            (n, *("-" if not r.matrix.present[k] else f"{r.matrix.iou[k]:.1%}" for r in rows))
            for k, n in enumerate(names)
        ]
        cells += [
            (f"mIoU ({present} of {len(names)} present)", *(percent(r.matrix.miou) for r in rows)),
            ("mIoU all", *(percent(r.matrix.miou_all) for r in rows)),
            ("pixel accuracy", *(percent(r.matrix.pixel_accuracy) for r in rows)),
            ("samples", *(str(r.samples) for r in rows)),
        ]
        print_table(
            ("class", *(r.inputs.title for r in rows)), cells, title=dataset, numeric=range(1, len(rows) + 1)
        )
    if saved is not None:
        say(f"saved: {saved}")
