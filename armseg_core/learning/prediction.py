"""Prediction on files: an RGB image and any number of sensor recordings, in any readable format."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from armseg_core import advice
from armseg_core.conversion.arrays_as_files import as_file
from armseg_core.conversion.convert import guess_format
from armseg_core.conversion.reading import Reading
from armseg_core.conversion.recording import Recording
from armseg_core.errors import (
    ArmsegError,
    ArmsegWarning,
    CheckpointError,
    InputError,
    UsageError,
    collected_warnings,
)
from armseg_core.learning.array_inputs import image_input, model_inputs
from armseg_core.learning.inference import Inference, pick_device
from armseg_core.learning.model import KnownDataSet, Model
from armseg_core.learning.model_folder import load
from armseg_core.sensors.modalities import SENSORS, get_modality
from armseg_core.sensors.reader import Reader


@dataclass(frozen=True)
class Prediction:
    """The class of every pixel of an image.

    rgb: the image (H, W, 3) uint8. mask: (H, W) uint8 class indices. confidence: (H, W) float32, the softmax
    of the chosen class. sensors: those that were used -> where the name came from ("option", "file",
    "MA-CLIP, 93% sure").
    """

    rgb: np.ndarray
    mask: np.ndarray
    confidence: np.ndarray
    dataset: KnownDataSet
    sensors: dict[str, str]

    @property
    def shares(self) -> dict[str, float]:
        """Share of the pixels of each class that occurs, largest first."""
        counts = np.bincount(self.mask.ravel(), minlength=len(self.dataset.classes)) / self.mask.size
        names = self.dataset.class_names
        return {names[i]: float(counts[i]) for i in counts.argsort()[::-1] if counts[i] > 0}


class Predictor:
    """A loaded model that takes files. Its inputs are resized as in training.

    Example: `Predictor.load("runs/train-001").predict("img.png", "events.h5").mask`
    """

    def __init__(self, model: Model, precision: str = "auto") -> None:
        self.model, self.inference = model, Inference.as_trained(model, precision=precision)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        device: str = "auto",
        guide_weights: Path | None = None,
        backbone_weights: Path | None = None,
        precision: str = "auto",
    ) -> Predictor:
        """Read a model or run folder.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        return cls(load(folder, pick_device(device), guide_weights, backbone_weights), precision)

    def predict(
        self,
        image: Any,
        *sensors: Any,
        modalities: Sequence[str] = (),
        dataset: str | None = None,
        at_us: int | None = None,
        options: dict[str, Any] | None = None,
        stretch: bool = False,
    ) -> Prediction:
        """Label every pixel of an image.

        image: RGB file, array (uint8, or floats from 0 to 1) or PIL image. sensors: raw or converted
        recordings of the same view, any number of them; arrays are read as .npy files of them would be.
        modalities: their sensors, in order; without them the files decide, and where those leave it open
        MA-CLIP does. dataset: whose class list, when the model knows several; its case may differ. at_us:
        time in the recordings (default: their end, or the last frame); a still picture has none. options:
        conversion options, for every sensor that has one of that name, over those the data set was trained
        with. stretch: accept a sensor frame of another aspect ratio.

        Raises:
            ArmsegError: unreadable files, an unknown or unfit sensor, frames of another shape.
        """
        rgb, image = image_input(image)
        number = self.model.dataset_index(dataset)
        native = (rgb.shape[1], rgb.shape[2])
        _check_flags(image, sensors, modalities, at_us)
        frames: dict[str, np.ndarray] = {}
        origins: dict[str, str] = {}
        with contextlib.ExitStack() as opened:
            names: Sequence[str | None] = modalities or [None] * len(sensors)
            sensors = tuple(opened.enter_context(as_file(one)) for one in sensors)
            recordings = [
                self._open(opened, path, name, options, number, self.inference.input_size(native))
                for path, name in zip(sensors, names, strict=True)
            ]
            _check_used(options or {}, [recording.sensor for recording, _ in recordings])
            _check_time(at_us, [recording for recording, _ in recordings])
            for path, (recording, how) in zip(sensors, recordings, strict=True):
                name = recording.sensor
                if name in frames:
                    raise UsageError(f"two files of {name}", where=path, expected="one file of each sensor")
                frames[name] = self._frame(recording, path, native, image, at_us, stretch)
                origins[name] = how
        mask, confidence = self.predict_arrays(rgb, frames, number)
        photo = np.rint(rgb.transpose(1, 2, 0) * 255).astype(np.uint8)
        return Prediction(photo, mask, confidence, self.model.datasets[number], origins)

    def _frame(
        self,
        recording: Recording,
        path: object,
        native: tuple[int, int],
        image: object,
        at_us: int | None,
        stretch: bool,
    ) -> np.ndarray:
        """The model tensor of a recording for an image of `native` size."""
        cut = cuts(recording.parameters)
        check_aspect(recording.size, native, path, image, stretch, cut)
        if cut:
            warnings.warn(ArmsegWarning(f"{path}: the frame is cut ({said(cut)})"), stacklevel=3)
        still = (recording.span_us or (0, 0)) == (0, 0)
        size = self.inference.input_size(native)
        frame: np.ndarray = recording.frame(size, None if still else at_us).frames[0]
        return frame

    def predict_arrays(
        self,
        rgb: np.ndarray | None,
        sensors: Mapping[str, np.ndarray] | None = None,
        dataset: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Label every pixel of frames in memory.

        rgb: (3, H, W) or (H, W, 3), uint8 or floats in [0, 1], or None. sensors: name -> model tensor
        (C, H, W), as `to_tensor` makes it.

        Returns:
            mask uint8 and confidence float32, both (H, W) of the image, or of the sensor where there is no
            image.

        Raises:
            UsageError: neither is given, or an array that is not such an image or model tensor.
        """
        rgb, sensors = model_inputs(rgb, sensors)
        given = [*([] if rgb is None else [rgb]), *sensors.values()]
        size = (given[0].shape[1], given[0].shape[2])
        (logits,) = self.inference.logits(
            None if rgb is None else [rgb], {m: [x] for m, x in sensors.items()}, dataset, [size]
        )
        if not bool(logits.isfinite().all()):
            raise CheckpointError(
                "the model's scores are not finite", hint="train again, or another model: its weights are bad"
            )
        confidence, mask = logits.softmax(0).amax(0), logits.argmax(0)
        return mask.to(torch.uint8).cpu().numpy(), confidence.cpu().numpy()

    def _open(
        self,
        opened: contextlib.ExitStack,
        path: Path,
        modality: str | None,
        options: dict[str, Any] | None,
        dataset: int,
        size: tuple[int, int],
    ) -> tuple[Recording, str]:
        """(the recording, open until `opened` ends, where its sensor came from).

        size: (H, W) of the frame that is wanted of it.
        """
        if not self.model.modalities:
            raise UsageError(
                "the model knows RGB only and cannot use a sensor",
                where=path,
                hint="leave the sensor file out, or armseg train --modalities SENSOR",
            )
        if not path.exists():
            raise InputError(
                "no such file", where=path, expected="a sensor recording or a file made by `armseg convert`"
            )
        name: str | None
        if modality is not None:
            name, reader, how = get_modality(modality).name, None, "option"
        else:
            name, reader = guess_format(path)
            how = "file"
        if name is None:
            recording, share = self._guess(opened, path, options, dataset, size)
            if share < 0.6:  # hardly better than a coin between two sensors
                doubt = f"taken for {recording.sensor} with {share:.0%} confidence only"
                warnings.warn(ArmsegWarning(f"{path}: {doubt}; say --modality to be sure"), stacklevel=3)
            return recording, f"MA-CLIP, {share:.0%} sure"
        how = "file" if modality is None else "option"
        if name not in self.model.modalities:
            raise UsageError(
                f"the model was not trained with {name}",
                where=path,
                expected="one of " + ", ".join(self.model.modalities),
                hint=advice.command("train", "--modalities", name),
            )
        return opened.enter_context(self._read_as(name, path, options, dataset, reader)), how

    def _read_as(
        self,
        name: str,
        path: Path,
        options: dict[str, Any] | None,
        dataset: int,
        reader: Reader | None = None,
    ) -> Recording:
        """Open a file as a sensor's recording, as those of the data set were read in training.

        reader: its format, where that is known already.
        """
        others = {k for m in self.model.modalities for k in SENSORS[m].options.model_fields}
        own = SENSORS[name].options.model_fields
        # what is another sensor's is left to it; what is nobody's is refused where it is parsed
        fitting = {k: v for k, v in (options or {}).items() if k in own or k not in others}
        values = {**self.model.datasets[dataset].options.get(name, {}), **fitting}
        if reader is not None:
            return Recording.of(Reading.of(reader, path, values))
        return Recording.open(path, name, values)

    def guess(self, path: Path, options: dict[str, Any] | None = None, dataset: int = 0) -> tuple[str, float]:
        """MA-CLIP's own guess of the sensor of a file, and its confidence in (0, 1].

        The file is read as every sensor that can read it; each reading is embedded with that sensor's adapter
        and compared with the prompts of all sensors of the model. The reading that looks most like its own
        prompt wins; the confidence is the softmax over the readings, and for a single one its own
        probability.

        Raises:
            InputError: no sensor of the model can read the file.
            UsageError: the model has no guide.
        """
        with contextlib.ExitStack() as opened:
            recording, share = self._guess(opened, path, options, dataset, self.inference.size)
        return recording.sensor, share

    def _guess(
        self,
        opened: contextlib.ExitStack,
        path: Path,
        options: dict[str, Any] | None,
        dataset: int,
        size: tuple[int, int] | None,
    ) -> tuple[Recording, float]:
        """`guess`, with the winning reading, which stays open until `opened` ends.

        size: (H, W) of the frames that are compared.
        """
        readings: dict[str, Recording] = {}
        notes: dict[str, list[str]] = {}
        scores: dict[str, float] = {}
        problem: ArmsegError | None = None
        blind = self.model.segmenter.guide is None
        for m in self.model.modalities:
            try:
                with collected_warnings() as notes[m]:
                    readings[m] = opened.enter_context(self._read_as(m, path, options, dataset))
                    frame = readings[m].frame(size).frames[0]
            except ArmsegError as error:
                problem = problem or error
                continue
            scores[m] = 0.0 if blind else self._likeness(frame, m)
        if not scores:
            raise InputError(
                f"no sensor of the model can read this file ({problem.what if problem else 'it knows none'})",
                where=path,
                expected="a recording of " + ", ".join(self.model.modalities),
                hint=advice.command("inspect", path),
            ) from problem
        if blind:
            raise UsageError(
                "the file does not say which sensor it is of, and a model without a guide cannot guess it",
                where=path,
                expected="one of " + ", ".join(self.model.modalities),
                hint=f"--modality {next(iter(scores))}",
            )
        best = max(scores, key=lambda m: scores[m])
        for note in notes[best]:  # what the other readings had to say is of no interest
            warnings.warn(ArmsegWarning(note), stacklevel=4)
        share = math.exp(scores[best])
        return readings[best], share if len(scores) == 1 else share / sum(map(math.exp, scores.values()))

    def _likeness(self, frame: np.ndarray, modality: str) -> float:
        """Log probability that a model tensor (C, H, W), read as one of `modality`, shows that sensor."""
        names = ("rgb", *self.model.modalities)
        prompts = torch.stack([self.model.prompts[m] for m in names]).to(self.model.device)
        # the scale at which the loss `contrastive` has trained the embedding
        similarity = 1 / 0.07 * prompts.float() @ self.inference.embedding(frame, modality)
        return float(similarity.log_softmax(0)[names.index(modality)])


def _check_flags(
    image: object, sensors: Sequence[object], modalities: Sequence[str], at_us: int | None
) -> None:
    """Raise UsageError where what is said of the sensor files does not fit their number."""
    flags = [f"--at {at_us}"] * (at_us is not None) + [f"--modality {m}" for m in modalities]
    if flags and not sensors:
        hint = advice.command("predict", image, "SENSOR_FILE", *flags[0].split())
        raise UsageError(f"{flags[0]} without a sensor file", hint=hint)
    if modalities and len(modalities) != len(sensors):
        raise UsageError(
            f"{len(modalities)} names in --modality and {len(sensors)} sensor files",
            expected="one for each file, in their order and with commas between, or none",
        )


def _check_used(options: Mapping[str, object], sensors: Sequence[str]) -> None:
    """Raise UsageError for an option that none of the sensors has, or where there is no sensor."""
    if options and not sensors:
        named = ", ".join(sorted(options))
        raise UsageError(f"options of a sensor ({named}) without a sensor file", expected="its recording")
    for option in options:
        if not any(option in SENSORS[name].options.model_fields for name in sensors):
            raise UsageError(
                f"unknown option '{option}'",
                where=", ".join(sensors) or None,
                hint="--set help lists the options",
            )


def _check_time(at_us: int | None, recordings: Sequence[Recording]) -> None:
    """Raise UsageError for a time where every recording is a still picture."""
    if at_us is not None and all((r.span_us or (0, 0)) == (0, 0) for r in recordings):
        what = f"a still picture has no time {at_us}"
        raise UsageError(what, where=recordings[0].path, hint="leave --at out")


def cuts(options: dict[str, Any]) -> dict[str, int]:
    """The conversion options that cut off a part of the sensor frame, such as {"crop_left": 192}."""
    return {name: value for name, value in options.items() if name.startswith("crop_") and value}


def said(cut: dict[str, int]) -> str:
    """Cuts as text: 'crop_left=192'."""
    return ", ".join(f"{name}={value}" for name, value in cut.items())


def check_aspect(
    sensor: tuple[int, ...],
    rgb: tuple[int, int],
    sensor_path: object,
    rgb_path: object,
    stretch: bool,
    cut: dict[str, int] | None = None,
) -> None:
    """Refuse a sensor frame whose aspect ratio is more than 5 % off the image's: the pixels cannot match.

    cut: options that cut off a part of the frame. The image must then be cut alike, to a pixel (an image of
    another resolution may be rounded), since a frame with a small cut would pass for a whole one.

    Raises:
        InputError.
    """
    ratio = (sensor[-1] / sensor[-2]) / (rgb[1] / rgb[0])
    limit = 1 + 1 / min(*sensor[-2:], *rgb) if cut else 1.05
    if not stretch and not 1 / limit <= ratio <= limit:
        if cut:
            whole = " ".join(f"--set {name}=0" for name in cut)
            raise InputError(
                f"the sensor frame is {sensor[-1]}x{sensor[-2]} after {said(cut)}, as in training "
                f"or as asked for, and the image {rgb[1]}x{rgb[0]}",
                where=sensor_path,
                expected=f"an image cut alike, or the whole frame beside {rgb_path}",
                hint=f"cut the image too, {whole} for the whole frame, or --stretch",
            )
        raise InputError(
            f"the sensor frame is {sensor[-1]}x{sensor[-2]} and the image {rgb[1]}x{rgb[0]}",
            where=sensor_path,
            expected=f"a frame of the same view as {rgb_path}",
            hint="--stretch to use it all the same",
        )
