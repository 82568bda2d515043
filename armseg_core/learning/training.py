"""Joint training: one model, several data sets, one extra sensor a step. Readable from `train` downwards.

A step draws a data set, hence a class list, and all or some of its sensors: the batch is homogeneous. Some
steps leave the sensors or the RGB image out, so that the model works with every subset.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from armseg_core import advice
from armseg_core.config.model import TINY
from armseg_core.config.training import TrainConfig
from armseg_core.data import DataSet, Description
from armseg_core.errors import OutputError, TrainingError, UsageError
from armseg_core.files.ownership import check_free
from armseg_core.files.pictures import save_png
from armseg_core.interruption import Interrupted, StopOnSignal
from armseg_core.learning.batches import (
    Batch,
    batches,
    open_data,
    recorded_options,
    statistics,
    with_known_sensors,
)
from armseg_core.learning.clip_loading import TINY_NOTICE
from armseg_core.learning.evaluation import confusion, plan
from armseg_core.learning.inference import Inference, autocast, pick_device
from armseg_core.learning.inputs import RGB_ONLY, Inputs
from armseg_core.learning.metrics import NOTHING_COUNTED, ConfusionMatrix, mean_score
from armseg_core.learning.model import KnownDataSet, Model, build
from armseg_core.learning.model_folder import save
from armseg_core.learning.objective import loss_terms, streams_to_recognize
from armseg_core.learning.resume_state import restore_state, save_state
from armseg_core.learning.run_folder import CHANGEABLE, RunFolder
from armseg_core.model.segmenter import Standardize
from armseg_core.visualization import confusion_figure, training_curves

# steps: the mean of fewer jumps with the data set and sensor of each; a short run still gets a curve
LOG_EVERY = 10
# in a run, unless eval_every says otherwise: enough to choose a best model, few enough to be cheap
VALIDATIONS = 5
# of the peak: small enough to settle, above zero so that the last steps still count
FINAL_RATE = 0.01


@dataclass
class _Session:
    """A training under way.

    step: optimizer steps done. best: highest validation mIoU, miou: the last one. recent: losses since the
    last row of numbers.
    """

    config: TrainConfig
    training: list[DataSet]
    validation: list[DataSet]
    model: Model
    optimizer: torch.optim.AdamW
    step: int = 0
    best: float = -1.0
    miou: float = math.nan
    recent: list[float] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return self.step >= self.config.steps


def train(
    config: TrainConfig | None = None,
    *,
    resume: Path | None = None,
    progress: bool = True,
    data: Sequence[Description] | None = None,
    force: bool = False,
) -> Path:
    """Train a model; returns the run folder.

    config: options of a new run. resume: a run folder to go on with, by its own config.json; a `config`
    beside it may differ from that in `run_folder.CHANGEABLE` only, and is recorded in its place. data: the
    data sets of the configuration, where they are described already. force: replace
    pictures in the plots/ of a resumed run that armseg did not make or that were changed since.

    Raises:
        UsageError, DataSetError, CheckpointError, OutputError, TrainingError; KeyboardInterrupt after Ctrl-C,
        SIGTERM or SIGHUP, once the state is saved.
    """
    if resume is None:
        config = with_known_sensors(config or TrainConfig(), data)
        session = _prepare(config, data)
        run = RunFolder.create(config)
        with run.writing():
            if config.model.guide == TINY:
                run.log(TINY_NOTICE)
            _run(run, session, progress)
        return run.folder
    run, recorded = RunFolder.reopen(resume)
    config = config or recorded
    _refuse_changes(recorded, config)
    check_free([run.plot("curves"), run.plot("confusion")], force=force, elsewhere="")
    with run.writing():
        session = _prepare(with_known_sensors(config, data), data)
        model = session.model
        session.step, session.best, session.recent = restore_state(
            run, model.segmenter, session.optimizer, model.frozen_sha256
        )
        if config != recorded:
            run.record_config(config)
        _run(run, session, progress)
    return run.folder


def _refuse_changes(recorded: TrainConfig, config: TrainConfig) -> None:
    """Raise UsageError where a run would go on with other options than it may."""
    same = recorded.model_copy(
        update={
            "device": config.device,
            "workers": config.workers,
            "model": recorded.model.model_copy(
                update={
                    "guide_weights": config.model.guide_weights,
                    "backbone_weights": config.model.backbone_weights,
                }
            ),
        }
    )
    if same != config:
        raise UsageError("the options of a run cannot be changed", expected="only " + ", ".join(CHANGEABLE))


def _run(run: RunFolder, session: _Session, progress: bool) -> None:
    """From the step of the session to the end, in a run folder that is ours."""
    trainable = sum(p.numel() for p in session.model.segmenter.trainable().values())
    with _telling_how_to_go_on(run, session):
        run.log(
            f"start at step {session.step} of {session.config.steps} on {session.model.device}, "
            f"{trainable / 1e6:.2f} M trainable parameters"
        )
        with StopOnSignal() as stop, _progress_bar(session, progress) as bar:
            _loop(run, session, stop, bar)
        _draw(run)
        run.log("done")


@contextlib.contextmanager
def _telling_how_to_go_on(run: RunFolder, session: _Session) -> Iterator[None]:
    """An interruption, or a disk on which nothing can be written, ends the training: say how it goes on."""
    again = advice.command("train", "--resume", run.folder)
    try:
        yield
    except KeyboardInterrupt as error:
        if run.state_file.is_file():
            error.add_note(f"stopped after step {session.step}; go on with: {again}")
        else:
            error.add_note(
                f"stopped before anything was saved in {run.folder}; the same command begins again"
            )
        raise
    except OutputError as error:
        if not run.state_file.is_file():
            raise
        raise OutputError(
            error.what,
            where=error.where,
            expected=error.expected,
            hint=f"when it can be written: {again}",
        ) from error


def dry_run(config: TrainConfig, data: Sequence[Description] | None = None) -> dict[str, Any]:
    """Build everything and run one batch forward and backward; writes nothing. Arguments as in `train`.

    Returns:
        Shapes, parameter counts, loss and memory, as plain values.
    """
    config = with_known_sensors(config, data)
    session = _prepare(config, data)
    model = session.model
    batch = next(batches(config.model_copy(update={"workers": 0}), session.training))
    loss, terms = training_step(config, model, session.optimizer, batch, 0)
    parameters = model.segmenter.trainable()
    trainable = sum(p.numel() for p in parameters.values())
    return {
        "device": str(model.device),
        "guide": config.model.guide,
        "backbone": config.model.backbone,
        "modalities": list(config.modalities),
        "training_samples": {d.name: len(d) for d in session.training},
        "validation_samples": {d.name: len(d) for d in session.validation},
        "batch_rgb": list(batch.rgb.shape),
        "batch_sensors": {m: list(x.shape) for m, x in batch.sensors.items()},
        "trainable_parameters": trainable,
        "frozen_parameters": sum(p.numel() for p in model.segmenter.parameters()) - trainable,
        "lora_parameters": sum(p.numel() for n, p in parameters.items() if "lora_" in n),
        "loss": loss,
        "terms": terms,
        "gpu_memory_mb": round(torch.cuda.max_memory_allocated() / 2**20)
        if model.device.type == "cuda"
        else None,
    }


def _prepare(config: TrainConfig, data: Sequence[Description] | None) -> _Session:
    """Open the data and build the model of a configuration; nothing is written."""
    device = pick_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    training, validation = open_data(config, data)
    model = build_model(config, training)
    model.segmenter.to(device)
    if model.clip is not None:
        model.clip.model.to(device)
    optimizer = make_optimizer(config, model.segmenter.trainable())
    return _Session(config, training, validation, model, optimizer)


def _progress_bar(session: _Session, progress: bool) -> tqdm:
    return tqdm(
        total=session.config.steps,
        initial=session.step,
        desc="train",
        unit="step",
        file=sys.stderr,
        disable=not (progress and sys.stderr.isatty()),
    )


def _loop(run: RunFolder, session: _Session, stop: StopOnSignal, bar: tqdm) -> None:
    """Steps, and every N steps: log, validate, save."""
    config, s = session.config, session
    validate_every = config.eval_every or max(1, -(-config.steps // VALIDATIONS))
    epoch_size = sum(map(len, s.training))
    s.model.segmenter.train()
    began, images, first = time.monotonic(), 0, s.step
    for batch in batches(config, s.training, start=s.step):
        arrived = time.monotonic()
        loss, terms = training_step(config, s.model, s.optimizer, batch, s.step)
        s.step += 1
        images += len(batch.rgb)
        s.recent.append(loss)
        bar.update()
        if s.step - first == 1:
            run.log(_expected_time(s, arrived - began, time.monotonic() - arrived))
        if s.step % LOG_EVERY == 0 or s.finished:
            mean, speed = sum(s.recent) / len(s.recent), images / max(1e-9, time.monotonic() - began)
            epoch = round(s.step * config.batch_size / epoch_size, 3)
            rate = config.lr * rate_factor(s.step - 1, config.steps, config.warmup)
            run.record(
                {"step": s.step, "epoch": epoch, "loss": mean, **terms, "lr": rate, "images_per_s": speed}
            )
            bar.set_postfix(
                loss=f"{mean:.3f}", mIoU="-" if math.isnan(s.miou) else f"{s.miou:.1%}", img_s=f"{speed:.1f}"
            )
            began, images, s.recent = time.monotonic(), 0, []
        if s.step % validate_every == 0 or s.finished:
            paused = time.monotonic()
            _validate(run, s, progress=not bar.disable)
            began += time.monotonic() - paused
        if s.step % config.save_every == 0 or s.finished or stop.asked:
            frozen = s.model.frozen_sha256
            save_state(run, s.model.segmenter, s.optimizer, s.step, s.best, frozen, s.recent)
        if stop.number is not None and not s.finished:
            run.log(f"interrupted at step {s.step}")
            raise Interrupted(stop.number)


def _expected_time(session: _Session, data: float, step: float) -> str:
    """After the first step: seconds for its data and for the step, and how long the other steps will take.

    Data are read once and kept, as far as the memory for them goes: they are not counted for every step.
    """
    left = session.config.steps - session.step
    minutes = left * step / 60
    rest = f"{minutes:.0f} min" if minutes >= 1.5 else f"{left * step:.0f} s"
    return (
        f"first step: {step:.1f} s, and {data:.1f} s for its data; the other {left} take about {rest} beside "
        "their data and validation"
    )


# -- model and optimizer


def build_model(config: TrainConfig, datasets: list[DataSet]) -> Model:
    """A new model for these data sets, with the input statistics of (some of) the training data."""
    known = tuple(KnownDataSet(d.name, d.classes, recorded_options(d)) for d in datasets)
    model = build(config.model, config.modalities, known, config.size)
    for m in config.modalities:
        cast(Standardize, model.segmenter.standardize[m]).set(*statistics(datasets, m))
    return model


def make_optimizer(config: TrainConfig, parameters: Mapping[str, Tensor]) -> torch.optim.AdamW:
    """AdamW; LoRA and backbone have their own rates, vectors and biases have no weight decay."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in parameters.items():
        lr = config.lr
        if "lora_" in name:
            lr = config.lora_lr
        elif name.startswith("backbone."):
            lr = config.backbone_lr or config.lr
        groups.setdefault((lr, config.weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "lr": lr, "peak": lr, "weight_decay": wd} for (lr, wd), p in groups.items()]
    )


def rate_factor(step: int, steps: int, warmup: int) -> float:
    """Factor on the peak learning rate at a step (from 0).

    Linear warm-up, then a half cosine down to FINAL_RATE (Loshchilov and Hutter, ICLR 2017, eq. 5, without
    restarts).
    """
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


# -- one step


def training_step(
    config: TrainConfig, model: Model, optimizer: torch.optim.Optimizer, batch: Batch, step: int
) -> tuple[float, dict[str, float]]:
    """One optimizer step; returns the loss and its terms."""
    device = model.device
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * rate_factor(step, config.steps, config.warmup)
    rgb, label = batch.rgb.to(device, non_blocking=True), batch.label.to(device, non_blocking=True)
    use_rgb, use_sensors = inputs_of_step(config, step, bool(batch.sensors))
    sensors = {m: x.to(device, non_blocking=True) for m, x in batch.sensors.items()} if use_sensors else {}
    with autocast(device, config.precision):
        out = model.segmenter(rgb if use_rgb else None, sensors, batch.dataset)
        recognized = streams_to_recognize(config, rgb if use_rgb else None, sensors, step)
        embeddings = {m: model.segmenter.embed(x, m) for m, x in recognized.items()}
    terms = loss_terms(config, model, out, label, batch.dataset, embeddings)
    values = torch.stack(list(terms.values()))
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(values.sum())
    torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], config.clip_norm)
    numbers = dict(zip(terms, values.tolist(), strict=True))
    if not math.isfinite(sum(numbers.values())):
        raise _not_finite(batch, step, numbers)
    optimizer.step()
    return sum(numbers.values()), numbers


def _not_finite(batch: Batch, step: int, terms: Mapping[str, float]) -> TrainingError:
    """What a loss that is not finite comes from: a sample with such values, else the training itself."""
    for name, frames in {"rgb": batch.rgb, **batch.sensors}.items():
        for sample, frame in zip(batch.ids, frames, strict=False):  # a batch made by hand has no ids
            if not bool(frame.isfinite().all()):
                return TrainingError(
                    f"the {name} of sample '{sample}' has values that are not finite (step {step})",
                    expected="finite values",
                    hint="armseg check DATA, and convert or mend that file",
                )
    return TrainingError(
        f"the loss is not finite at step {step} ({dict(terms)}) in a batch of {', '.join(batch.ids)}",
        hint="a smaller --lr, or --precision fp32",
    )


def inputs_of_step(config: TrainConfig, step: int, has_sensors: bool) -> tuple[bool, bool]:
    """(use RGB, use the sensors) in a step: modality dropout, decided by seed and step alone."""
    if not has_sensors:
        return True, False
    draw = np.random.default_rng(
        [config.seed, step, 0xD0]
    ).random()  # D0: the augmentation draws from [seed, step, k]
    if draw < config.sensor_dropout:
        return True, False
    return draw >= config.sensor_dropout + config.rgb_dropout, True


# -- validation, pictures


def _measure(session: _Session, progress: bool) -> dict[str, dict[Inputs, ConfusionMatrix]]:
    """Data set -> inputs -> confusion matrix: the rows of `plan`, for the sensors that some sample has."""
    inference = Inference.as_trained(session.model, precision=session.config.precision)
    table: dict[str, dict[Inputs, ConfusionMatrix]] = {}
    for index, dataset in enumerate(session.validation):
        present = [m for m in dataset.selected if dataset.indices_with(m)]
        table[dataset.name] = {
            row: confusion(inference, dataset, row, dataset_index=index, progress=progress)
            for row in plan(dataset, present)
            if not row.among
        }
    return table


def _deciding(rows: dict[Inputs, ConfusionMatrix]) -> list[ConfusionMatrix]:
    """What decides which model is the best: the row with the most sensors.

    RGB alone where no other is; where no sample has several sensors, the rows of all of them.
    """
    most = max(len(inputs.sensors) for inputs in rows)
    return [matrix for inputs, matrix in rows.items() if len(inputs.sensors) == most]


def _validate(run: RunFolder, session: _Session, progress: bool) -> None:
    """Measure every input, log it, and save `last` and, when it is the best so far, `best`."""
    s, table = session, _measure(session, progress)
    miou = {name: {i.title: matrix.miou for i, matrix in rows.items()} for name, rows in table.items()}
    s.model.metrics = {"step": s.step, "miou": miou}
    save(s.model, run.last)
    if not table:
        save(s.model, run.best)
        return
    s.miou = mean_score([matrix.miou for rows in table.values() for matrix in _deciding(rows)])
    rgb_only = mean_score([rows[RGB_ONLY].miou for rows in table.values()])
    run.record({"step": s.step, "epoch": None, "miou": s.miou, "miou_rgb_only": rgb_only, "val": miou})
    run.log(f"step {s.step}: mIoU {_digits(s.miou)}, RGB only {_digits(rgb_only)}")
    if math.isnan(s.miou) or s.miou > s.best:  # without a score the last model is the best
        s.best = s.best if math.isnan(s.miou) else s.miou
        save(s.model, run.best)
        first, *others = _deciding(table[s.validation[0].name])
        for other in others:
            first.merge(other)
        run.save_confusion(first.to_dict(s.validation[0].class_names))


def _digits(score: float) -> str:
    return NOTHING_COUNTED if math.isnan(score) else f"{score:.4f}"


def _draw(run: RunFolder) -> None:
    """The curves of the run and, after a validation, the confusion matrix."""
    save_png(run.plot("curves"), training_curves(run.rows()))
    values = run.confusion()
    if values is not None:
        save_png(run.plot("confusion"), confusion_figure(np.array(values["matrix"]), values["class_names"]))
