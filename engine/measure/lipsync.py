"""Lip sync against phone times, without any net: do lips meet at p b m, touch at f v, round, open when they should?

The same code scores articulation channels and the final mesh: both arrive as a `Track` of plain signals.

The rule. p b m at most 30 ms apart are one event. After silence or at a clip's start an event begins at
max(start, end of its first phone - 80 ms), because a closure that begins in silence cannot be heard. A hit is a closed
run of at least 30 ms that begins in [start - 100 ms, start + 40 ms]. Closed frames outside [start - 100, end + 40] of
every event, within speech, are false. Pauses count neither way: there the mouth is at rest, with the lips together, and
a run that goes on from a pause into an event's window begins where the window begins.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.errors import BadFile, BadInput
from engine.core.phones import Segment, from_arpabet, is_pause, parts, split, targets
from engine.core.spans import runs

GRID_HZ = 200
MERGE_S = 0.030
AFTER_SILENCE_S = 0.080
EARLY_S, LATE_S = 0.100, 0.040
SHORTEST_S = 0.030
SHUT_MM = 1.0  # a gap of the inner lips below this, against rest, is closed
LAG_S = 0.300
_OPEN_CLASSES = {"open", "open_back", "near_open_front"}
_OPEN_VOWEL_S = 0.080  # without stress marks, length tells the stressed open vowels
_ROUND_CLASSES = {"labiovelar", "close_back_rounded", "close_mid_back_rounded", "close_front_rounded", "postalveolar"}
_FLAT_CLASSES = {"close_front", "close_mid_front", "open_mid_front", "near_open_front", "open"}
_ROUNDED = 0.4


@dataclass(frozen=True)
class Reference:
    """One labelled clip: sound file, seconds, text, IPA segments in time order."""

    file: Path
    duration: float
    transcript: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Track:
    """What a face did. All [t] at `times` (seconds, increasing), any rate.

    opening: how far the mouth is open (mm for a mesh, jaw_open for articulation). closed, contact: at least 0.5 where
    the lips are together / the lower lip touches the upper teeth. rounding in [0, 1], or None if not known.
    """

    times: np.ndarray
    opening: np.ndarray
    closed: np.ndarray
    contact: np.ndarray | None = None
    rounding: np.ndarray | None = None
    in_mm: bool = False

    def __post_init__(self) -> None:
        sizes = {len(x) for x in (self.times, self.opening, self.closed, self.contact, self.rounding) if x is not None}
        if len(sizes) != 1 or not len(self.times):
            raise BadInput(f"a track's signals must have one length of at least 1, got {sorted(sizes)}")

    def late(self, seconds: float) -> Track:
        """The same motion, `seconds` later."""
        return replace(self, times=self.times + seconds)

    def on(self, name: str, grid: np.ndarray) -> np.ndarray:
        """A signal linearly interpolated at `grid` seconds."""
        return np.interp(grid, self.times, getattr(self, name))


def closed_of_gap(gap_mm: np.ndarray, shut_mm: float = SHUT_MM) -> np.ndarray:
    """`Track.closed` of a lip gap: 0.5 exactly at `shut_mm`, linear around it so that interpolation stays true."""
    return 1.0 - 0.5 * np.asarray(gap_mm, np.float64) / shut_mm


def closed_of_channel(value: np.ndarray, contact: float = 0.9) -> np.ndarray:
    """`Track.closed` of a contact channel in [0, 1]: 0.5 exactly at `contact`."""
    return 0.5 + (np.asarray(value, np.float64) - contact) * 5.0


def read_manifest(path: str | Path) -> list[Reference]:
    """Clips of a manifest.jsonl (file, duration, transcript, phones [[ARPABET or IPA, start s, end s], ...]).

    Sound files are relative to the manifest. Raises BadFile that names the line.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "manifest.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise BadFile(path, "no such manifest") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(path, f"is not a readable manifest ({error})") from None
    out = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            ipa = row.get("alphabet", "arpabet") == "ipa"
            phones = [(p if ipa else from_arpabet(p), float(a), float(b)) for p, a, b in row["phones"]]
            sound, seconds = path.parent / row["file"], float(row["duration"])
            out.append(Reference(sound, seconds, row.get("transcript", ""), tuple(phones)))
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadFile(path, f"line {number} is not a clip with file, duration and phones ({error!r})") from None
        if any(b < a for _, a, b in phones) or any(q[1] < p[1] for p, q in itertools.pairwise(phones)):
            raise BadFile(path, f"line {number} ({row['file']}) has phones out of order")
    if not out:
        raise BadFile(path, "holds no clips")
    return out


def contacts(segments: Sequence[Segment], kind: str) -> list[tuple[float, float]]:
    """Events of `kind` ("closure": p b m, "labiodental": f v), merged and shortened after silence by the rule."""
    rows = split(segments)
    out: list[tuple[float, float]] = []
    for i, (cls, start, end) in enumerate(rows):
        if cls.event != kind:
            continue
        if out and start - out[-1][1] <= MERGE_S:
            out[-1] = (out[-1][0], end)
            continue
        after_silence = i == 0 or rows[i - 1][0].event == "pause" or start - rows[i - 1][2] > AFTER_SILENCE_S
        out.append((max(start, end - AFTER_SILENCE_S) if after_silence else start, end))
    return out


def wilson_low(hits: int, of: int, z: float = 1.96) -> float:
    """Lower end of Wilson's 95 % interval of a share (Wilson 1927)."""
    if not of:
        return 0.0
    p = hits / of
    centre = p + z * z / (2 * of)
    return (centre - z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))) / (1 + z * z / of)


@dataclass
class _Tally:
    """Counts over clips."""

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
    correlations: list[tuple[float, float]] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    openings: list[float] = field(default_factory=list)
    products: np.ndarray | None = None


def _in_any(grid: np.ndarray, spans: Iterable[tuple[float, float]]) -> np.ndarray:
    out = np.zeros(len(grid), bool)
    for a, b in spans:
        out[(grid >= a - 1e-9) & (grid <= b + 1e-9)] = True
    return out


def _count_hits(flags: np.ndarray, grid: np.ndarray, events: Sequence[tuple[float, float]]) -> int:
    """Events with a run of at least 30 ms that begins in their window."""
    starts = np.array([grid[a] for a, b in runs(flags) if (b - a) / GRID_HZ >= SHORTEST_S - 1e-9])
    return sum(bool(((starts >= s - EARLY_S - 1e-6) & (starts <= s + LATE_S + 1e-6)).any()) for s, _ in events)


def _windows(events: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(a - EARLY_S, b + LATE_S) for a, b in events]


def _closures(tally: _Tally, reference: Reference, track: Track, grid: np.ndarray, speech: np.ndarray) -> None:
    events = contacts(reference.segments, "closure")
    window = _in_any(grid, _windows(events))
    # A p after silence may be labelled from long before its window: that stretch is silence to the ear.
    spoken = speech & ~_in_any(grid, [(a, b) for c, a, b in split(reference.segments) if c.event == "closure"])
    closed = (track.on("closed", grid) >= 0.5) & (spoken | window)
    tally.events += len(events)
    tally.hits += _count_hits(closed, grid, events)
    tally.free += int((spoken & ~window).sum())
    tally.false += int((closed & ~window).sum())
    vowels = _in_any(grid, [(a, b) for c, a, b in split(reference.segments) if c.vowel])
    for a, b in runs(closed):
        if (b - a) / GRID_HZ >= SHORTEST_S and not window[a:b].any():
            tally.false_events += 1
            tally.false_on_vowels += int(vowels[(a + b) // 2])
    if track.contact is not None:
        teeth = contacts(reference.segments, "labiodental")
        near = _in_any(grid, _windows(teeth))
        touching = (track.on("contact", grid) >= 0.5) & (speech | near)
        tally.contact_free += int((speech & ~near).sum())
        tally.contact_false += int((touching & ~near).sum())
        tally.contacts += len(teeth)
        tally.contact_hits += _count_hits(touching, grid, teeth)


def _rounding(tally: _Tally, reference: Reference, track: Track, grid: np.ndarray) -> None:
    if track.rounding is None:
        return
    value = track.on("rounding", grid)
    for cls, start, end in split(reference.segments):
        if cls.name in _ROUND_CLASSES and end - start >= SHORTEST_S:
            near = (grid >= start - 0.04) & (grid <= end + 0.04)
            tally.rounds += 1
            tally.round_hits += bool(near.any() and value[near].max() >= _ROUNDED)
        elif cls.name in _FLAT_CLASSES and end - start >= _OPEN_VOWEL_S:
            inside = (grid >= start) & (grid <= end)
            tally.flats += 1
            tally.flat_rounds += bool(inside.any() and np.median(value[inside]) >= _ROUNDED)


def _opening(tally: _Tally, reference: Reference, track: Track, grid: np.ndarray) -> None:
    wanted = targets(reference.segments, grid)[:, 0].astype(np.float64)
    got = track.on("opening", grid)
    a, b = wanted - wanted.mean(), got - got.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    tally.correlations.append((float(a @ b) / norm if norm > 1e-12 else 0.0, reference.duration))
    shifts = int(LAG_S * GRID_HZ)
    padded = np.pad(b, shifts)
    products = np.array([float(a @ padded[shifts + k : shifts + k + len(a)]) for k in range(-shifts, shifts + 1)])
    if norm > 1e-12:
        tally.lags.append((int(products.argmax()) - shifts) / GRID_HZ)
        tally.products = products / norm + (0 if tally.products is None else tally.products)
    for cls, start, end in split(reference.segments):
        near = (grid >= start) & (grid <= end)
        if cls.name in _OPEN_CLASSES and end - start >= _OPEN_VOWEL_S and near.any():
            tally.openings.append(float(got[near].max()))


def score_tracks(pairs: Iterable[tuple[Reference, Track]]) -> dict[str, Any]:
    """Figures over clips, keys as in docs/design.md ("measure lipsync"); shares in [0, 1].

    closure, closure_low95 (Wilson), false_closure (of speech frames outside windows), false_events_per_s (per second
    of speech) and false_on_vowels_per_s, labiodental, rounding (share of rounded phones whose
    lips round; false_rounding: of long spread or open vowels), correlation (mean over clips by length), lag_ms
    (positive: the face is late), lag_median_ms, open_mm (None unless the track is in mm), opening.
    """
    tally, in_mm = _Tally(), False
    for reference, track in pairs:
        grid = np.arange(int(reference.duration * GRID_HZ) + 1) / GRID_HZ
        speech = _in_any(grid, [(a, b) for p, a, b in reference.segments if not is_pause(p)])
        tally.speech_s += float(speech.sum()) / GRID_HZ
        tally.seconds += reference.duration
        _closures(tally, reference, track, grid, speech)
        _rounding(tally, reference, track, grid)
        _opening(tally, reference, track, grid)
        in_mm = track.in_mm
    return _figures(tally, in_mm)


def _figures(t: _Tally, in_mm: bool) -> dict[str, Any]:
    share = lambda a, b: round(a / b, 4) if b else None  # noqa: E731
    speech = max(t.speech_s, 1e-9)
    weights = sum(w for _, w in t.correlations) or 1.0
    opening = round(float(np.median(t.openings)), 3) if t.openings else None
    lag = (int(t.products.argmax()) - len(t.products) // 2) * 1000 / GRID_HZ if t.products is not None else None
    return {
        "events": t.events,
        "closure": share(t.hits, t.events),
        "closure_low95": round(wilson_low(t.hits, t.events), 4),
        "false_closure": share(t.false, t.free),
        "false_events_per_s": round(t.false_events / speech, 3),
        "false_on_vowels_per_s": round(t.false_on_vowels / speech, 3),
        "labiodental": share(t.contact_hits, t.contacts),
        "labiodental_events": t.contacts,
        "false_labiodental": share(t.contact_false, t.contact_free),
        "rounding": share(t.round_hits, t.rounds),
        "false_rounding": share(t.flat_rounds, t.flats),
        "correlation": round(sum(c * w for c, w in t.correlations) / weights, 4),
        "lag_ms": lag,
        "lag_median_ms": round(1000 * float(np.median(t.lags)), 1) if t.lags else None,
        "opening": opening,
        "open_mm": opening if in_mm else None,
        "speech_s": round(t.speech_s, 1),
    }


def score(references: Sequence[Reference], track_of: Callable[[Reference], Track]) -> dict[str, Any]:
    """Figures of `track_of` over the clips, with two controls that a true measure must fail.

    Returns {"clips", "bilabials", "score": {...}, "controls": {"late_100ms": {...}, "other_clip": {...}}}; each clip's
    track is made once.
    """
    if not references:
        raise BadInput("no clips to score")
    tracks = [track_of(r) for r in references]
    result = score_tracks(zip(references, tracks, strict=True))
    late = score_tracks((r, t.late(0.100)) for r, t in zip(references, tracks, strict=True))
    other = score_tracks(zip(references, tracks[1:] + tracks[:1], strict=True)) if len(tracks) > 1 else None
    return {
        "clips": len(references),
        "bilabials": result["events"],
        "score": result,
        "controls": {"late_100ms": late, "other_clip": other},
    }


def track_of_articulation(times: np.ndarray, channels: dict[str, np.ndarray]) -> Track:
    """`Track` of `Speech.articulation`. times [t] s; channels: name -> [t], names as in core.names.ARTICULATION."""
    return Track(
        times, channels["jaw_open"] * (1.0 - channels["lip_close"]), closed_of_channel(channels["lip_close"]),
        closed_of_channel(channels["labiodental"]), np.maximum(channels["round"], channels["funnel"]),
    )  # fmt: skip


def true_track(reference: Reference) -> Track:
    """The labels themselves as a track: what scores 1.0 by construction (the measure's own check)."""
    times = np.arange(int(reference.duration * 1000) + 1) / 1000
    wanted = targets(reference.segments, times)
    shut, teeth = (_in_any(times, contacts(reference.segments, kind)) for kind in ("closure", "labiodental"))
    rounding = np.maximum(wanted[:, 1], wanted[:, 2])
    return Track(times, wanted[:, 0], shut.astype(float), teeth.astype(float), rounding)


def stressed_open(segments: Sequence[Segment]) -> list[tuple[float, float]]:
    """Spans of long open vowels (class open, near-open front or open back, at least 80 ms)."""
    return [(a, b) for c, a, b in split(segments) if c.name in _OPEN_CLASSES and b - a >= _OPEN_VOWEL_S]


def has_bilabial(segments: Sequence[Segment]) -> bool:
    return any(c.event == "closure" for p, _, _ in segments for c, _ in parts(p))
