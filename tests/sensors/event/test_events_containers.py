"""ROS bags and AEDAT: containers read through optional packages, payloads by our own code."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import event_files as truth
import pytest
from event_files import as_list, random_events
from ros_bags import event_array, event_packet, write_bag

from armseg_core.errors import ArmsegWarning, FormatError, MissingExtraError, UsageError
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.readers.aedat import read_aedat4
from armseg_core.sensors.recognition import sniff

OPTIONS = EventOptions()
EPOCH = 1_700_000_000_000_000


def read(path: Path, options: EventOptions = OPTIONS, **small):
    return sniff(path, "event").read(path, options, **small)


@pytest.mark.parametrize("cdr", [False, True])
@pytest.mark.parametrize("frame", ["", "cam", "camera"])  # the length of a text moves what comes after it
def test_dvs_msgs(tmp_path, cdr, frame):
    events = random_events(1000, start=EPOCH, end=EPOCH + 10**6)
    cuts = [0, 0, 1, 2, 5, 300, 301, 700, 1000, 1000]
    messages = [event_array(events[a:b], cdr, frame) for a, b in pairwise(cuts)]
    topics = {
        "/other": ("std_msgs/msg/String", [b"xxxx"]),
        "/dvs/events": ("dvs_msgs/msg/EventArray", messages),
    }
    path = write_bag(tmp_path, topics, cdr)
    assert sniff(path).name == ("rosbag2" if cdr else "rosbag1")
    with read(path, block_events=150, keep_events=10) as source:
        assert source.size == (48, 64)
        assert as_list(source.read_index(0, 1000)) == events
        assert as_list(source.read_index(290, 310)) == events[290:310]
        assert len(source.bounds) > 3
    if cdr:
        inner = next(path.glob("*.db3"))
        assert as_list(read(inner).read_index(0, 3)) == events[:3]


@pytest.mark.parametrize("cdr", [False, True])
def test_event_camera_msgs_carry_the_state_from_packet_to_packet(tmp_path, cdr):
    events = sorted(random_events(900, end=20_000_000), key=lambda e: (e[2], e[1], e[3], e[0]))
    data = truth.encode_evt3(events)
    cuts = [0, 2, 10, 1000, 1002, len(data) // 4 * 2, len(data)]
    packets = [event_packet(data[a:b], cdr) for a, b in pairwise(cuts)]
    path = write_bag(tmp_path, {"/events": ("event_camera_msgs/msg/EventPacket", packets)}, cdr)
    with read(path, block_events=100, keep_events=10) as source:
        assert as_list(source.read_index(0, 900)) == events
        assert as_list(source.read_index(880, 900)) == events[880:]


@pytest.mark.parametrize("encoding", ["libcaer_cmp", "libcaer", "mono"])
def test_other_encodings_of_packets_are_refused_with_advice(tmp_path, encoding):
    packets = [event_packet(b"\0" * 16, True, encoding)]
    path = write_bag(tmp_path, {"/events": ("event_camera_msgs/msg/EventPacket", packets)}, True)
    with pytest.raises(FormatError, match=rf"encoded as '{encoding}'.*convert the bag"):
        read(path)


def test_the_topic_is_chosen_or_named(tmp_path):
    events = random_events(60, start=EPOCH, end=EPOCH + 1000)
    kind = "dvs_msgs/msg/EventArray"
    topics = {
        "/left/events": (kind, [event_array(events[:20], False)] * 2),
        "/right/events": (kind, [event_array(events[20:], False)]),
    }
    path = write_bag(tmp_path, topics, False)
    with read(path, EventOptions(stream="right")) as source:
        assert as_list(source.read_index(0, 60)) == events[20:]
        assert any("/left/events" in note for note in source.notes)
    with pytest.raises(UsageError, match=r"no events under 'top'.*--stream /left/events"):
        read(path, EventOptions(stream="top"))


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_part_of_a_ros_2_bag_alone_and_a_list_that_names_no_storage(tmp_path, storage):
    events = random_events(50)
    topics = {"/events": ("dvs_msgs/msg/EventArray", [event_array(events, True)])}
    bag = write_bag(tmp_path, topics, True, storage)
    part = next(path for path in bag.iterdir() if path.suffix in (".mcap", ".db3"))
    listed = (bag / "metadata.yaml").read_text(encoding="utf-8")
    assert f"storage_identifier: {storage}" in listed
    unnamed = listed.replace(f"storage_identifier: {storage}", 'storage_identifier: ""')
    (bag / "metadata.yaml").write_text(unnamed, encoding="utf-8")
    for path in (bag, part):
        with sniff(path, "event").read(path, OPTIONS) as source:
            assert as_list(source.read_index(0, 50)) == events
    (bag / "metadata.yaml").unlink()
    reader = sniff(part)
    assert (reader.name, reader.files(part, OPTIONS)) == ("rosbag2", (part,))
    with reader.read(part, OPTIONS) as source:
        assert as_list(source.read_index(0, 50)) == events


def test_a_bag_without_events(tmp_path):
    path = write_bag(tmp_path, {"/a": ("std_msgs/msg/String", [b"xxxx"])}, False)
    with pytest.raises(FormatError, match=r"holds no events.*std_msgs/msg/String"):
        read(path)


@pytest.mark.parametrize("cdr", [False, True])
def test_damaged_bags(tmp_path, cdr):
    message = event_array(random_events(50), cdr)
    path = write_bag(tmp_path, {"/dvs": ("dvs_msgs/msg/EventArray", [message, message[:-20]])}, cdr)
    with pytest.raises(FormatError, match="message 1 of /dvs is damaged"):
        read(path)
    target = next(path.glob("*.db3")) if cdr else path
    whole = target.read_bytes()
    for length in (20, len(whole) // 2):
        target.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"the bag cannot be read|holds no events|the record at byte"):
            read(path)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.bag").write_bytes(b"#ROSBAG V2.0\n" + bytes(100))
    (tmp_path / "a.aedat4").write_bytes(b"#!AER-DAT4.0\r\n" + bytes(100))

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("armseg_core.errors.importlib.import_module", missing)
    for name, extra in (("a.bag", "ros"), ("a.aedat4", "aedat")):
        with pytest.raises(MissingExtraError, match=rf"pip install 'armseg\[{extra}\]'"):
            read(tmp_path / name)


@pytest.mark.parametrize("version", ["1.0", "2.0", "3.1"])
def test_older_aedat_is_refused_with_advice(tmp_path, version):
    (tmp_path / "a.aedat").write_bytes(f"#!AER-DAT{version}\r\n".encode() + bytes(64))
    with pytest.raises(FormatError, match="dv-processing"):
        sniff(tmp_path / "a.aedat")


class FakeDecoder:
    """Stands for `aedat.Decoder`: two event streams, packets of events in between frames."""

    packets: ClassVar[list] = []

    def __init__(self, path: str) -> None:
        self._left = iter(self.packets)

    def id_to_stream(self):
        return {
            0: {"type": "events", "width": 64, "height": 48},
            1: {"type": "frame", "width": 64, "height": 48},
            2: {"type": "events", "width": 20, "height": 10},
        }

    def __iter__(self):
        return self._left


def packet(events, stream=0):
    import numpy as np

    table = np.array(
        [(t, x, y, bool(p)) for x, y, t, p in events], [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")]
    )
    return {"stream_id": stream, "events": table}


def test_aedat4_packets(tmp_path, monkeypatch):
    """The container is the package's business; ours is the packets, also when they come out of order."""
    events = random_events(600)
    FakeDecoder.packets = [packet(events[i : i + 50]) for i in range(0, 600, 50)]
    FakeDecoder.packets.insert(3, {"stream_id": 1, "frame": {}})
    FakeDecoder.packets.insert(5, packet(events[:7], stream=2))
    fake = type("aedat", (), {"Decoder": FakeDecoder})
    monkeypatch.setattr("armseg_core.sensors.event.readers.aedat.require_extra", lambda *_: fake)
    with read_aedat4(tmp_path / "a.aedat4", OPTIONS, block_events=100, keep_events=10) as source:
        assert (source.size, as_list(source.read_index(0, 600))) == ((48, 64), events)
        assert as_list(source.read_index(333, 335)) == events[333:335]
        assert any("stream 0" in note for note in source.notes)
    FakeDecoder.packets = FakeDecoder.packets[::-1]
    with pytest.warns(ArmsegWarning, match="not in time order"):
        source = read_aedat4(tmp_path / "a.aedat4", OPTIONS, block_events=100)
    got = source.read_index(0, 600)
    assert sorted(as_list(got)) == sorted(events)
    with pytest.raises(UsageError, match="stream '9'"):
        read_aedat4(tmp_path / "a.aedat4", EventOptions(stream="9"))


def aedat4(events, size=(48, 64)) -> bytes:
    """An AEDAT 4 file without compression, its flatbuffers laid out by hand."""
    xml = (
        '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
        '<node name="0" path="/mainloop/Recorder/outInfo/0/">'
        '<attr key="compression" type="string">NONE</attr>'
        '<attr key="originalModuleName" type="string">capture</attr>'
        '<attr key="originalOutputName" type="string">events</attr>'
        '<attr key="typeDescription" type="string">Array of events.</attr>'
        '<attr key="typeIdentifier" type="string">EVTS</attr>'
        '<node name="info" path="/mainloop/Recorder/outInfo/0/info/">'
        f'<attr key="sizeX" type="int">{size[1]}</attr><attr key="sizeY" type="int">{size[0]}</attr>'
        '<attr key="source" type="string">DAVIS</attr></node></node></node></dv>'
    ).encode()
    header = struct.pack("<I4s5H2xiI", 20, b"IOHE", 10, 8, 0, 0, 4, 12, 4)
    header += struct.pack("<I", len(xml)) + xml + b"\0"
    out = b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header
    for i in range(0, len(events), 200):
        part = events[i : i + 200]
        body = struct.pack("<I4s3H2xiI4xI", 16, b"EVTS", 6, 8, 4, 8, 8, len(part))
        body += b"".join(struct.pack("<qhhB3x", t, x, y, p) for x, y, t, p in part)
        body = struct.pack("<I", len(body)) + body
        out += struct.pack("<iI", 0, len(body)) + body
    return out


def test_aedat4_file(tmp_path):
    pytest.importorskip("aedat")
    events = random_events(900, start=EPOCH, end=EPOCH + 10**6)
    (tmp_path / "a.aedat4").write_bytes(aedat4(events))
    assert sniff(tmp_path / "a.aedat4").name == "aedat4"
    with read(tmp_path / "a.aedat4") as source:
        assert (source.size, as_list(source.read_index(0, 900))) == ((48, 64), events)


def test_damaged_aedat4(tmp_path):
    pytest.importorskip("aedat")
    path, whole = tmp_path / "a.aedat4", aedat4(random_events(900))
    for damaged in (whole[:14], whole[:60], whole[:14] + bytes(range(256)), whole[:-700]):
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="AEDAT"):
            read(path)
