"""The figures of lip sync: hits, false closures, contact, rounding, opening, lag and jitter, with bounds and controls.

The rule that counts them stands in lipsync.py. Counts are kept clip by clip, so that speakers can be pooled and bounds
drawn: Wilson's interval (Wilson 1927) for shares of events, and for figures of frames and clips, which are not
independent, percentiles of 1000 resamplings of the clips (Efron 1979).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from engine.core.errors import BadInput
from engine.core.phones import is_pause, split, targets
from engine.core.spans import runs
from engine.measure.lipsync import (
    EARLY_S,
    FLAT_CLASSES,
    GRID_HZ,
    LAG_S,
    LATE_S,
    OPEN_CLASSES,
    OPEN_VOWEL_S,
    ROUND_CLASSES,
    ROUNDED,
    SHORTEST_S,
    Reference,
    Track,
    closures,
    contacts,
    covered,
)

RESAMPLINGS = 1000
HELD_VOWEL_S = 0.080  # a shorter vowel is on its way all the time
HELD_PART = (0.25, 0.75)  # of a vowel: where its opening should stand still


def wilson(hits: float, of: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; (0, 1) where nothing was counted."""
    if not of:
        return 0.0, 1.0
    p = hits / of
    centre, spread = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return (centre - spread) / (1 + z * z / of), (centre + spread) / (1 + z * z / of)


def wilson_low(hits: float, of: float) -> float:
    """Lower end of `wilson`, 0 where nothing was counted."""
    return wilson(hits, of)[0]


@dataclass
class Tally:
    """Counts of one clip; `sum_of` pools them. Frames are at GRID_HZ, times in seconds."""

    events: int = 0
    hits: int = 0
    contacts: int = 0
    contact_hits: int = 0
    contact_false: int = 0
    contact_free: int = 0
    rounds: int = 0
    round_hits: int = 0
    flats: int = 0
    flat_rounds: int = 0
    free: int = 0
    false: int = 0
    false_events: int = 0
    false_on_vowels: int = 0
    speech_s: float = 0.0
    seconds: float = 0.0
    correlation_s: float = 0.0  # correlation times seconds
    lags: list[float] = field(default_factory=list)
    jitters: list[float] = field(default_factory=list)  # of each held vowel
    reference_jitters: list[float] = field(default_factory=list)
    openings: list[float] = field(default_factory=list)
    products: np.ndarray = field(default_factory=lambda: np.zeros(2 * int(LAG_S * GRID_HZ) + 1))


_LISTS = ("lags", "openings", "jitters", "reference_jitters")
_NUMBERS = tuple(f.name for f in fields(Tally) if f.name not in {*_LISTS, "products"})


def sum_of(tallies: Sequence[Tally]) -> Tally:
    """Counts of several clips as one."""
    out = Tally(**{name: sum(getattr(t, name) for t in tallies) for name in _NUMBERS})
    for t in tallies:
        for name in _LISTS:
            getattr(out, name).extend(getattr(t, name))
        out.products = out.products + t.products
    return out


def hit_events(flags: np.ndarray, grid: np.ndarray, events: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether each event has a run of at least 30 ms that begins in its window. flags [t] bool on grid [t]."""
    starts = np.array([grid[a] for a, b in runs(flags) if (b - a) / GRID_HZ >= SHORTEST_S - 1e-9])
    return [bool(((starts >= s - EARLY_S - 1e-6) & (starts <= s + LATE_S + 1e-6)).any()) for s, _ in events]


def windows(events: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where a closed mouth is no fault."""
    return [(a - EARLY_S, b + LATE_S) for a, b in events]


def scored_grid(reference: Reference) -> tuple[np.ndarray, np.ndarray]:
    """Seconds [t] at GRID_HZ, and which of them hold speech [t] bool."""
    grid = np.arange(int(reference.duration * GRID_HZ) + 1) / GRID_HZ
    return grid, covered(grid, [(a, b) for p, a, b in reference.segments if not is_pause(p)])


def closed_flags(reference: Reference, track: Track, grid: np.ndarray, speech: np.ndarray) -> np.ndarray:
    """Where the track is closed and that counts: in speech that is heard, and in every event's window. [t] bool."""
    # A p after silence may be labelled from long before its window: that stretch is silence to the ear.
    spoken = speech & ~covered(grid, [(a, b) for c, a, b in split(reference.segments) if c.event == "closure"])
    return (track.on("closed", grid) >= 0.5) & (spoken | covered(grid, windows(closures(reference))))


def _count_closures(tally: Tally, reference: Reference, track: Track, grid: np.ndarray, speech: np.ndarray) -> None:
    events = closures(reference)
    window = covered(grid, windows(events))
    pardoned = window | covered(grid, windows(reference.doubted))
    labelled = covered(grid, [(a, b) for c, a, b in split(reference.segments) if c.event == "closure"])
    closed = closed_flags(reference, track, grid, speech)
    tally.events += len(events)
    tally.hits += sum(hit_events(closed, grid, events))
    tally.free += int((speech & ~labelled & ~pardoned).sum())
    tally.false += int((closed & ~pardoned).sum())
    vowels = covered(grid, [(a, b) for c, a, b in split(reference.segments) if c.vowel])
    for a, b in runs(closed):
        if (b - a) / GRID_HZ >= SHORTEST_S and not pardoned[a:b].any():
            tally.false_events += 1
            tally.false_on_vowels += int(vowels[(a + b) // 2])


def _count_contacts(tally: Tally, reference: Reference, track: Track, grid: np.ndarray, speech: np.ndarray) -> None:
    if track.contact is None:
        return
    teeth = contacts(reference.segments, "labiodental")
    near = covered(grid, windows(teeth))
    touching = (track.on("contact", grid) >= 0.5) & (speech | near)
    tally.contact_free += int((speech & ~near).sum())
    tally.contact_false += int((touching & ~near).sum())
    tally.contacts += len(teeth)
    tally.contact_hits += sum(hit_events(touching, grid, teeth))


def _count_rounding(tally: Tally, reference: Reference, track: Track, grid: np.ndarray) -> None:
    if track.rounding is None:
        return
    value = track.on("rounding", grid)
    for cls, start, end in split(reference.segments):
        if cls.name in ROUND_CLASSES and end - start >= SHORTEST_S:
            near = (grid >= start - 0.04) & (grid <= end + 0.04)
            tally.rounds += 1
            tally.round_hits += bool(near.any() and value[near].max() >= ROUNDED)
        elif cls.name in FLAT_CLASSES and end - start >= OPEN_VOWEL_S:
            inside = (grid >= start) & (grid <= end)
            tally.flats += 1
            tally.flat_rounds += bool(inside.any() and np.median(value[inside]) >= ROUNDED)


def _count_opening(tally: Tally, reference: Reference, track: Track, grid: np.ndarray) -> None:
    wanted = targets(reference.segments, grid)[:, 0].astype(np.float64)
    got = track.on("opening", grid)
    a, b = wanted - wanted.mean(), got - got.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    tally.correlation_s += (float(a @ b) / norm if norm > 1e-12 else 0.0) * reference.duration
    shifts = int(LAG_S * GRID_HZ)
    padded = np.pad(b, shifts)
    products = np.array([float(a @ padded[shifts + k : shifts + k + len(a)]) for k in range(-shifts, shifts + 1)])
    if norm > 1e-12:
        tally.lags.append((int(products.argmax()) - shifts) / GRID_HZ)
        tally.products = products / norm
    for cls, start, end in split(reference.segments):
        near = (grid >= start) & (grid <= end)
        if cls.name in OPEN_CLASSES and end - start >= OPEN_VOWEL_S and near.any():
            tally.openings.append(float(got[near].max()))


def held_vowels(reference: Reference) -> list[tuple[float, float]]:
    """The middle halves of vowels of at least 80 ms."""
    low, high = HELD_PART
    return [
        (a + low * (b - a), a + high * (b - a))
        for c, a, b in split(reference.segments)
        if c.vowel and b - a >= HELD_VOWEL_S
    ]


def _count_jitter(tally: Tally, reference: Reference, track: Track) -> None:
    """Unrest of the opening in each held vowel, beside that of the labels' own opening at the same times."""
    times = track.times[(track.times >= 0) & (track.times <= reference.duration)]
    if len(times) < 3:
        return
    wanted = targets(reference.segments, times)[:, 0].astype(np.float64)
    vowels = [np.flatnonzero((times[1:-1] >= a) & (times[1:-1] <= b)) for a, b in held_vowels(reference)]
    for into, values in ((tally.jitters, track.on("opening", times)), (tally.reference_jitters, wanted)):
        span = float(np.percentile(values, 95) - np.percentile(values, 5))
        if span > 1e-6:
            unrest = np.diff(values, 2) / span
            into.extend(float(np.sqrt(np.mean(unrest[rows] ** 2))) for rows in vowels if len(rows) >= 2)


def tally_of(reference: Reference, track: Track) -> Tally:
    """All counts of one clip."""
    tally = Tally(seconds=reference.duration)
    grid, speech = scored_grid(reference)
    tally.speech_s = float(speech.sum()) / GRID_HZ
    _count_closures(tally, reference, track, grid, speech)
    _count_contacts(tally, reference, track, grid, speech)
    _count_rounding(tally, reference, track, grid)
    _count_opening(tally, reference, track, grid)
    _count_jitter(tally, reference, track)
    return tally


def score_tracks(pairs: Iterable[tuple[Reference, Track]]) -> dict[str, Any]:
    """Figures over clips; keys: `figures`."""
    tallies, in_mm = [], False
    for reference, track in pairs:
        tallies.append(tally_of(reference, track))
        in_mm = track.in_mm
    return figures(tallies, in_mm)


def figures(tallies: Sequence[Tally], in_mm: bool = False) -> dict[str, Any]:
    """Figures over clips, keys as in docs/design.md ("measure lipsync"); shares in [0, 1].

    closure with closure_low95, closure_high95; false_closure (of speech frames outside windows) with
    false_closure_high95; false_events_per_s (per second of speech) with its _high95, false_on_vowels_per_s;
    labiodental, false_labiodental; rounding (share of rounded phones whose lips round; false_rounding: of long spread
    or open vowels); correlation (mean over clips by length) with correlation_low95; lag_ms (positive: the face is
    late), lag_median_ms; opening: median of the largest in each stressed open vowel, open_mm the same in mm; jitter:
    median over held vowels of the opening's RMS second difference per frame, in shares of its range (a closure in
    the wrong place is counted elsewhere), jitter_reference that of the labels' own opening.
    """
    t = sum_of(tallies)
    share = lambda a, b: round(a / b, 4) if b else None  # noqa: E731
    opening = round(float(np.median(t.openings)), 3) if t.openings else None
    lag = (int(t.products.argmax()) - len(t.products) // 2) * 1000 / GRID_HZ if t.lags else None
    low, high = wilson(t.hits, t.events)
    jitter = [float(np.median(x)) if x else 0.0 for x in (t.jitters, t.reference_jitters)]
    return {
        "events": t.events,
        "closure": share(t.hits, t.events),
        "closure_low95": round(low, 4),
        "closure_high95": round(high, 4),
        "false_closure": share(t.false, t.free),
        "false_events_per_s": round(t.false_events / max(t.speech_s, 1e-9), 3),
        "false_on_vowels_per_s": round(t.false_on_vowels / max(t.speech_s, 1e-9), 3),
        "labiodental": share(t.contact_hits, t.contacts),
        "labiodental_low95": round(wilson_low(t.contact_hits, t.contacts), 4),
        "labiodental_events": t.contacts,
        "false_labiodental": share(t.contact_false, t.contact_free),
        "rounding": share(t.round_hits, t.rounds),
        "rounding_low95": round(wilson_low(t.round_hits, t.rounds), 4),
        "false_rounding": share(t.flat_rounds, t.flats),
        "correlation": round(t.correlation_s / max(t.seconds, 1e-9), 4),
        **_resampled(tallies),
        "lag_ms": lag,
        "lag_median_ms": round(1000 * float(np.median(t.lags)), 1) if t.lags else None,
        "opening": opening,
        "open_mm": opening if in_mm else None,
        "jitter": round(jitter[0], 5),
        "jitter_reference": round(jitter[1], 5),
        "speech_s": round(t.speech_s, 1),
    }


def _resampled(tallies: Sequence[Tally]) -> dict[str, float]:
    """Bounds of the figures whose parts are not independent, by resampling clips with a fixed seed."""
    names = ("false", "free", "false_events", "speech_s", "correlation_s", "seconds")
    table = np.array([[getattr(t, n) for n in names] for t in tallies], np.float64)
    picks = np.random.default_rng(0).integers(len(table), size=(RESAMPLINGS, len(table)))
    false, free, events, speech, correlation, seconds = table[picks].sum(1).T
    return {
        "false_closure_high95": round(float(np.percentile(false / np.maximum(free, 1), 97.5)), 4),
        "false_events_high95": round(float(np.percentile(events / np.maximum(speech, 1e-9), 97.5)), 3),
        "correlation_low95": round(float(np.percentile(correlation / np.maximum(seconds, 1e-9), 2.5)), 4),
    }


def score(references: Sequence[Reference], track_of: Callable[[Reference], Track]) -> dict[str, Any]:
    """Figures of `track_of` over the clips, with three controls that a true measure must fail.

    Returns {"clips", "bilabials", "score": {...}, "controls": {"late_100ms": {...}, "early_100ms": {...},
    "other_clip": {...}}}, and with more than one speaker "speakers": {name: {...}}; each clip's track is made once.
    """
    if not references:
        raise BadInput("no clips to score")
    tracks = [track_of(r) for r in references]
    in_mm = tracks[0].in_mm
    tallies = [tally_of(r, t) for r, t in zip(references, tracks, strict=True)]
    result = figures(tallies, in_mm)
    late, early = (
        score_tracks((r, t.late(s)) for r, t in zip(references, tracks, strict=True)) for s in (0.100, -0.100)
    )
    other = score_tracks(zip(references, tracks[1:] + tracks[:1], strict=True)) if len(tracks) > 1 else None
    return {
        "clips": len(references),
        "bilabials": result["events"],
        "score": result,
        "speakers": _by_speaker(references, tallies, in_mm),
        "controls": {"late_100ms": late, "early_100ms": early, "other_clip": other},
    }


def _by_speaker(references: Sequence[Reference], tallies: Sequence[Tally], in_mm: bool) -> dict[str, Any]:
    groups: dict[str, list[Tally]] = {}
    for reference, tally in zip(references, tallies, strict=True):
        groups.setdefault(reference.speaker, []).append(tally)
    return {name: figures(own, in_mm) for name, own in groups.items()} if len(groups) > 1 else {}
