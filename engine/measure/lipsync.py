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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.core.errors import BadFile, BadInput
from engine.core.phones import Segment, from_arpabet, parts, split, targets

GRID_HZ = 200
MERGE_S = 0.030
AFTER_SILENCE_S = 0.080
EARLY_S, LATE_S = 0.100, 0.040
SHORTEST_S = 0.030
SHUT_MM = 1.0  # a gap of the inner lips below this, against rest, is closed
LAG_S = 0.300
OPEN_CLASSES = {"open", "open_back", "near_open_front"}
OPEN_VOWEL_S = 0.080  # without stress marks, length tells the stressed open vowels
ROUND_CLASSES = {"labiovelar", "close_back_rounded", "close_mid_back_rounded", "close_front_rounded", "postalveolar"}
FLAT_CLASSES = {"close_front", "close_mid_front", "open_mid_front", "near_open_front", "open"}
ROUNDED = 0.4


@dataclass(frozen=True)
class Reference:
    """One labelled clip: sound file, seconds, text, IPA segments in time order."""

    file: Path
    duration: float
    transcript: str
    segments: tuple[Segment, ...]
    speaker: str = ""
    language: str = ""
    checked: tuple[tuple[float, float], ...] | None = None  # closures after a person's check, where there was one
    doubted: tuple[tuple[float, float], ...] = ()  # closures that the check threw out: no hit, and no false frame


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
            speaker = str(row.get("speaker", path.parent.name))
            language = str(row.get("language", ""))
            out.append(Reference(sound, seconds, row.get("transcript", ""), tuple(phones), speaker, language))
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadFile(path, f"line {number} is not a clip with file, duration and phones ({error!r})") from None
        if any(b < a for _, a, b in phones) or any(q[1] < p[1] for p, q in itertools.pairwise(phones)):
            raise BadFile(path, f"line {number} ({row['file']}) has phones out of order")
    if not out:
        raise BadFile(path, "holds no clips")
    return out


def covered(grid: np.ndarray, spans: Iterable[tuple[float, float]]) -> np.ndarray:
    """Which of `grid` [t] seconds lie in any of `spans` (start s, end s). [t] bool."""
    out = np.zeros(len(grid), bool)
    for a, b in spans:
        out[(grid >= a - 1e-9) & (grid <= b + 1e-9)] = True
    return out


def closures(reference: Reference) -> list[tuple[float, float]]:
    """The clip's closure events: as checked by a person where that was done, else as labelled."""
    return list(reference.checked) if reference.checked is not None else contacts(reference.segments, "closure")


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
    shut, teeth = (covered(times, contacts(reference.segments, kind)) for kind in ("closure", "labiodental"))
    rounding = np.maximum(wanted[:, 1], wanted[:, 2])
    return Track(times, wanted[:, 0], shut.astype(float), teeth.astype(float), rounding)


def stressed_open(segments: Sequence[Segment]) -> list[tuple[float, float]]:
    """Spans of long open vowels (class open, near-open front or open back, at least 80 ms)."""
    return [(a, b) for c, a, b in split(segments) if c.name in OPEN_CLASSES and b - a >= OPEN_VOWEL_S]


def has_bilabial(segments: Sequence[Segment]) -> bool:
    return any(c.event == "closure" for p, _, _ in segments for c, _ in parts(p))
