"""Anything armseg knows -> one picture: which kind of thing a path is, what to read of it, and who draws it.

    run folder            training curves and confusion matrices       -> plots/overview.png in the run
    data set folder       a sample: RGB, sensors, label                -> NAME_ID.view.png
    sensor-tensor file    a frame                                      -> STEM.view.png
    raw recording         a frame of a representation of the sensor    -> STEM.view.png
    RGB or label picture  the picture; a label in its colors and legend -> STEM.view.png

Shape letters: H rows, W columns.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core import advice
from armseg_core import visualization as vis
from armseg_core.arrays import Frame
from armseg_core.conversion.reading import Reading
from armseg_core.conversion.recording import Recording
from armseg_core.data.dataset import DataSet
from armseg_core.data.dataset_file import FILE_NAME, parse_dataset_file
from armseg_core.data.registry import describe, matching_kinds, open_dataset
from armseg_core.errors import ArmsegError, FormatError, InputError, UsageError
from armseg_core.files.ownership import check_free
from armseg_core.files.pictures import PICTURE_SUFFIXES, coding_of, read_label, read_rgb, save_png
from armseg_core.files.tensor_file import TensorInfo, is_tensor_file
from armseg_core.learning.metrics import ConfusionMatrix, percent
from armseg_core.learning.run_folder import RunFolder
from armseg_core.learning.suggestions import predict_command
from armseg_core.sensors.drawing import frame_note, render_frame, sample_figure
from armseg_core.sensors.light_field.panels import view_names
from armseg_core.sensors.modalities import MODALITIES, get_modality
from armseg_core.sensors.recognition import recognize
from armseg_core.sensors.representations import model_tensor


@dataclass(frozen=True)
class Figure:
    """A picture and what goes with it.

    picture: (H, W, 3) uint8. what: what it shows. stem: of its usual file name. next_command: what
    usually comes next.
    """

    picture: np.ndarray
    what: str
    stem: str
    next_command: str
    folder: Path | None = None  # where the picture belongs; None: the current folder


@dataclass(frozen=True)
class FigureSummary:
    """What `visualize` wrote: the file, its width and height, what it shows, and the next command."""

    output: Path
    width: int
    height: int
    what: str
    next_command: str


def visualize(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
    **choices: Any,
) -> FigureSummary:
    """Render a path to a PNG file; `choices` as in `make_figure`.

    Args:
        output: PNG file or existing folder; default `<stem>.view.png` in the current folder, and
            `plots/overview.png` inside a run folder.
        force: replace a file in the way that armseg did not make or that was changed since.

    Raises:
        ArmsegError: one line for the user; nothing is written.
    """
    if output is not None and not Path(output).is_dir() and Path(output).suffix.lower() != ".png":
        raise UsageError("the picture is a PNG file", where=output, expected="a name that ends in .png")
    made = make_figure(path, **choices)
    name = f"{made.stem}.png"
    target = Path(output) if output is not None else (made.folder or Path()) / name
    target = target / name if target.is_dir() else target
    if target.exists() and target.samefile(path):
        raise UsageError("would overwrite the file that is shown", where=target, hint="another name with -o")
    check_free([target], force=force)
    save_png(target, made.picture)
    height, width = made.picture.shape[:2]
    return FigureSummary(target, width, height, made.what, made.next_command)


def make_figure(
    path: str | os.PathLike[str],
    *,
    frame: int | None = None,
    modality: str | None = None,
    representation: str | None = None,
    options: dict[str, Any] | None = None,
    sample: str | None = None,
    alpha: float = 0.5,
) -> Figure:
    """The picture of a path.

    Args:
        path: run folder, data set folder, sensor-tensor file, raw recording (file or folder), picture.
        frame: number of the frame, negative from the end; default the fullest of events, else the middle one.
        modality: sensor of a raw recording whose content and name leave it open; "rgb" for a plain picture.
        representation: of a raw recording; default the sensor's.
        options: fields of the sensor's options group, for a raw recording (None = not given). Events are not
            normalized unless `norm` says so: red is then brighter and blue darker in any scene.
        sample: id of a sample of a data set; default the first.
        alpha: opacity of the label over the RGB of a sample.

    Raises:
        ArmsegError: the path is nothing that can be shown, or an option does not apply to it.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file or folder", where=path)
    sensor = None if modality is None else get_modality(modality).name
    kind = _kind(path, sensor)
    flags = {"--frame": frame, "--modality": modality, "--sample": sample, "--representation": representation}
    _check_options(path, kind, flags)
    if kind != "recording":
        _refuse_options(path, kind, options or {})
    if kind == "run":
        return _run_figure(RunFolder.of(path))
    if kind == "dataset":
        return _sample_figure(path, sample, alpha)
    if kind == "picture":
        return _picture_figure(path)
    if kind == "tensor":
        return _recording_figure(Recording.open(path), frame, advice.command("predict", "IMAGE", path))
    repeated = advice.sensor_flags(modality, representation, options)
    reading = Reading.find(path, sensor, options, representation)
    if representation is None and (shown := get_modality(reading.sensor).shown) is not None:
        return _shown_figure(Recording.of(reading), shown, frame, modality, options)
    if frame is not None and reading.reader.frames:
        given, frame = {"frame": frame, **(options or {})}, None
        repeated = advice.sensor_flags(modality, representation, given)
        reading = Reading.of(reading.reader, path, given, representation)
    return _recording_figure(_unnormalized(reading), frame, advice.command("convert", path, *repeated))


_OPTIONS_OF = {
    "run": (),
    "dataset": ("--sample",),
    "picture": ("--modality",),
    "tensor": ("--frame",),
    "recording": ("--frame", "--modality", "--representation"),
}
_TITLES = {
    "run": "a run",
    "dataset": "a data set",
    "picture": "a picture",
    "tensor": "a sensor-tensor file",
    "recording": "a raw recording",
}


def _check_options(path: Path, kind: str, given: dict[str, Any]) -> None:
    for flag, value in given.items():
        if value is not None and flag not in _OPTIONS_OF[kind]:
            owners = " or ".join(_TITLES[other] for other, flags in _OPTIONS_OF.items() if flag in flags)
            raise UsageError(f"{flag} does not apply to {_TITLES[kind]}", where=path, expected=owners)


def _refuse_options(path: Path, kind: str, options: dict[str, Any]) -> None:
    """Options of a sensor say how a raw recording is read: nothing else takes them."""
    for name, value in options.items():
        if value is not None:
            flag = "--" + name.replace("_", "-")
            raise UsageError(
                f"{flag} does not apply to {_TITLES[kind]}", where=path, expected=_TITLES["recording"]
            )


def _kind(path: Path, sensor: str | None) -> str:
    """run | dataset | tensor | picture | recording."""
    if RunFolder.of(path) is not None:
        return "run"
    if path.is_dir():
        return "recording" if sensor is not None or not _is_dataset(path) else "dataset"
    if is_tensor_file(path):
        return "tensor"
    may_be_picture = sensor is None and path.suffix.lower() in PICTURE_SUFFIXES
    if sensor == "rgb" or (may_be_picture and _is_plain_picture(path)):
        return "picture"
    return "recording"


def _is_dataset(path: Path) -> bool:
    return path.is_dir() and bool(matching_kinds(path))


def _is_plain_picture(path: Path) -> bool:
    """A picture file that is no recording of a sensor: a label map, or 8-bit and not claimed by a reader."""
    mode, _ = coding_of(path)  # "": the readers say what is wrong with it
    if mode in ("P", "1"):
        return True
    if mode not in ("L", "RGB", "RGBA", "LA"):
        return False
    try:
        recognize(path)  # also what cannot be read: the picture of a radiometric JPEG is no photo
    except FormatError:
        return True
    return False


# -- sensors


def _title(info: TensorInfo) -> str:
    title = MODALITIES[info.modality].title if info.modality in MODALITIES else info.modality
    return f"{title}, {info.representation.replace('_', ' ')}"


def _frame_figure(frame: Frame, info: TensorInfo, note: str) -> np.ndarray:
    pages = [render_frame(frame.values, info, frame.t_us, note)]
    row = MODALITIES["light_field"]
    if info.modality == row.name and len(view_names(info.channels) or ()) > 1:
        derived = model_tensor(row.name, frame.values, info.channels)
        made = TensorInfo(row.name, "model input", row.channels, ("px/view", "", ""), row.value_range)
        pages += [] if derived is None else [render_frame(derived, made)]
    return vis.stack(pages)


def _unnormalized(reading: Reading) -> Recording:
    """The recording, opened; events are not normalized unless that is asked for."""
    if reading.sensor == "event" and "norm" not in reading.options.model_fields_set:
        reading = replace(reading, options=reading.options.model_copy(update={"norm": "none"}))
    return Recording.of(reading)


def _shown_figure(
    recording: Recording,
    shown: Callable[[Any], tuple[str, ...]],
    frame: int | None,
    modality: str | None,
    options: dict[str, Any] | None,
) -> Figure:
    """The representations in which the sensor shows this recording, one page below the other."""
    names = shown(recording.content)
    default = names[0] == get_modality(recording.sensor).representation
    repeated = advice.sensor_flags(modality, None if default else names[0], options)
    command = advice.command("convert", recording.path, *repeated)
    figures = [_recording_figure(recording.represented(name), frame, command) for name in names]
    titles = ", ".join(name.replace("_", " ") for name in names[1:])
    what = ", ".join(filter(None, (figures[0].what, titles)))
    return replace(figures[0], picture=vis.stack([made.picture for made in figures]), what=what)


def _recording_figure(recording: Recording, frame: int | None, next_command: str) -> Figure:
    """A frame (default `fullest`) of a recording or sensor-tensor file, which is closed afterwards."""
    path = recording.path
    with recording:
        count = recording.count()
        index = recording.fullest() if frame is None else frame
        made = recording.read(index)
        info, note = recording.info(made), frame_note(index % count, count)
        picture = _frame_figure(made, info, note)
    what = ", ".join(filter(None, (_title(info), note)))
    stem = path.absolute().name if path.is_dir() else path.stem
    what = f"{recording.reader.title}: {what}" if recording.reader else what
    return Figure(picture, what, f"{stem}.view", next_command)


# -- pictures


def _picture_figure(path: Path) -> Figure:
    label = _as_label(path)
    if label is None:
        rgb = read_rgb(path)
        rgb = (rgb >> 8).astype(np.uint8) if rgb.dtype == np.uint16 else rgb
        page = vis.figure(path.name, f"{rgb.shape[1]} x {rgb.shape[0]}", [vis.Panel(rgb)])
        return Figure(page, "RGB picture", f"{path.stem}.view", advice.command("predict", path))
    folder, names, palette = _classes_near(path, label)
    seen = [int(i) for i in np.unique(label) if i < len(palette)]
    shares = [float((label == i).mean()) for i in seen]
    panels = [vis.Panel(vis.label_to_color(label, palette))]
    if seen:
        key = vis.legend([names[i] for i in seen], palette[seen], shares)
        panels.append(vis.Panel(key, "classes", fixed=True))
    ignored = float((label >= len(palette)).mean())
    note = f"{label.shape[1]} x {label.shape[0]}, {len(seen)} classes"
    note += f", {100 * ignored:.1f}% without a class" if ignored else ""
    return Figure(
        vis.figure(path.name, note, panels),
        f"label map, {len(seen)} classes",
        f"{path.stem}.view",
        advice.command("check", folder if folder else "DATA_SET"),
    )


def _as_label(path: Path) -> np.ndarray | None:
    """The class indices of a label picture; None for a photo.

    A gray picture is a label when its values are small, or its name says so.
    """
    mode, _ = coding_of(path)
    if mode not in ("P", "1", "L"):
        return None
    label = read_label(path)
    classes = label[label != 255]
    named = re.search(r"(?<![a-z])(labels?|masks?|gt|semantic|annotation)(?![a-z])", path.stem.lower())
    return label if mode != "L" or named or (classes.size and classes.max() < 64) else None


def _classes_near(path: Path, label: np.ndarray) -> tuple[Path | None, list[str], np.ndarray]:
    """(data set folder, class names, colors) of a label.

    They are those of the data set it lies in, else of its own palette, else made up.
    """
    for folder in list(path.absolute().parents)[:4]:
        if (folder / FILE_NAME).is_file():
            try:
                described = parse_dataset_file(folder / FILE_NAME)
            except ArmsegError:
                break
            if described.label is None or described.label.map:
                break  # the stored values are not the class indices
            classes = described.class_infos
            return folder, [c.name for c in classes], np.array([c.color for c in classes], np.uint8)
    known = label[label < 255]
    count = int(known.max()) + 1 if known.size else 1
    return None, [f"class {i}" for i in range(count)], _own_palette(path, count)


def _own_palette(path: Path, count: int) -> np.ndarray:
    _, stored = coding_of(path)
    palette = None if stored is None else stored[:count]
    return palette if palette is not None and len(palette) == count else vis.distinct_palette(count)


# -- samples and runs


def _sample_figure(path: Path, sample: str | None, alpha: float) -> Figure:
    dataset, index = _find_sample(path, sample)
    loaded = dataset.load(index)
    note = dataset.caption(index) or f"split {dataset.split}, {dataset.name}"
    palette = np.array([info.color for info in dataset.classes], np.uint8)
    names = [info.name for info in dataset.classes]
    picture = sample_figure(loaded, names, palette, alpha=alpha, note=note)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{dataset.name}_{loaded.id}")
    return Figure(
        picture,
        f"sample {loaded.id} of split '{dataset.split}'",
        f"{stem}.view",
        advice.command("train", path),
    )


def _find_sample(path: Path, sample: str | None) -> tuple[DataSet, int]:
    """The sample of that id in whichever split has it; without an id the first sample."""
    seen: list[str] = []
    problem: ArmsegError | None = None
    described = describe(path)
    for split in described.splits:
        try:
            dataset = open_dataset(described, split)
        except ArmsegError as error:  # an empty split; another may have the sample
            problem = problem or error
            continue
        if sample is None:
            return dataset, 0
        if sample in dataset.ids:
            return dataset, dataset.ids.index(sample)
        seen += dataset.ids
    if not seen and problem is not None:
        raise problem
    raise UsageError(f"no sample '{sample}'", where=path, expected="an id such as " + ", ".join(seen[:3]))


def _run_figure(run: RunFolder | None) -> Figure:
    assert run is not None
    rows, name = run.rows(), run.folder.absolute().name
    pages = [vis.training_curves(rows, f"Run {name}")] if rows else []
    pages += _confusion_pages(run.confusion())
    if not pages:
        raise InputError(
            "holds no numbers yet",
            where=run.folder,
            expected="rows of a training",
            hint="wait for the first step",
        )
    parts = ["training curves"] * bool(rows) + ["confusion matrix"] * (len(pages) > bool(rows))
    plot = run.plot("overview")
    return Figure(
        vis.stack(pages),
        f"run {name}: {' and '.join(parts)}",
        plot.stem,
        predict_command(run.data, run.folder, run.modalities),
        plot.parent,
    )


def _confusion_pages(report: dict[str, Any] | None, most: int = 4) -> list[np.ndarray]:
    """A page for each matrix of a report of `armseg eval`, or for the one of a validation."""
    pages = []
    for row in [] if report is None else report.get("rows", [report])[:most]:
        matrix = ConfusionMatrix.from_dict(row)
        inputs = " ".join(str(row[key]) for key in ("dataset", "inputs") if key in row)
        title = f"Confusion matrix {inputs}: mIoU {percent(matrix.miou)}".replace(" :", ":")
        names = row.get("class_names") or [f"class {i}" for i in range(matrix.num_classes)]
        pages.append(vis.confusion_figure(matrix.matrix, names, title))
    return pages
