"""Decoders of Prophesee's RAW words, EVT 2.0 and EVT 3.0, and of DAT: words in, columns out, without loops.

The encodings are state machines: a word may set the time, the row or a base column for the words after it.
Here each state is found for all words at once: where it was set, and which of these places is the last one
before each event. The state at the end of a block is handed on to the next one.

Format: docs.prophesee.ai, pages EVT 2.0, EVT 3.0 and DAT. Shape letters: M words, N events.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from armseg_core.sensors.event.columns import Columns

# word types of Prophesee's formats EVT 2.0 (CD_OFF, CD_ON, TIME_HIGH, EXT_TRIGGER, OTHERS, CONTINUED) and
# EVT 3.0 (ADDR_Y, ADDR_X, VECT_BASE_X, VECT_12, VECT_8, TIME_LOW, CONTINUED_4, TIME_HIGH, EXT_TRIGGER,
# OTHERS, CONTINUED_12); the masks and shifts below are theirs too
EVT2_TYPES = (0x0, 0x1, 0x8, 0xA, 0xE, 0xF)
EVT3_TYPES = (0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0xA, 0xE, 0xF)


class Evt2State(NamedTuple):
    """What an EVT2 decoder carries from block to block.

    base: microseconds of the last TIME_HIGH with the turns of its 28 bits counted in; -1 before the first.
    """

    base: int = -1


class Evt3State(NamedTuple):
    """What an EVT3 decoder carries from block to block.

    base: microseconds of the last TIME_HIGH with the turns of its 12 bits counted in; -1 before the first.
    low: last TIME_LOW. y: last row, x: column of the next vector, both -1 before the first. p: its polarity.
    """

    base: int = -1
    low: int = 0
    y: int = -1
    x: int = -1
    p: int = 0


def _turns(values: np.ndarray, base: int, shift: int, bits: int) -> np.ndarray:
    """Time bases of successive TIME_HIGH values: a fall by half the range or more is a turn of the counter.

    Args:
        values: (K,) int64 counter values. base: the time base before them, -1 for none.
        shift: microseconds per count as a power of two. bits: width of the counter.
    """
    if not len(values):
        return values
    before = np.empty_like(values)
    before[1:] = values[:-1]
    before[0] = values[0] if base < 0 else (base >> shift) & ((1 << bits) - 1)
    turns = np.cumsum(before - values >= 1 << (bits - 1))
    if base > 0:
        turns += base >> (shift + bits)
    return (turns << (shift + bits)) + (values << shift)


def _last_set(values: np.ndarray, places: np.ndarray, wanted: np.ndarray, length: int) -> np.ndarray:
    """For each place in `wanted`, the value set at the last place at or before it.

    Args:
        values: (K + 1,) the value before the first place, then the one set at each place.
        places: (K,) rising. wanted: (N,) rising. length: number of all places.
    """
    if not len(places):
        return np.full(len(wanted), values[0])
    if 8 * len(places) < len(wanted):  # both ways give the same; a search for each place pays for few only
        borders = np.searchsorted(wanted, places)
        return np.repeat(values, np.diff(borders, prepend=0, append=len(wanted)))
    marks = np.zeros(length, bool)
    marks[places] = True
    return values.take(np.cumsum(marks, dtype=np.int32).take(wanted))


def decode_evt2(words: np.ndarray, state: Evt2State) -> tuple[Columns, Evt2State, int]:
    """Events of a block of EVT 2.0 words.

    Args:
        words: (M,) uint32.

    Returns:
        columns, the state after the block, number of events left out because no time was known yet.
    """
    kind = words >> 28
    highs = np.flatnonzero(kind == 0x8)
    base = _turns((words[highs] & 0x0FFFFFFF).astype(np.int64), state.base, 6, 28)
    places = np.flatnonzero(kind < 2)
    lost = 0
    if state.base < 0:
        lost = int(np.searchsorted(places, highs[0])) if len(highs) else len(places)
        places = places[lost:]
    events = words.take(places)
    t = _last_set(np.concatenate(([state.base], base)), highs, places, len(words))
    t += (events >> 22) & 0x3F
    x = ((events >> 11) & 0x7FF).astype(np.uint16)
    y = (events & 0x7FF).astype(np.uint16)
    p = (events >> 28).astype(np.uint8)
    return Columns(x, y, t, p), Evt2State(int(base[-1]) if len(base) else state.base), lost


def decode_evt3(words: np.ndarray, state: Evt3State) -> tuple[Columns, Evt3State, int]:
    """Events of a block of EVT 3.0 words.

    Args:
        words: (M,) uint16.

    Returns:
        columns, the state after the block, number of words with events left out because no time, row or base
        column was known yet.
    """
    kind = words >> 12
    times, time_places, low = _evt3_times(words, kind, state)
    rows = np.flatnonzero(kind == 0x0)
    row = words.take(rows) & np.uint16(0x7FF)
    is_vector = (kind == 0x4) | (kind == 0x5)
    has_vectors = bool(is_vector.any())
    places = np.flatnonzero((kind == 0x2) | is_vector) if has_vectors else np.flatnonzero(kind == 0x2)
    first = max(_first_known(state.base, time_places), _first_known(state.y, rows))
    bases = np.flatnonzero(kind == 0x3)
    if has_vectors and state.x < 0:
        known = _first_known(-1, bases)
        usable = (places >= first) & ((places >= known) | ~is_vector.take(places))
        places, lost = places[usable], int(np.count_nonzero(~usable))
    else:
        lost = int(np.searchsorted(places, first))
        places = places[lost:]
    y = _last_set(np.concatenate(([max(state.y, 0)], row)).astype(np.uint16), rows, places, len(words))
    t = _last_set(times, time_places, places, len(words))
    source = words.take(places)
    x, p = source & np.uint16(0x7FF), ((source >> 11) & 1).astype(np.uint8)
    last_x, last_p = state.x, state.p
    if len(bases):
        last_x, last_p = int(words[bases[-1]] & 0x7FF), int(words[bases[-1]] >> 11) & 1
    columns = Columns(x, y, t, p)
    if has_vectors:
        columns, last_x = _evt3_vectors(words, kind, bases, places, columns, state)
    after = Evt3State(
        int(times[-1]) & ~0xFFF if times[-1] >= 0 else -1,
        low,
        int(row[-1]) if len(row) else state.y,
        last_x,
        last_p,
    )
    return columns, after, lost


def _first_known(state: int, places: np.ndarray) -> int:
    """Place from which on a value is known."""
    if state >= 0:
        return 0
    return int(places[0]) if len(places) else np.iinfo(np.int64).max


def _evt3_times(words: np.ndarray, kind: np.ndarray, state: Evt3State) -> tuple[np.ndarray, np.ndarray, int]:
    """Every change of time in a block.

    A TIME_HIGH that differs from the one before sets the low part to 0 until the next TIME_LOW.

    Returns:
        times (K + 1,) int64, the one before the block first (-1 unknown); places (K,); low part at the end.
    """
    places = np.flatnonzero((kind == 0x6) | (kind == 0x8))
    value = (words.take(places) & np.uint16(0xFFF)).astype(np.int64)
    is_high = kind.take(places) == 0x8
    highs = value[is_high]
    base = _turns(highs, state.base, 12, 12)
    changed = np.diff(base, prepend=state.base) != 0
    if not changed.all():
        keep = ~is_high
        keep[is_high] = changed
        places, value, is_high, base = places[keep], value[keep], is_high[keep], base[changed]
    before = state.base + state.low if state.base >= 0 else -1
    known = np.concatenate(([state.base], base)).take(np.cumsum(is_high))
    times = np.where(is_high, known, known + value)
    times[known < 0] = -1
    if not len(places):
        return np.array([before]), places, state.low
    usable = np.flatnonzero(known >= 0)
    low = int(times[-1]) & 0xFFF if len(usable) else int(value[-1])
    if len(usable) < len(places):  # low parts before the first TIME_HIGH say nothing
        times, places = times[usable], places[usable]
    return np.concatenate(([before], times)), places, low


def _evt3_vectors(
    words: np.ndarray,
    kind: np.ndarray,
    bases: np.ndarray,
    places: np.ndarray,
    single: Columns,
    state: Evt3State,
) -> tuple[Columns, int]:
    """Replace each vector word among the event words by the events of its set bits, in stream order.

    Args:
        places: (M',) the event words. single: their columns, as if each were a single event.

    Returns:
        columns of all events; column after the last vector.
    """
    vectors = np.flatnonzero((kind == 0x4) | (kind == 0x5))
    width = np.where(kind.take(vectors) == 0x4, 12, 8)
    passed = np.concatenate(([0], np.cumsum(width)))  # columns passed by all vectors before each one
    base = words.take(bases)
    start = np.concatenate(([max(state.x, 0)], base & 0x7FF)).astype(np.int64)
    start -= np.concatenate(([0], passed.take(np.searchsorted(vectors, bases))))
    column = _last_set(start, bases, vectors, len(words)) + passed[:-1]
    polarity = np.concatenate(([state.p], (base >> 11) & 1)).astype(np.uint8)
    polarity = _last_set(polarity, bases, vectors, len(words))

    all_columns = np.zeros(len(words), np.int32)
    all_columns[vectors] = column
    all_polarity = np.zeros(len(words), np.uint8)
    all_polarity[vectors] = polarity
    is_vector = ((kind == 0x4) | (kind == 0x5)).take(places)
    x = np.where(is_vector, all_columns.take(places), single.x)
    p = np.where(is_vector, all_polarity.take(places), single.p)
    valid = words.take(places) & np.where(kind.take(places) == 0x4, np.uint16(0xFFF), np.uint16(0xFF))
    valid[~is_vector] = 1  # a single event is a vector of one
    bits = np.flatnonzero(np.unpackbits(valid.view(np.uint8), bitorder="little").view(bool))
    word = bits >> 4
    x = x.take(word) + (bits & 15)
    end = int(start[-1] + passed[-1]) if len(bases) or state.x >= 0 else -1
    return Columns(x, single.y.take(word), single.t.take(word), p.take(word)), end


def decode_dat(records: np.ndarray, turns: int, last: int) -> tuple[Columns, int, int]:
    """Events of a block of DAT records.

    Args:
        records: (N,) int64: time in the low 32 bits; x (14 bits), y (14) and polarity (4) above.
        turns: how often the 32 bits of the time have turned over. last: the time before the block.

    Returns:
        columns, turns and last time after the block.
    """
    t = records & 0xFFFFFFFF
    after = int(t[-1]) if len(t) else last
    if len(t) and (t[0] < last or (t[1:] < t[:-1]).any()):
        before = np.concatenate(([last], t[:-1]))
        turned = np.cumsum(before - t >= 1 << 31) + turns  # a smaller step back is disorder, not a turn
        t += turned << 32
        turns = int(turned[-1])
    elif turns:
        t += turns << 32
    word = (records >> 32).astype(np.uint32)  # contiguous halves: twice as fast as every second 32 bits
    x = (word & 0x3FFF).astype(np.uint16)
    y = ((word >> 14) & 0x3FFF).astype(np.uint16)
    p = (word >> 28).astype(np.uint8)
    return Columns(x, y, t, p), turns, after
