"""The whole way of armseg on the sample data: convert, train, eval, predict, visualize.

Uses only what the commands use, so that a demonstration that works says something about the product.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from armseg_core.config.training import TrainConfig
from armseg_core.conversion.convert import ConversionSummary, convert_file
from armseg_core.data import open_dataset
from armseg_core.data.dataset import DataSet
from armseg_core.data.sample_data import sample_data_dir
from armseg_core.files.ownership import check_free
from armseg_core.files.pictures import save_png
from armseg_core.learning.evaluation import Report, evaluate, save_report
from armseg_core.learning.inference import pick_device
from armseg_core.learning.inputs import RGB_ONLY, Inputs
from armseg_core.learning.prediction import Prediction, Predictor
from armseg_core.learning.prediction_files import prediction_paths, save_prediction
from armseg_core.learning.training import train
from armseg_core.sensors.drawing import render_model_tensor, render_tensor_file
from armseg_core.sensors.modalities import BUILT_IN, MODALITIES
from armseg_core.visualization import (
    Panel,
    figure,
    label_to_color,
    legend,
)

STEPS = 300  # of training: the whole demo takes two to four minutes on 2 CPU cores


@dataclass
class DemoResult:
    """What the demonstration made; every path lies in the output folder."""

    data: Path
    run: Path
    report: Report
    pictures: list[Path] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # by step, in order


def run_demo(
    output: Path,
    *,
    steps: int = STEPS,
    device: str = "auto",
    seed: int = 0,
    say: Callable[[str], None] = print,
    progress: bool = True,
    force: bool = False,
) -> DemoResult:
    """Run every stage on the sample data.

    Args:
        output: folder for everything that is made; what an earlier demonstration made is replaced, its runs
            are kept.
        steps: optimizer steps of the training.
        device: auto, cpu or cuda.
        seed: of the training.
        say: receives one line as each stage begins.
        progress: show bars on stderr when it is a terminal.
        force: replace files in the way that armseg did not make or that were changed since.

    Raises:
        OutputError: such a file is in the way; nothing was made.
        ArmsegError: a stage failed; what the earlier stages made is kept.
    """
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str, line: str) -> Iterator[None]:
        say(f"{name}: {line}")
        started = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - started

    data = sample_data_dir()
    config = TrainConfig.parse(
        {
            "data": (data,),
            "out": output / "runs",
            "name": "demo",
            "steps": steps,
            "device": device,
            "seed": seed,
        },
        where="armseg demo",
    )
    pick_device(device)  # say at once that a device is missing
    scenes = open_dataset(data, "test", BUILT_IN)
    check_free(result_files(scenes, output), force=force)
    with stage("convert", "one raw recording of each sensor becomes a sensor-tensor file"):
        conversions = convert_one_of_each(scenes, output / "converted", force=force)
    with stage("train", f"one model for {len(scenes.modalities)} sensors, {steps} steps"):
        run = train(config, progress=progress)
    with stage("eval", "the test scenes, RGB only and with each sensor"):
        report = evaluate(run, [data], "test", device=device, progress=progress)
        save_report(report, output / "evaluation.json", force=force)
    with stage("predict", "one test scene with each of its sensors"):
        pictures = predict_one_scene(Predictor.load(run, device), scenes, output, force=force)
    with stage("visualize", "each converted file as a picture"):
        pictures += render_conversions(conversions, output / "sensors")
    return DemoResult(data, run, report, pictures, seconds)


def result_files(scenes: DataSet, output: Path) -> list[Path]:
    """Every file beside the runs and the tensor files."""
    singles = [Inputs(sensors=(modality,)) for modality in scenes.modalities]
    inputs = [RGB_ONLY, *singles, Inputs(sensors=tuple(scenes.modalities))]
    made = [output / "evaluation.json", output / "overview.png"]
    made += [output / "sensors" / f"{modality}.png" for modality in scenes.modalities]
    for each in inputs:
        made += prediction_paths(output / "predictions", each.title).values()
    return made


def convert_one_of_each(scenes: DataSet, folder: Path, *, force: bool = False) -> list[ConversionSummary]:
    """Convert the raw recording of every sensor of the first scene that has it, into `folder`/<sensor>.h5."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for modality in scenes.modalities:
        sample_id = scenes.ids[scenes.indices_with(modality)[0]]
        made.append(
            convert_file(
                scenes.sensor_path(sample_id, modality),
                folder / f"{modality}.h5",
                modality=modality,
                options=scenes.sensor_options(sample_id, modality),
                force=force,
                progress=False,
            )
        )
    return made


def render_conversions(conversions: list[ConversionSummary], folder: Path) -> list[Path]:
    """The last frame of each converted file as `folder`/<sensor>.png."""
    pictures = []
    for summary in conversions:
        pictures.append(folder / f"{summary.modality}.png")
        pictures[-1].parent.mkdir(parents=True, exist_ok=True)
        save_png(pictures[-1], render_tensor_file(summary.output))
    return pictures


def predict_one_scene(
    predictor: Predictor, scenes: DataSet, output: Path, *, force: bool = False
) -> list[Path]:
    """Predict the first scene that has every sensor of the data set, from its files.

    Writes `output`/predictions/<inputs>.{mask,color,overlay}.png and `output`/overview.png.
    """
    complete = set.intersection(*(set(scenes.indices_with(m)) for m in scenes.modalities))
    index = min(complete, default=0)
    sample_id = scenes.ids[index]
    image, made = scenes.rgb_path(sample_id), {RGB_ONLY: predictor.predict(scenes.rgb_path(sample_id))}
    for modality in scenes.modalities:
        if scenes.has(index, modality):
            made[Inputs(sensors=(modality,))] = predictor.predict(
                image,
                scenes.sensor_path(sample_id, modality),
                modalities=(modality,),
                options=scenes.sensor_options(sample_id, modality),
            )
    together = tuple(m for m in scenes.modalities if scenes.has(index, m))
    if len(together) > 1:  # the model knows how the data set's recordings are read
        paths_of = [scenes.sensor_path(sample_id, m) for m in together]
        made[Inputs(sensors=together)] = predictor.predict(image, *paths_of, modalities=together)
    folder = output / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [output / "overview.png"]
    save_png(paths[0], overview(scenes, index, made))
    for inputs, prediction in made.items():
        paths.append(save_prediction(prediction, folder, inputs.title, force=force)["overlay"])
    return paths


def overview(scenes: DataSet, index: int, made: dict[Inputs, Prediction]) -> np.ndarray:
    """One page (h, w, 3) uint8: photo, label, result of RGB alone, classes; each sensor and its result."""
    sample = scenes.load(index)
    label, palette = sample.label, scenes.palette

    def result(inputs: Inputs) -> Panel:
        mask, note = made[inputs].mask, ""
        if label is not None:
            note = f"{(mask == label)[label != scenes.ignore_index].mean():.1%} of the pixels right"
        title = "all sensors" if len(inputs.sensors) > 1 else inputs.title
        return Panel(label_to_color(mask, palette), f"predicted from {title}", note=note)

    panels = [Panel(render_model_tensor(sample.rgb, "rgb"), "RGB image")]
    if label is not None:
        panels.append(Panel(label_to_color(label, palette), "label"))
    panels += [result(RGB_ONLY), Panel(legend(scenes.class_names, palette), "classes", fixed=True)]
    for inputs in made:
        if len(inputs.sensors) == 1:
            (modality,) = inputs.sensors
            sensor = render_model_tensor(sample.sensors[modality], modality)
            panels += [Panel(sensor, MODALITIES[modality].title), result(inputs)]
        elif inputs.sensors:
            panels.append(result(inputs))
    return figure(f"Test scene {scenes.ids[index]}", "", panels, columns=4)
