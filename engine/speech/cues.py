"""Phone cues: what was heard as a list of phones with times, and articulation from such a list.

Cues come from a transcript (transcript.py), from the encoder's phone probabilities (`free_cues`), or from a person who
moved, renamed or removed some (`with_cues`): only what differs from the list that the voice gave is drawn again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.core.errors import BadInput
from engine.core.names import ARTICULATION, ARTICULATION_INDEX
from engine.core.phones import CHANNELS, is_pause, split, targets
from engine.core.progress import SILENT, Reporter
from engine.core.sound import Cue, Speech
from engine.speech import events as ev
from engine.speech.align import inventory_of
from engine.speech.decode import open_gate
from engine.speech.encode import Heard

SWITCH_COST = 4.0  # natural-log units for changing the phone from one 10 ms frame to the next
SHORTEST_S = 0.02
BURST_SHARE, BURST_S = 0.35, 0.040  # of a stop, its burst and aspiration: the lips are already apart
HIDDEN_S = 0.080  # how long lips are together before a burst that follows silence
LEAST_S = 0.040  # a closure lasts at least this long
BITE_S = 0.050
REACH_S = 0.15  # how far a changed cue is felt in its neighbours (coarticulation, core/phones.py)
BLEND_S = 0.06
SAME_S = 0.0015  # cue times are kept in milliseconds


def checked(cues: Sequence[Cue]) -> tuple[Cue, ...]:
    """Cues in time order. Raises BadInput that names the cue which ends before it starts or overlaps the next."""
    out = tuple(sorted(cues, key=lambda c: (c.start, c.end)))
    for i, cue in enumerate(out):
        if not (np.isfinite(cue.start) and np.isfinite(cue.end)) or cue.end <= cue.start or cue.start < -1e-6:
            raise BadInput(f"the cue '{cue.phone}' from {cue.start:g} to {cue.end:g} s has no length within the voice")
        if i and cue.start < out[i - 1].end - 1e-3:
            before = out[i - 1]
            raise BadInput(
                f"the cues '{before.phone}' ({before.start:g}-{before.end:g} s) and '{cue.phone}' "
                f"({cue.start:g}-{cue.end:g} s) overlap: end the first where the second begins"
            )
    return out


def contacts(cues: Sequence[Cue]) -> tuple[list[ev.Interval], list[ev.Interval]]:
    """When the lips are together and when the lower lip is on the teeth: two lists of (start, end) in seconds.

    m whole, p and b without their burst; a closure that begins in silence begins 80 ms before its burst, because it
    cannot be heard but must be seen.
    """
    shut: list[ev.Interval] = []
    bite: list[ev.Interval] = []
    rows = split([(c.phone, c.start, c.end) for c in cues])
    for i, (cls, start, end) in enumerate(rows):
        if cls.event == "closure":
            stop = end - min(BURST_SHARE * (end - start), BURST_S) if cls.plosive else end
            if cls.plosive and (i == 0 or rows[i - 1][0].event == "pause"):
                start = stop - HIDDEN_S
            first, last = start, max(stop, start + LEAST_S)
            if shut and first - shut[-1][1] < ev.CLOSURE.gap:
                first = shut.pop()[0]
            shut.append((max(first, 0.0), last))
        elif cls.event == "labiodental":
            bite.append((start, max(end, start + BITE_S)))
    return shut, bite


def articulation(cues: Sequence[Cue], rows: int) -> np.ndarray:
    """Articulation [rows, 11] at 50 Hz of phone cues: dominance-blended channels, drawn contacts, shut in pauses."""
    times = np.arange(rows) / 50.0
    segments = [(c.phone, c.start, c.end) for c in cues]
    out = np.zeros((rows, len(ARTICULATION)), np.float32)
    channels = targets(segments, times)
    for i, name in enumerate(CHANNELS):
        out[:, ARTICULATION_INDEX[name]] = channels[:, i]
    voice = np.zeros(2 * rows, np.float32)
    for phone, start, end in segments:
        if not is_pause(phone):
            voice[round(start * 100) : round(end * 100)] = 1.0
    gate = open_gate(voice)
    out *= gate[:, None]
    shut, bite = contacts(cues)
    close = ev.curve(shut, times, ev.CLOSURE.ramp)
    out[:, ARTICULATION_INDEX["lip_close"]] = close
    out[:, ARTICULATION_INDEX["labiodental"]] = ev.curve(bite, times, ev.LABIODENTAL.ramp) * (1 - close)
    out[:, ARTICULATION_INDEX["voice"]] = gate * (0.5 * (voice[::2] + voice[1::2]) > 0.4)
    return np.clip(out, 0.0, 1.0)


def coverage(spans: Sequence[ev.Interval], rows: int, blend: float = BLEND_S) -> np.ndarray:
    """1 inside the spans (seconds), 0 outside, smooth over `blend` seconds outside them. [rows] float32 at 50 Hz."""
    return ev.curve(spans, np.arange(rows) / 50.0, blend)


def blended(own: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """own [t, 11] where share [t] is 0, other where it is 1; rows with share 0 are `own` bit for bit."""
    mixed = own + (other - own) * share[:, None]
    return np.where(share[:, None] > 0, mixed, own).astype(np.float32)


def free_cues(
    heard: Heard, art: np.ndarray, start: float = 0.0, end: float = np.inf, report: Reporter = SILENT
) -> tuple[Cue, ...]:
    """What the encoder heard, as phones: the best path through its probabilities, faithful to the decoded mouth.

    art [t, 11]: the articulation that was decoded. Lips shut there become p or m, and nowhere else; lips on teeth
    become f; a resting mouth is a pause. Only cues within [start, end] seconds are made; ()
    without phone probabilities.
    """
    if heard.phones is None:
        return ()
    first, last = max(0, round(start * 100)), min(2 * len(art), round(min(end, 1e6) * 100))
    if last - first < 2:
        return ()
    kinds = inventory_of(heard.phones.shape[1])
    at = np.arange(first, last) / 2
    p = np.stack([np.interp(at, np.arange(len(heard.phones)), column) for column in heard.phones.T], 1)
    log = np.log(np.clip(p, 1e-3, 1.0))
    channel = {n: np.interp(at, np.arange(len(art)), art[:, i]) for n, i in ARTICULATION_INDEX.items()}
    bitten = np.array([is_bitten(name) for name in kinds.names])
    quiet = np.arange(len(kinds.names)) == kinds.pause
    shut, bite = channel["lip_close"] > 0.95, (channel["labiodental"] > 0.95) & (channel["lip_close"] < 0.5)
    rest = (channel["voice"] < 0.5) & ~shut & ~bite
    allowed = np.where(shut[:, None], kinds.lips, np.where(bite[:, None], bitten, ~kinds.lips & ~bitten))
    allowed = np.where(rest[:, None], quiet, allowed)
    path = _best_path(np.where(allowed, log, -1e3), report)
    cuts = [0, *(np.flatnonzero(np.diff(path)) + 1), len(path)]
    out: list[Cue] = []
    for a, b in itertools.pairwise(cuts):
        cue = Cue(kinds.names[path[a]], (first + a) / 100, (first + b) / 100)
        if out and cue.end - cue.start < SHORTEST_S and not shut[a]:
            out[-1] = replace(out[-1], end=cue.end)
        else:
            out.append(cue)
    return tuple(out)


def is_bitten(symbol: str) -> bool:
    """Whether a phone puts the lower lip on the teeth."""
    return any(cls.event == "labiodental" for cls, _, _ in split([(symbol, 0.0, 1.0)]))


def _best_path(log: np.ndarray, report: Reporter = SILENT) -> np.ndarray:
    """Viterbi over columns with one price for any change. log [t, k] -> [t]."""
    came = np.empty(log.shape, np.int64)
    score = log[0].copy()
    own = np.arange(log.shape[1])
    for t in range(1, len(log)):
        if t % 2000 == 0:
            report.check()
        best = int(score.argmax())
        change = score[best] - SWITCH_COST > score
        came[t] = np.where(change, best, own)
        score = np.where(change, score[best] - SWITCH_COST, score) + log[t]
    path = np.empty(len(log), np.int64)
    path[-1] = int(score.argmax())
    for t in range(len(log) - 1, 0, -1):
        path[t - 1] = came[t, path[t]]
    return path


def changed(before: Sequence[Cue], after: Sequence[Cue]) -> list[ev.Interval]:
    """Stretches (seconds) in which two cue lists differ by more than a millisecond, or in the phone."""
    key = lambda c: (c.phone, round(c.start / SAME_S), round(c.end / SAME_S))  # noqa: E731
    spans = sorted({(c.start, c.end) for a, b in ((before, after), (after, before))
                    for known in [{key(c) for c in b}] for c in a if key(c) not in known})  # fmt: skip
    out: list[ev.Interval] = []
    for a, b in spans:
        if out and a <= out[-1][1] + 1e-6:
            out[-1] = (out[-1][0], max(out[-1][1], b))
        else:
            out.append((a, b))
    return out


def with_cues(speech: Speech, cues: Sequence[Cue]) -> Speech:
    """`speech` with these cues instead of its own: redrawn where they differ and as far as that is felt, else the same.

    Raises BadInput.
    """
    cues = checked(cues)
    spans = [(a - REACH_S, b + REACH_S) for a, b in changed(speech.cues, cues)]
    share = coverage(spans, len(speech.articulation))
    drawn = articulation(cues, len(speech.articulation))
    return replace(speech, articulation=blended(speech.articulation, drawn, share), cues=cues)
