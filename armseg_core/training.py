"""Joint training: one model, several data sets, one extra sensor a step. Readable from `train` downwards.

A step draws a data set, hence a class list, and one of its sensors: the batch is homogeneous, and the tower runs once
with the 'rgb' adapter and once with the sensor's. Some steps leave the sensor or the RGB image out, so that the model
also works without.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from armseg_core.config.training import TINY, TrainConfig
from armseg_core.data import open_dataset
from armseg_core.data.dataset import DataSet
from armseg_core.data.sampler import JointSampler
from armseg_core.data.transforms import Augment
from armseg_core.errors import DataSetError, UsageError
from armseg_core.evaluation import autocast, confusion, pick_device
from armseg_core.metrics import ConfusionMatrix
from armseg_core.model import losses
from armseg_core.model.checkpoint import Domain, Model, build, save
from armseg_core.model.clip_loading import TINY_NOTICE
from armseg_core.model.ma_clip import modality_prompt, scene_prompt
from armseg_core.runs import Run, load_optimizer_tensors, optimizer_tensors
from armseg_core.visualization import confusion_figure, save_png, training_curves

LOG_EVERY = 10


@dataclass(frozen=True)
class Batch:
    """A homogeneous batch. rgb (B, 3, H, W), label (B, H, W) int64, sensor (B, C, H, W) or None."""

    domain: int
    modality: str | None
    rgb: Tensor
    label: Tensor
    sensor: Tensor | None


def train(config: TrainConfig, *, resume: Path | None = None, progress: bool = True) -> Path:
    """Train a model; returns the run folder.

    resume: run folder to go on with; its own config.json is used and `config` is not.

    Raises:
        UsageError, DataSetError, CheckpointError, OutputError; KeyboardInterrupt after Ctrl-C, once the state is saved.
    """
    if resume is not None:
        run, config = Run.reopen(resume)
    if config.threads:
        torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    torch.manual_seed(config.seed)
    training, validation = open_data(config)
    model = build_model(config, training)
    model.segmenter.to(device)
    assert model.clip is not None
    model.clip.model.to(device)
    parameters = model.segmenter.trainable()
    optimizer = make_optimizer(config, parameters)
    step, best = 0, -1.0
    if resume is None:
        run = Run.create(config)
        if config.model.clip == TINY:
            run.log(TINY_NOTICE)
    else:
        step, best = _restore(run, model, optimizer, parameters)
    run.log(
        f"start at step {step} of {config.steps} on {device}, "
        f"{sum(p.numel() for p in parameters.values()) / 1e6:.2f} M trainable parameters"
    )
    stop = _StopOnSignal()
    every = config.eval_every or max(1, -(-config.steps // 5))
    bar = tqdm(
        total=config.steps,
        initial=step,
        desc="train",
        unit="step",
        file=sys.stderr,
        disable=not (progress and sys.stderr.isatty()),
    )
    clock, images, seen = time.monotonic(), 0, []
    miou = math.nan
    model.segmenter.train()
    with stop:
        for batch in batches(config, training, start=step):
            loss, terms = training_step(config, model, optimizer, batch, step, device)
            step += 1
            images += len(batch.rgb)
            seen.append(loss)
            bar.update()
            if step % LOG_EVERY == 0 or step == config.steps:
                rate = images / max(1e-9, time.monotonic() - clock)
                run.record(
                    {
                        "step": step,
                        "epoch": round(step * config.batch_size / sum(map(len, training)), 3),
                        "loss": sum(seen) / len(seen),
                        **terms,
                        "lr": optimizer.param_groups[0]["lr"],
                        "images_per_s": round(rate, 2),
                    }
                )
                bar.set_postfix(loss=f"{sum(seen) / len(seen):.3f}", mIoU=f"{miou:.1%}", img_s=f"{rate:.1f}")
                clock, images, seen = time.monotonic(), 0, []
            if step % every == 0 or step == config.steps:
                miou, best = _validate(config, run, model, validation, step, best, progress)
                clock = time.monotonic()
            if step % config.save_every == 0 or step == config.steps or stop.asked:
                _save_state(run, model, optimizer, parameters, step, best)
            if stop.asked:
                bar.close()
                run.log(f"interrupted at step {step}")
                raise KeyboardInterrupt(
                    f"stopped at step {step}; go on with: armseg train --resume {run.folder}"
                )
    bar.close()
    _draw(run)
    run.log("done")
    return run.folder


def dry_run(config: TrainConfig) -> dict[str, Any]:
    """Build everything and run one batch forward and backward; writes nothing.

    Returns:
        Shapes, parameter counts, loss and memory, as plain values.
    """
    device = pick_device(config.device)
    torch.manual_seed(config.seed)
    training, validation = open_data(config)
    model = build_model(config, training)
    model.segmenter.to(device)
    assert model.clip is not None
    model.clip.model.to(device)
    parameters = model.segmenter.trainable()
    batch = next(batches(config.model_copy(update={"workers": 0}), training))
    loss, terms = training_step(config, model, make_optimizer(config, parameters), batch, 0, device)
    frozen = sum(p.numel() for p in model.segmenter.parameters() if not p.requires_grad)
    return {
        "device": str(device),
        "clip": config.model.clip,
        "modalities": list(config.modalities),
        "training_samples": {d.name: len(d) for d in training},
        "validation_samples": {d.name: len(d) for d in validation},
        "batch_rgb": list(batch.rgb.shape),
        "batch_sensor": batch.modality and [batch.modality, *batch.sensor.shape],
        "trainable_parameters": sum(p.numel() for p in parameters.values()),
        "frozen_parameters": frozen,
        "lora_parameters": sum(p.numel() for n, p in parameters.items() if "lora_" in n),
        "loss": loss,
        "terms": terms,
        "gpu_memory_mb": round(torch.cuda.max_memory_allocated() / 2**20) if device.type == "cuda" else None,
    }


# -- data


def open_data(config: TrainConfig) -> tuple[list[DataSet], list[DataSet]]:
    """Training and validation splits of every data set, with the wanted sensors that it has.

    Raises:
        DataSetError, UsageError: a folder is no data set, or none of the data sets has a wanted sensor.
    """
    if not config.data:
        raise UsageError(
            "no data set given", hint="armseg train DATA, where DATA is a folder with dataset.toml"
        )
    training, validation = [], []
    for folder in config.data:
        probe = open_dataset(folder, "train", ())
        wanted = tuple(m for m in config.modalities if m in probe.modalities)
        for split, into in (("train", training), ("val", validation)):
            if split == "val" and "val" not in probe.splits:
                continue
            into.append(
                open_dataset(
                    folder, split, wanted, config.size, cache_mb=config.cache_mb, cache_dir=config.cache_dir
                )
            )
    for m in config.modalities:
        if not any(d.indices_with(m) for d in training if m in d.selected):
            raise UsageError(
                f"no training sample has {m}",
                where=", ".join(map(str, config.data)),
                expected="one of " + ", ".join(sorted({m for d in training for m in d.modalities})) or "rgb",
                hint="armseg check " + str(config.data[0]),
            )
    if len(validation) not in (0, len(training)):
        raise DataSetError("some data sets have a 'val' split and some have not", expected="all or none")
    return training, validation


class _Draws(Dataset):
    """Turns a draw (step, data set, sensor, sample numbers) into a Batch; the same in every process."""

    def __init__(self, config: TrainConfig, datasets: list[DataSet]) -> None:
        self.config, self.datasets = config, datasets

    def __getitem__(self, draw: tuple[int, int, str | None, list[int]]) -> Batch:
        step, domain, modality, numbers = draw
        config, dataset = self.config, self.datasets[domain]
        needed = (modality,) if modality else ()
        first = dataset.load(numbers[0], needed)
        augment = Augment(
            crop=config.crop or crop_size(first.size),
            scale=config.scale,
            hflip=config.hflip,
            photometric=config.photometric,
            ignore_index=dataset.ignore_index,
        )
        samples = [
            augment(
                first if k == 0 else dataset.load(i, needed), np.random.default_rng([config.seed, step, k])
            )
            for k, i in enumerate(numbers)
        ]
        for sample in samples:
            if sample.label is None:
                raise DataSetError(
                    "training sample has no label", where=sample.id, hint=f"armseg check {dataset.root}"
                )
        label = np.stack([np.where(s.label == dataset.ignore_index, losses.IGNORE, s.label) for s in samples])
        sensor = (
            None if modality is None else torch.from_numpy(np.stack([s.sensors[modality] for s in samples]))
        )
        return Batch(
            domain,
            modality,
            torch.from_numpy(np.stack([s.rgb for s in samples])),
            torch.from_numpy(label),
            sensor,
        )


def crop_size(size: tuple[int, int]) -> tuple[int, int]:
    """Default training crop for images of `size`: 512 at most, a multiple of 32, no larger than the image."""
    return tuple(max(32, min(512, s) // 32 * 32) for s in size)  # type: ignore[return-value]


def batches(config: TrainConfig, datasets: list[DataSet], start: int = 0) -> Iterator[Batch]:
    """The batches of steps start+1 ... config.steps; each depends on the seed and the step alone."""
    pools = [
        {m: d.indices_with(m) for m in d.selected if d.indices_with(m)} or {None: d.indices_with(None)}
        for d in datasets
    ]
    sampler = JointSampler(pools, config.batch_size, temperature=config.temperature, seed=config.seed)
    draws = []
    for step in range(config.steps):
        draw = next(sampler)
        if step >= start:
            draws.append((step, draw.dataset, draw.modality, list(draw.indices)))
    context = "spawn" if config.workers else None
    yield from DataLoader(
        _Draws(config, datasets),
        sampler=draws,
        batch_size=None,
        num_workers=config.workers,
        persistent_workers=False,
        multiprocessing_context=context,
    )


# -- model and optimiser


def build_model(config: TrainConfig, datasets: list[DataSet]) -> Model:
    """A new model for these data sets, with the input statistics of (up to 64 samples of) the training data."""
    domains = tuple(Domain(d.name, d.classes) for d in datasets)
    model = build(config.model, config.modalities, domains)
    for m in config.modalities:
        model.segmenter.standardize[m].set(*statistics(datasets, m))
    return model


def statistics(datasets: list[DataSet], modality: str, samples: int = 64) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of a sensor's channels over evenly chosen training samples."""
    values = []
    for dataset in datasets:
        if modality in dataset.selected:
            indices = dataset.indices_with(modality)
            for i in indices[:: max(1, len(indices) // samples)][:samples]:
                frame = dataset.load(i, (modality,)).sensors[modality]
                values.append(frame.reshape(len(frame), -1)[:, ::7])
    flat = np.concatenate(values, axis=1)
    return torch.from_numpy(flat.mean(1)), torch.from_numpy(flat.std(1))


def make_optimizer(config: TrainConfig, parameters: dict[str, Tensor]) -> torch.optim.AdamW:
    """AdamW; LoRA has its own rate, vectors and biases have no weight decay."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in parameters.items():
        lr = config.lora_lr if "lora_" in name else config.lr
        groups.setdefault((lr, config.weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "lr": lr, "peak": lr, "weight_decay": wd} for (lr, wd), p in groups.items()]
    )


def rate(step: int, steps: int, warmup: int) -> float:
    """Factor on the peak learning rate at a step (from 0): linear warm-up, then a half cosine to 1 %."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


# -- one step


def training_step(
    config: TrainConfig,
    model: Model,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    step: int,
    device: torch.device,
) -> tuple[float, dict[str, float]]:
    """One optimiser step; returns the loss and its terms."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * rate(step, config.steps, config.warmup)
    rgb, label = batch.rgb.to(device, non_blocking=True), batch.label.to(device, non_blocking=True)
    sensor = None if batch.sensor is None else batch.sensor.to(device, non_blocking=True)
    use_rgb, use_sensor = inputs_of_step(config, step, sensor is not None)
    modality = batch.modality if use_sensor else None
    with autocast(device, config.precision):
        out = model.segmenter(
            rgb if use_rgb else None, sensor if use_sensor else None, modality, batch.domain
        )
    terms = loss_terms(config, model, out, label, batch.domain)
    loss = torch.stack(list(terms.values())).sum()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], config.clip_norm)
    optimizer.step()
    return loss.item(), {name: term.item() for name, term in terms.items()}


def inputs_of_step(config: TrainConfig, step: int, has_sensor: bool) -> tuple[bool, bool]:
    """(use RGB, use the sensor) in a step: modality dropout, decided by seed and step alone."""
    if not has_sensor:
        return True, False
    draw = np.random.default_rng([config.seed, step, 0xD0]).random()
    if draw < config.sensor_dropout:
        return True, False
    return draw >= config.sensor_dropout + config.rgb_dropout, True


def loss_terms(config: TrainConfig, model: Model, out: Any, label: Tensor, domain: int) -> dict[str, Tensor]:
    """The weighted loss terms that are switched on."""
    weights = config.loss
    terms: dict[str, Tensor] = {}
    if weights.cross_entropy:
        terms["cross_entropy"] = weights.cross_entropy * losses.cross_entropy(out.logits, label, weights.ohem)
    if weights.dice:
        terms["dice"] = weights.dice * losses.dice(out.logits, label)
    if weights.lovasz:
        terms["lovasz"] = weights.lovasz * losses.lovasz(out.logits, label)
    if weights.contrastive and config.model.guidance and config.model.lora_rank:
        terms["contrastive"] = weights.contrastive * contrastive_term(model, out.embeddings, label, domain)
    if weights.align and out.aligned is not None:
        terms["align"] = weights.align * losses.alignment(*out.aligned)
    if not terms:
        raise UsageError("every loss weight is zero", hint="--set loss.cross_entropy=1")
    return terms


def contrastive_term(model: Model, embeddings: dict[str, Tensor], label: Tensor, domain: int) -> Tensor:
    """MA-CLIP's loss: each stream's embedding against prompts that name the modality and the scene's content (the
    other images of the batch are the wrong contents), and against prompts that name a modality alone."""
    assert model.clip is not None
    names = model.domains[domain].class_names
    contents = [content_of(mask, names) for mask in label]
    known = ("rgb", *model.modalities)
    total = label.new_zeros((), dtype=torch.float32)
    for modality, embedding in embeddings.items():
        texts = [scene_prompt(modality, c) for c in contents]
        same = torch.tensor([[a == b for b in texts] for a in texts], device=label.device)
        total = total + losses.contrastive(embedding, model.clip.encode_text(texts), same)
        if len(known) > 1:
            which = torch.tensor([m == modality for m in known], device=label.device).expand(
                len(embedding), -1
            )
            prompts = model.clip.encode_text([modality_prompt(m) for m in known])
            total = total + losses.contrastive(embedding, prompts, which)
    return total / len(embeddings)


def content_of(label: Tensor, names: tuple[str, ...], share: float = 0.01, most: int = 6) -> list[str]:
    """Names of the classes that cover at least `share` of the labelled pixels, largest first. label: (H, W)."""
    counts = torch.bincount(label[label != losses.IGNORE], minlength=len(names))
    order = counts.argsort(descending=True, stable=True)[:most].tolist()
    return [names[i] for i in order if counts[i] >= share * counts.sum() and counts[i] > 0]


# -- validation, state, pictures


def _validate(
    config: TrainConfig,
    run: Run,
    model: Model,
    validation: list[DataSet],
    step: int,
    best: float,
    progress: bool,
) -> tuple[float, float]:
    """Validate, log, and save `last` and, when it is the best so far, `best`. Returns (mIoU, best mIoU)."""
    table: dict[str, dict[str, float]] = {}
    total: ConfusionMatrix | None = None
    for domain, dataset in enumerate(validation):
        rows = table.setdefault(dataset.name, {})
        for m in (None, *[m for m in dataset.selected if dataset.indices_with(m)]):
            matrix = confusion(
                model, dataset, m, domain=domain, precision=config.precision, progress=progress
            )
            rows["rgb" if m is None else f"rgb+{m}"] = matrix.miou
            if domain == 0 and (m is not None or not dataset.selected):
                if total is None:
                    total = matrix
                else:
                    total.merge(matrix)
    model.metrics = {"step": step, "miou": table}
    save(model, run.folder / "last")
    if not validation:
        save(model, run.folder / "best")
        return math.nan, best
    with_sensor = [v for rows in table.values() for k, v in rows.items() if k != "rgb" or len(rows) == 1]
    rgb_only = [rows["rgb"] for rows in table.values()]
    miou = float(np.mean(with_sensor))
    run.record(
        {"step": step, "epoch": None, "miou": miou, "miou_rgb_only": float(np.mean(rgb_only)), "val": table}
    )
    run.log(f"step {step}: mIoU {miou:.4f}, RGB only {np.mean(rgb_only):.4f}")
    if miou > best:
        save(model, run.folder / "best")
        if total is not None:
            _write_confusion(run, total, validation[0])
    return miou, max(best, miou)


def _write_confusion(run: Run, matrix: ConfusionMatrix, dataset: DataSet) -> None:
    (run.folder / "metrics").mkdir(exist_ok=True)
    (run.folder / "metrics" / "confusion.json").write_text(json.dumps(matrix.to_dict(dataset.class_names)))


def _save_state(
    run: Run,
    model: Model,
    optimizer: torch.optim.Optimizer,
    parameters: dict[str, Tensor],
    step: int,
    best: float,
) -> None:
    names = {id(p): n for n, p in parameters.items()}
    tensors = {f"model.{n}": p for n, p in parameters.items()} | optimizer_tensors(optimizer, names)
    tensors["random.torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    run.save_state(step, tensors, {"best": best})


def _restore(
    run: Run, model: Model, optimizer: torch.optim.Optimizer, parameters: dict[str, Tensor]
) -> tuple[int, float]:
    tensors, values = run.load_state()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"model.{name}"])
    load_optimizer_tensors(optimizer, parameters, tensors)
    torch.set_rng_state(tensors["random.torch"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    run.rewind(values["step"])
    return values["step"], values["best"]


def _draw(run: Run) -> None:
    """plots/curves.png and plots/confusion.png."""
    plots = run.folder / "plots"
    plots.mkdir(exist_ok=True)
    save_png(plots / "curves.png", training_curves(run.rows()))
    path = run.folder / "metrics" / "confusion.json"
    if path.exists():
        values = json.loads(path.read_text())
        save_png(plots / "confusion.png", confusion_figure(np.array(values["matrix"]), values["class_names"]))


class _StopOnSignal:
    """Remembers the first Ctrl-C (SIGINT) or SIGTERM until the step is over; the second one stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self._old: dict[int, Any] = {}

    def _handle(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\nstopping after this step (once more to stop at once)", file=sys.stderr)

    def __enter__(self) -> _StopOnSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
