"""The yardstick of benchmarks/peers.py: batches, resuming, result files and tables, on a toy task."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_data import shared
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import peers
import peers_data
import peers_models
import peers_runs
from peers_data import TASKS, Data, Item, Task
from peers_runs import Bench, OutOfTime, Run

TOY = Task("real/toy", ("left", "right"), ("nir", "sar"), (24, 32), folder="toy")


def _items(count: int, seed: int) -> list[Item]:
    """Two halves of random width; the sensor 'nir' is the label, 'sar' is noise."""
    rng = np.random.default_rng(seed)
    items = []
    for _ in range(count):
        label = np.zeros((40, 48), np.uint8)
        label[:, int(rng.integers(12, 36)) :] = 1
        rgb = rng.random((3, 40, 48), np.float32)
        sensors = {"nir": label[None].astype(np.float32), "sar": rng.random((2, 40, 48), np.float32)}
        items.append(Item(rgb, sensors, label, label.repeat(2, 0).repeat(2, 1)))
    return items


@pytest.fixture
def data() -> Data:
    made = Data(TOY, _items(5, 0), _items(2, 1), _items(3, 2))
    for name in ("rgb", *TOY.sensors):
        tensors = [i.rgb if name == "rgb" else i.sensors[name] for i in made.train]
        made.statistics[name] = peers_data._statistics(tensors)
    return made


@pytest.fixture
def bench(data, tmp_path, monkeypatch) -> Bench:
    """The toy task among the tasks, at two steps and two rates; results go to a folder of the test."""
    monkeypatch.setitem(TASKS, TOY.name, TOY)
    monkeypatch.setattr(peers_runs, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(peers_runs, "REAL_STEPS", 2)
    monkeypatch.setattr(peers_runs, "RATES", (1e-3, 4e-3))
    return Bench(tmp_path / "work", _data=data)


RUN = Run(TOY.name, "unet", 2, 0)


def test_statistics_are_those_of_all_pixels(data) -> None:
    whole = np.concatenate([i.sensors["sar"].reshape(2, -1) for i in data.train], 1)
    mean, std = data.statistics["sar"]
    assert mean == pytest.approx(whole.mean(1), abs=1e-5)
    assert std == pytest.approx(whole.std(1), abs=1e-5)


def test_a_batch_depends_on_seed_and_step_alone(data) -> None:
    first, again = (peers_data.batch(data.train, TOY, 3, 7) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1]["sar"], again[1]["sar"])
    assert torch.equal(first[2], again[2])
    for seed, step in ((4, 7), (3, 8)):
        assert not torch.equal(first[0], peers_data.batch(data.train, TOY, seed, step)[0])


def test_image_label_and_sensors_are_cut_alike(data) -> None:
    for step in range(4):
        rgb, sensors, label = peers_data.batch(data.train, TOY, 0, step)
        assert rgb.shape == (8, 3, 24, 32)
        assert sensors["sar"].shape == (8, 2, 24, 32)
        outside = label == 255
        assert not sensors["nir"][:, 0][outside].any()
        assert ((sensors["nir"][:, 0] > 0.5) == (label == 1))[~outside].float().mean() > 0.97


def test_every_sample_comes_once_in_an_epoch() -> None:
    for epoch in range(3):
        drawn = [peers_data._draw(7, 5, 7 * epoch + k) for k in range(7)]
        assert sorted(drawn) == list(range(7))


def test_the_angle_of_polarization_changes_sign_in_a_mirror() -> None:
    names = peers_data.get_modality("polarization").channels
    tensor = np.ones((len(names), 2, 3), np.float32)
    signs = TASKS["sim/polarization"].mirror("polarization", tensor)[:, 0, 0]
    assert dict(zip(names, signs.tolist(), strict=True)) == {
        n: -1.0 if n in peers_data.get_modality("polarization").flip_negates else 1.0 for n in names
    }
    assert (signs < 0).any()


def test_the_unet_has_the_size_that_is_said(data) -> None:
    net = peers_models.make("unet", data, 0, 2)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(2.16e6, abs=2e4)
    sizes = ((33, 47), (64, 64))
    net.eval()
    for h, w in sizes:
        frames = {"nir": torch.zeros(1, 1, h, w), "sar": torch.zeros(1, 2, h, w)}
        assert net(torch.zeros(1, 3, h, w), frames).shape == (1, 2, h, w)


def test_sensors_enter_a_pretrained_convolution_beside_rgb() -> None:
    old = nn.Conv2d(3, 4, 3, bias=False)
    rgb = torch.rand(1, 3, 8, 8)
    expected = old(rgb)
    gray = old(torch.ones(1, 3, 8, 8)) / 3
    new = peers_models._with_channels(old, 2)
    assert torch.allclose(new(torch.cat([rgb, torch.zeros(1, 2, 8, 8)], 1)), expected, atol=1e-6)
    alone = new(torch.cat([torch.zeros(1, 3, 8, 8), torch.ones(1, 2, 8, 8)], 1))
    assert torch.allclose(alone, gray, atol=1e-6)


def test_a_result_says_how_it_was_made(bench, tmp_path) -> None:
    peers_runs.work_off(bench, [RUN])
    text = (tmp_path / "results" / "real-toy-unet-2-s0.json").read_text()
    result = json.loads(text)
    rate = json.loads((tmp_path / "results" / "real-toy-unet-rate.json").read_text())
    assert list(result) == sorted(result)
    assert set(rate["val_miou"]) == {"0.001", "0.004"}
    assert result["lr"] == rate["lr"] == float(max(rate["val_miou"], key=rate["val_miou"].get))
    assert result["val"]["rgb+nir+sar"]["miou"] == rate["val_miou"][str(rate["lr"])]
    assert set(result["test"]["rgb+nir+sar"]["iou"]) == {"left", "right"}
    assert result["samples"] == {"train": 5, "val": 2, "test": 3}
    assert result["cpu_seconds"] >= 0
    assert {"code", "torch", "data", "crop", "batch_size", "yardstick", "device"} < set(result)
    assert str(tmp_path) not in text
    assert not [f for f in (tmp_path / "work" / "runs").iterdir() if f.suffix != ".lock"]


def test_a_run_cut_off_after_every_step_ends_where_an_undisturbed_one_does(bench, data) -> None:
    run = replace(RUN, steps=3, lr=2e-3)
    whole, _ = peers_runs.train(bench, run, data)
    late = replace(bench, work=bench.work / "late", deadline=0.0)
    for _ in range(run.steps):
        with pytest.raises(OutOfTime):
            peers_runs.train(late, run, data)
    pieces, cpu = peers_runs.train(late, run, data)
    assert cpu > 0
    for name, value in whole.state_dict().items():
        assert torch.equal(value, pieces.state_dict()[name]), name


def test_a_run_of_another_process_is_left_to_it(bench, capsys) -> None:
    with peers_runs.locked(bench, replace(RUN, lr=1e-3)):
        peers_runs.work_off(bench, [RUN])
    assert "another process has it" in capsys.readouterr().out
    assert not RUN.result.exists()


def test_the_table_gives_mean_and_deviation_of_the_seeds_there_are(tmp_path) -> None:
    files = [tmp_path / f"{seed}.json" for seed in range(3)]
    assert peers._cell(files) == "-"
    for file, value in zip(files, (0.5, 0.6, 0.7), strict=True):
        rows = {"rgb": {"miou": 0.1}, "rgb+nir": {"miou": value}, "nir": {"miou": 0.9}}
        file.write_text(json.dumps({"test": rows}))
    assert peers._cell(files[:1]) == "50.0 (1 of 3)"
    assert peers._cell(files) == "60.0 ± 10.0"


def test_real_sets_come_first_and_the_plateau_last() -> None:
    runs = peers_runs.planned()
    assert len({r.name for r in runs}) == len(runs)
    assert all(r.task.startswith("real/") and r.seed == 0 for r in runs[:21])
    needed = [r for r in runs if not (r.task.startswith("sim/") and r.model == "unet-imagenet")]
    late = [r.steps == peers_runs.PLATEAU for r in needed]
    assert late == sorted(late)
    seeds = [r.seed for r in peers_runs.planned("seed")[: len(needed)]]
    assert seeds == sorted(seeds)


def test_no_part_of_a_real_set_reaches_into_another() -> None:
    labelled = shared("data", "labelled")
    for task in (t for t in TASKS.values() if not t.simulated):
        train, test = (
            (labelled / task.folder / "splits" / f"{s}.txt").read_text().split() for s in ("train", "test")
        )
        assert not set(train) & set(test), task.name
        assert set(task.val) <= set(train), task.name
        item = peers_data._item(task, labelled / task.folder, test[0])
        assert set(np.unique(item.target)) <= set(range(len(task.classes))), task.name
        for tensor in (item.rgb, *item.sensors.values()):
            assert tensor.shape[1:] == item.label.shape
            assert 0 <= tensor.min() <= tensor.max() < 5
