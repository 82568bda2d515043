"""EVT 2.0, EVT 3.0 and DAT against decoders that read one word at a time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import event_files as truth
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armseg_core.errors import ArmsegError, ArmsegWarning, FormatError
from armseg_core.sensors.event.columns import join
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.readers import prophesee as events_prophesee
from armseg_core.sensors.event.readers.evt import Evt2State, Evt3State, decode_dat, decode_evt2, decode_evt3
from armseg_core.sensors.recognition import sniff

OPTIONS = EventOptions()


def _in_pieces(decode, words: np.ndarray, state, cuts: list[int]):
    """Decode with the state handed on at each cut: (events, number lost)."""
    borders = [0, *sorted({min(cut, len(words)) for cut in cuts}), len(words)]
    parts, lost = [], 0
    for i0, i1 in pairwise(borders):
        columns, state, missing = decode(words[i0:i1], state)
        parts.append(columns)
        lost += missing
    return truth.as_list(join(parts)), lost


def _words(kinds: list[int], bits: int):
    kind = st.sampled_from(kinds)
    value = st.one_of(st.integers(0, 40), st.integers(0, (1 << bits) - 1))
    return st.lists(st.tuples(kind, value).map(lambda pair: pair[0] << bits | pair[1]), max_size=80)


@given(_words([0, 1, 8, 8, 10, 14], 28), st.lists(st.integers(0, 80), max_size=3))
@settings(max_examples=300, deadline=None)
def test_evt2_equals_the_word_by_word_decoder_wherever_it_is_cut(words, cuts):
    data = np.array(words, "<u4")
    assert _in_pieces(decode_evt2, data, Evt2State(), cuts) == truth.decode_evt2(data.tobytes())


@given(_words([0, 2, 2, 3, 4, 5, 6, 8, 7, 10, 14, 15, 1], 12), st.lists(st.integers(0, 80), max_size=3))
@settings(max_examples=600, deadline=None)
def test_evt3_equals_the_word_by_word_decoder_wherever_it_is_cut(words, cuts):
    data = np.array(words, "<u2")
    assert _in_pieces(decode_evt3, data, Evt3State(), cuts) == truth.decode_evt3(data.tobytes())


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**29 - 1)), max_size=40),
    st.lists(st.integers(0, 40), max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_dat_equals_the_record_by_record_decoder_wherever_it_is_cut(pairs, cuts):
    data = np.array(pairs, "<u4").reshape(-1, 2)

    def decode(records, state):
        columns, *state = decode_dat(records, *state)
        return columns, state, 0

    events, _ = _in_pieces(decode, data.view("<i8").reshape(-1), (0, 0), cuts)
    assert events == truth.decode_dat(data.tobytes())


def test_a_long_random_stream_of_vectors_and_single_events():
    rng = np.random.default_rng(5)
    kinds = rng.choice([0, 2, 3, 4, 5, 6, 8], 60_000, p=[0.2, 0.2, 0.1, 0.2, 0.1, 0.18, 0.02])
    words = (kinds << 12 | rng.integers(0, 4096, len(kinds))).astype("<u2")
    expected = truth.decode_evt3(words.tobytes())
    assert len(expected[0]) > 100_000
    assert _in_pieces(decode_evt3, words, Evt3State(), [1, 2, 777, 30_000]) == expected


WRITERS = {
    "EVT2": lambda path, events: truth.raw_file(path, truth.encode_evt2(events), "EVT2"),
    "EVT3": lambda path, events: truth.raw_file(path, truth.encode_evt3(events), "EVT3"),
    "DAT": lambda path, events: truth.dat_file(path, truth.encode_dat(events)),
}
READERS = {"EVT2": "evt2", "EVT3": "evt3", "DAT": "dat"}


def _open(path: Path, options: EventOptions = OPTIONS, **small):
    return sniff(path, "event").read(path, options, **small)


@pytest.mark.parametrize("encoding", WRITERS)
@pytest.mark.parametrize(
    ("start", "end"), [(0, 90_000), (2**24 - 5_000, 2**24 + 40_000_000), (2**32 - 5_000, 2**32 + 5_000)]
)
def test_a_recording_reads_back(tmp_path, encoding, start, end):
    events = truth.random_events(3000, start=start, end=end)
    if encoding == "EVT3":  # the counter of 24 bits says nothing about the turns before the recording
        unseen = events[0][2] >> 24 << 24
        events = [(x, y, t - unseen, p) for x, y, t, p in events]
        events.sort(key=lambda e: (e[2], e[1], e[3], e[0]))
    path = WRITERS[encoding](tmp_path / f"a.{'dat' if encoding == 'DAT' else 'raw'}", events)
    assert sniff(path, "event").name == READERS[encoding]
    with _open(path) as source:
        assert source.size == (48, 64)
        assert (source.count, source.t_first_us, source.t_last_us) == (3000, events[0][2], events[-1][2])
        assert truth.as_list(source.read_index(0, source.count)) == events
        middle = (events[0][2] + events[-1][2]) // 2
        assert truth.as_list(source.read_time(middle, events[-1][2])) == [
            e for e in events if middle <= e[2] < events[-1][2]
        ]
        assert source.notes == []


@pytest.mark.parametrize("encoding", WRITERS)
def test_a_long_recording_is_decoded_again_block_by_block(tmp_path, encoding):
    events = sorted(truth.random_events(4000), key=lambda e: (e[2], e[1], e[3], e[0]))
    path = WRITERS[encoding](tmp_path / f"a.{'dat' if encoding == 'DAT' else 'raw'}", events)
    with _open(path, block_bytes=1000, keep_events=500) as source:
        assert len(source.bounds) > 5
        assert truth.as_list(source.read_index(0, 4000)) == events
        for i0, i1 in ((3900, 4000), (17, 18), (500, 2500), (499, 501)):  # forwards and backwards
            assert truth.as_list(source.read_index(i0, i1)) == events[i0:i1]
        assert [source.index_at(t) for t in (0, 50_000, 10**9)] == [
            sum(e[2] < t for e in events) for t in (0, 50_000, 10**9)
        ]
        assert [e for piece in source.chunks(333) for e in truth.as_list(piece)] == events


@pytest.mark.parametrize("encoding", ["EVT2", "EVT3"])
def test_events_before_the_first_time_are_left_out_and_counted(tmp_path, encoding):
    stray = {"EVT2": truth.encode_evt2([(1, 1, 5, 1)])[4:] * 3, "EVT3": b"\x01\x00" + b"\x05\x20" * 3}[
        encoding
    ]
    events = sorted(truth.random_events(200, start=4096), key=lambda e: (e[2], e[1], e[3], e[0]))
    encode = truth.encode_evt2 if encoding == "EVT2" else truth.encode_evt3
    path = truth.raw_file(tmp_path / "a.raw", stray + encode(events), encoding)
    with pytest.warns(ArmsegWarning, match="before the first time"):
        source = _open(path)
    assert truth.as_list(source.read_index(0, source.count)) == events
    assert any(note.startswith("3 events dropped") for note in source.notes)


@pytest.mark.parametrize(("encoding", "unit"), [("EVT2", 4), ("EVT3", 2), ("DAT", 8)])
def test_a_cut_off_last_word_is_left_out_with_a_note(tmp_path, encoding, unit):
    events = sorted(truth.random_events(300), key=lambda e: (e[2], e[1], e[3], e[0]))
    path = WRITERS[encoding](tmp_path / f"a.{'dat' if encoding == 'DAT' else 'raw'}", events)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(ArmsegWarning, match="not a whole word"):
        source = _open(path)
    assert truth.as_list(source.read_index(0, source.count)) == events[: source.count]
    assert source.count >= 290


@pytest.mark.parametrize(("said", "written"), [("EVT3", "EVT2"), ("EVT2", "EVT3")])
def test_a_header_that_names_the_other_encoding_is_an_error(tmp_path, said, written):
    encode = truth.encode_evt2 if written == "EVT2" else truth.encode_evt3
    path = truth.raw_file(tmp_path / "a.raw", encode(truth.random_events(2000)), said)
    with pytest.raises(FormatError, match=f"header says {said}, the words are {written}"):
        _open(path)


def test_without_a_word_in_the_header_the_words_decide(tmp_path):
    events = truth.random_events(500)
    path = tmp_path / "a.raw"
    path.write_bytes(b"% Date 2020-01-01\n% geometry 64x48\n% end\n" + truth.encode_evt2(events))
    assert sniff(path, "event").name == "evt2"
    assert truth.as_list(_open(path).read_index(0, 500)) == events


@pytest.mark.parametrize("named", ["EVT21", "EVT4"])
def test_other_encodings_are_refused_with_advice(tmp_path, named):
    path = truth.raw_file(tmp_path / "a.raw", b"\x00" * 800, named)
    with pytest.raises(FormatError, match=r"metavision_file_to"):
        sniff(path, "event")
    with pytest.raises(FormatError, match=named):
        events_prophesee.read_raw(path, OPTIONS)


def test_the_resolution_comes_from_the_header_or_must_be_given(tmp_path):
    path = tmp_path / "a.raw"
    events = truth.random_events(100)
    path.write_bytes(b"% evt 2.0\n% end\n" + truth.encode_evt2(events))
    with pytest.raises(ArmsegError, match="--sensor-size"):
        _open(path)
    assert _open(path, EventOptions(sensor_size=(48, 64))).size == (48, 64)


def test_triggers_in_a_dat_file_are_not_events(tmp_path):
    path = truth.dat_file(tmp_path / "a.dat", truth.encode_dat(truth.random_events(5)))
    path.write_bytes(path.read_bytes().replace(b"\x0c\x08", b"\x0e\x08", 1))
    with pytest.raises(FormatError, match="type 0e"):
        events_prophesee.read_dat(path, OPTIONS)


@given(st.binary(max_size=600), st.sampled_from(["EVT2", "EVT3", "DAT", "none"]))
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_any_bytes_are_events_or_an_error_of_ours(tmp_path_factory, data, encoding):
    path = tmp_path_factory.mktemp("raw") / "a.raw"
    if encoding == "DAT":
        truth.dat_file(path, data)
    elif encoding == "none":
        path.write_bytes(data)
    else:
        truth.raw_file(path, data, encoding, size=(2048, 2048))
    read = events_prophesee.read_dat if encoding == "DAT" else events_prophesee.read_raw
    try:
        source = read(path, OPTIONS)
        events = source.read_index(0, source.count)
    except ArmsegError:
        return
    assert len(events) <= source.count
    assert (np.diff(events.t) >= 0).all()


def test_evt3_agrees_with_the_evt3_package(tmp_path):
    evt3 = pytest.importorskip("evt3")
    events = sorted(truth.random_events(5000, end=40_000_000), key=lambda e: (e[2], e[1], e[3], e[0]))
    path = truth.raw_file(tmp_path / "a.raw", truth.encode_evt3(events), "EVT3")
    other = evt3.decode_file(str(path))
    ours = _open(path).read_index(0, 5000)
    for mine, theirs in (
        (ours.x, other.x),
        (ours.y, other.y),
        (ours.p, other.polarity),
        (ours.t, other.timestamp),
    ):
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("lines", "size"),
    [
        (["integrator_name Prophesee", "plugin_name hal_plugin_gen3_fx3", "system_ID 21"], (480, 640)),
        (["integrator_name Prophesee", "plugin_name hal_plugin_gen41_evk3", "system_ID 48"], (720, 1280)),
        (["system_ID 28"], (480, 640)),
        (["plugin_name hal_plugin_imx636_evk4"], (720, 1280)),
        (["system_ID 21", "geometry 320x240"], (240, 320)),  # what is written counts
    ],
)
def test_a_camera_that_the_header_names_has_a_known_size(tmp_path, lines, size):
    events = truth.random_events(100)
    header = "".join(f"% {line}\n" for line in ["evt 3.0", *lines, "end"])
    path = tmp_path / "a.raw"
    path.write_bytes(header.encode() + truth.encode_evt3(events))
    with _open(path) as source:
        assert source.size == size
        assumed = f"taken as {size[1]}x{size[0]} (--sensor-size to change)"
        assert (assumed in " ".join(source.notes)) == ("geometry" not in header)
    with _open(path, EventOptions(sensor_size="64x48")) as source:
        assert source.size == (48, 64)


@pytest.mark.parametrize("line", ["integrator_name CenturyArks", "system_ID 7"])
def test_of_an_unknown_camera_it_is_said_how_far_the_events_reach(tmp_path, line):
    path = tmp_path / "a.raw"
    events = [(3, 7, 10, 1), (41, 5, 20, 0)]
    path.write_bytes(f"% evt 2.0\n% {line}\n% end\n".encode() + truth.encode_evt2(events))
    with pytest.raises(ArmsegError, match=r"reach 42x8.*--sensor-size 42x8"):
        _open(path)
    path.write_bytes(b"% Version 2\n\x0c\x08" + truth.encode_dat(events))
    with pytest.raises(ArmsegError, match=r"reach 42x8.*--sensor-size 42x8"):
        _open(path)
    with _open(path, EventOptions(sensor_size="42x8")) as source:
        assert truth.as_list(source.read_index(0, 2)) == events


def test_a_time_low_word_that_steps_back_is_no_turn_of_the_counter():
    """Some sensors do so; only TIME_HIGH counts the turns of TIME_LOW."""
    steps, words = (798, 811, 800, 815), [0x8000 | 2861, 0x0000 | 5]
    for step in steps:
        words += [0x6000 | step, 0x2000 | 9]
    columns, _, lost = decode_evt3(np.array(words, "<u2"), Evt3State())
    assert [t - (2861 << 12) for t in columns.t] == list(steps)
    assert not lost
