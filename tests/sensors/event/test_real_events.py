"""Real event recordings beside the checkout: their values, found by independent decoders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from shared_data import shared

from armseg_core.conversion.inspection import inspect_file
from armseg_core.conversion.recording import Recording

# name: events, first and last us, share of positive ones, reach of x and y, busiest pixel and its events
TRUE = {
    "evt2_sample.raw": (539_481, 1317888, 1367888, 0.681868, (60, 599, 18, 475), (565, 296, 3323)),
    # decoders that take the steps back of its TIME_LOW words for turns of the counter end at 11772513
    "evt3_sample.raw": (219_596, 11718656, 11727457, 0.526112, (0, 1279, 0, 719), (1218, 381, 29)),
    "sample.aedat4": (
        111_954,
        1605537493718345,
        1605537494308262,
        0.491479,
        (0, 319, 0, 239),
        (187, 105, 651),
    ),
    "sample_nmnist.bin": (4325, 654, 311175, 0.495954, (0, 33, 0, 33), (17, 20, 32)),
    "sample_ncars.dat": (2009, 0, 99952, 0.671976, (0, 77, 0, 41), (68, 40, 40)),
    "evt3_trigger_rosbag2": (82_469, 14224870, 15476187, 0.502480, (0, 1279, 0, 719), (579, 266, 241)),
}
SIZES = {"evt2_sample.raw": "640x480", "evt3_sample.raw": "1280x720", "evt3_trigger_rosbag2": "1280x720"}
OPTIONS = {"sample_ncars.dat": {"sensor_size": "120x100"}}  # in no header: the cut-outs differ in size
EXTRAS = {"sample.aedat4": "aedat", "evt3_trigger_rosbag2": "rosbags"}


@pytest.fixture(params=TRUE)
def name(request: pytest.FixtureRequest) -> str:
    shared("data", "event", request.param)
    if request.param in EXTRAS:
        pytest.importorskip(EXTRAS[request.param])
    return request.param


@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_every_event_is_where_an_independent_decoder_finds_it(name: str) -> None:
    path = shared("data", "event", name)
    count, first, last, positive, reach, (x, y, busiest) = TRUE[name]
    with Recording.open(path, options=OPTIONS.get(name)) as recording:
        events = recording.content.read_index(0, count + 1)
    assert (len(events), int(events.t[0]), int(events.t[-1])) == (count, first, last)
    assert events.p.mean() == pytest.approx(positive, abs=1e-6)
    assert (events.x.min(), events.x.max(), events.y.min(), events.y.max()) == reach
    assert np.count_nonzero((events.x == x) & (events.y == y)) == busiest
    said = inspect_file(path, options=OPTIONS.get(name))
    assert said["hottest_pixel"] == {"x": x, "y": y, "events": busiest}
    assert said["size"] == SIZES.get(name, said["size"])


def test_one_event_behind_the_last_window_makes_no_window() -> None:
    with Recording.open(shared("data", "event", "evt2_sample.raw")) as recording:
        assert recording.count() == 1
        assert [int(frame.t_us) for frame in recording.frames()] == [1367889]
        assert "the last window is 1 us longer: too little is left for one more" in recording.notes


def test_a_part_of_a_bag_without_its_list(tmp_path: Path) -> None:
    pytest.importorskip("rosbags")
    name = "test_data_evt3_trigger_0.db3"
    shutil.copy(shared("data", "event", "evt3_trigger_rosbag2", name), tmp_path / name)
    with Recording.open(tmp_path / name) as recording:
        assert (recording.events, recording.span_us) == (82_469, (14224870, 15476187))
