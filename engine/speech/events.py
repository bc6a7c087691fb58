"""From event probabilities to events with a length: lips together (p b m), lower lip against the teeth (f v).

A net is surer that a closure happened than when: its probability is a bump of 40-100 ms. The face needs the whole
closure, drawn ahead of the burst and released with it. Decoding: the posterior of a two-state Markov chain
(forward-backward, Rabiner 1989, at 100 frames a second) whose states last as long as closures and the gaps
between them do, local maxima above a threshold, then a fixed rule for the length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.core.spans import runs

RATE_HZ = 100
Interval = tuple[float, float]  # start s, end s


@dataclass(frozen=True)
class EventRule:
    """How one kind of event is decoded.

    enter, leave: chance of the chain's change of state in 10 ms. prior: share of frames inside an event.
    trust: power on the net's likelihood (frames are not independent). threshold: smallest posterior of an event.
    early: seconds by which an event is moved ahead of its posterior. shortest, longest: drawn length in seconds of an
    ordinary event. gap: events closer than this are one. ramp: seconds from open to full contact and back.
    per_second: events per second of speech that calibration aims at (0: no calibration), shift: how far it may move
    the net's log odds. With its ramps an event of 30-45 ms keeps the lips of the default head within a millimetre of
    their rest gap for 56 ms (median of 162 closures that were asked for; a quarter of them, held ones, for over 95
    ms). Longer drawings and slower ramps cost false frames and calm and gain no hit (docs/lipsync.md).
    """

    enter: float = 0.015
    leave: float = 0.08
    prior: float = 0.07
    trust: float = 0.5
    threshold: float = 0.5
    early: float = 0.02
    shortest: float = 0.03
    longest: float = 0.045
    gap: float = 0.04
    ramp: float = 0.04
    per_second: float = 0.0
    shift: tuple[float, float] = (-2.0, 3.0)


CLOSURE = EventRule(per_second=1.45, early=0.02, ramp=0.025)
LABIODENTAL = EventRule(
    prior=0.02, enter=0.02, leave=0.07, early=0.01, shortest=0.04, longest=0.08, threshold=0.1, per_second=1.1
)  # weak sounds: a lip that brushes the teeth once too often is seen less than one that misses f and v
DIP = 0.35  # of the lower of two peaks
DOUBT = (0.3, 0.97)  # peak probabilities of the briefest and of the longest ordinary event
HELD_S = 0.12  # a longer run is a held sound (a long m) or a long doubt (a final n)
SHORT, HELD = (0.97, 0.999), (0.991, 0.999)  # median probabilities from which a run is kept in part, and whole
ANCHOR = 0.33  # where in its run a shorter drawing lies: 0 at the run's beginning, 1 at its end
GAP_BELOW = 2.5  # 11 dB
GAP_LONGEST, GAP_SHARE, GAP_AHEAD_S = 20, 0.6, 0.04  # frames looked back, the part of them taken, at most so long
ONSET = 0.07  # least probability of a closure that a phrase begins with
ONSET_LONGEST = 12  # frames that a phrase's first closure may be lengthened by
ONSET_BEFORE, ONSET_AFTER, ONSET_AHEAD_S = 8, 5, 0.06  # frames around a phrase's first; how far ahead it is drawn
RIVAL_FRAMES = 3  # events are drawn a little ahead of what was heard
BITE_GAIN = 2.0  # the labiodental head is the shyer of the two: 0.4 of it outweighs 0.8 of a closure
CALIBRATE_S = 3.0  # a clip with this much speech moves half of the way to the usual rate


def chain_posterior(p: np.ndarray, rule: EventRule) -> np.ndarray:
    """Posterior of being inside an event. p [t] in (0, 1) at 100 Hz -> [t] float64."""
    p = np.clip(p.astype(np.float64), 1e-5, 1 - 1e-5)
    ratio = ((p / (1 - p)) * ((1 - rule.prior) / rule.prior)) ** rule.trust
    return _forward(ratio, rule, rule.prior) if len(p) < 2 else _smooth(ratio, rule)


def _forward(ratio: np.ndarray, rule: EventRule, start: float) -> np.ndarray:
    """Filtered probability of "inside" given the likelihood ratios so far."""
    enter, stay = rule.enter, 1.0 - rule.leave
    inside, out = start, []
    for r in ratio.tolist():  # plain floats: numpy scalars are ten times slower, and half an hour is 180,000 steps
        inside = inside * stay + (1.0 - inside) * enter
        inside = inside * r / (inside * r + 1.0 - inside)
        out.append(inside)
    return np.array(out)


def _smooth(ratio: np.ndarray, rule: EventRule) -> np.ndarray:
    forward = _forward(ratio, rule, rule.prior)
    enter, leave = rule.enter, rule.leave
    inside = outside = 0.5  # backward messages, scaled to sum 1
    back = np.empty_like(forward)
    back[-1] = 0.5
    for t in range(len(ratio) - 1, 0, -1):
        a, b = inside * ratio[t], outside
        inside, outside = a * (1.0 - leave) + b * leave, a * enter + b * (1.0 - enter)
        total = inside + outside
        inside, outside = inside / total, outside / total
        back[t - 1] = inside
    both = forward * back
    return both / (both + (1.0 - forward) * (1.0 - back))


def peaks(posterior: np.ndarray, p: np.ndarray, threshold: float) -> list[tuple[int, int, float]]:
    """Runs around local maxima: [(first, last frame, height)]. posterior, p [t]: the chain's and the net's own."""
    hills = [hill for a, b in runs(posterior > 0.5 * threshold) for hill in _part(p, a, b)]
    out = []
    for a, b in hills:
        height = float(posterior[a:b].max())
        if height >= threshold:
            core = np.flatnonzero(posterior[a:b] >= 0.5 * height)
            out.append((a + int(core[0]), a + int(core[-1]), height))
    return out


def _part(p: np.ndarray, a: int, b: int) -> list[tuple[int, int]]:
    """Divide a run where the net's probability falls to a third between two peaks: the chain blurs quick syllables."""
    if b - a < 10:
        return [(a, b)]
    inner = p[a:b]
    before, after = np.maximum.accumulate(inner), np.maximum.accumulate(inner[::-1])[::-1]
    depth = inner / np.maximum(np.minimum(before, after), 1e-6)
    dip = int(depth[3:-3].argmin()) + 3
    if depth[dip] < DIP:
        return _part(p, a, a + dip) + _part(p, a + dip + 1, b)
    return [(a, b)]


def decode(p: np.ndarray, rule: EventRule, silent: np.ndarray | None = None) -> list[Interval]:
    """Events of one kind. p [t]: the net's probability at 100 Hz, calibrated where that is wanted.

    silent [t] bool: frames of a gap in the sound (`silent_gaps`), into which an event's beginning may reach.
    """
    drawn = _draw(peaks(chain_posterior(p, rule), p, rule.threshold), p, rule)
    return drawn if silent is None else [_into_gap(e, silent) for e in drawn]


def calibrated(p: np.ndarray, rule: EventRule, speech_s: float) -> np.ndarray:
    """p [t] with its log odds shifted so that events come at the usual rate; a short clip moves a part of the way.

    Net outputs of different speakers and microphones differ in scale; how often people say p, b and m does not. The
    shift, not the threshold, is moved, because the chain blurs what it is not sure of. Binary search: a larger shift
    finds more.
    """
    if not rule.per_second or speech_s <= 0:
        return p
    odds = np.log(np.clip(p, 1e-5, 1 - 1e-5) / np.clip(1 - p, 1e-5, 1 - 1e-5))
    low, high = rule.shift
    wanted = rule.per_second * speech_s
    for _ in range(5):  # to a tenth of a natural-log unit
        middle = 0.5 * (low + high)
        shifted = _logistic(odds + middle)
        found = len(peaks(chain_posterior(shifted, rule), shifted, rule.threshold))
        low, high = (low, middle) if found > wanted else (middle, high)
    share = speech_s / (speech_s + CALIBRATE_S)
    return _logistic(odds + 0.5 * (low + high) * share)


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def silent_gaps(level: np.ndarray) -> np.ndarray:
    """Frames whose level lies GAP_BELOW below the loudest within 0.2 s. level [t]: natural-log power at 100 Hz."""
    from scipy.ndimage import maximum_filter1d

    return level < maximum_filter1d(level, 41) - GAP_BELOW


def _into_gap(event: Interval, silent: np.ndarray) -> Interval:
    """An event that begins in a gap, earlier: in "that p" no sound tells when the lips meet, and they do not wait.

    A gap as long as a pause is none: there the mouth rests.
    """
    first = min(int((event[0] + 0.01) * RATE_HZ), len(silent) - 1)
    at = first
    while at > 0 and silent[at - 1] and silent[first] and first - at < GAP_LONGEST:
        at -= 1
    if first - at >= GAP_LONGEST:
        return event
    ahead = min(GAP_AHEAD_S, GAP_SHARE * (first - at) / RATE_HZ)
    return max(event[0] - ahead, 0.0), max(event[1] - 0.5 * ahead, 0.01)


def at_onsets(
    events: Sequence[Interval], p: np.ndarray, onsets: Sequence[int], rule: EventRule = CLOSURE
) -> list[Interval]:
    """Events and those that a phrase begins with, in time order. p [t] at 100 Hz; onsets: first frames of phrases.

    A p after a pause is heard by its burst alone, so its probability is brief and low. It is drawn before the sound,
    where the mouth still rests: a mistake is hardly seen, and ONSET is asked of it instead of the rule's threshold.
    """
    out = list(events)
    for frame in onsets:
        near = p[max(0, frame - ONSET_BEFORE) : frame + ONSET_AFTER]
        start = frame / RATE_HZ - ONSET_AHEAD_S
        end = start + rule.longest
        first = [i for i, (a, b) in enumerate(out) if a < end + rule.gap and b > start - rule.gap]
        if first:
            out[first[0]] = _to_release(out[first[0]], p, rule)
        elif len(near) and float(near.max()) >= ONSET:
            out.append((max(start, 0.0), max(end, 0.01)))
    return sorted(out)


def _to_release(event: Interval, p: np.ndarray, rule: EventRule) -> Interval:
    """An event that lasts as long as the net still hears it: a phrase's first m ends with its murmur."""
    a, b = (round((t + rule.early) * RATE_HZ) for t in event)
    inside = p[max(a, 0) : b + 1]
    if not len(inside):
        return event
    last, least = b, 0.5 * float(inside.max())
    while last + 1 < len(p) and p[last + 1] >= least and last - b < ONSET_LONGEST:
        last += 1
    return event[0], max(event[1], last / RATE_HZ - rule.early)


def _between(x: float, low: float, high: float) -> float:
    """0 at `low`, 1 at `high`, linear and clamped."""
    return min(max((x - low) / (high - low), 0.0), 1.0)


def _draw(runs: Sequence[tuple[int, int, float]], p: np.ndarray, rule: EventRule) -> list[Interval]:
    """Lengths in seconds: the surer the net, the more of its run is drawn.

    A doubtful event is drawn as briefly as the eye still reads it, so that a mistake costs little. A long run is kept
    whole only where the net is sure all along (a held m); else it is doubt about another nasal or a fading voice.
    """
    out: list[Interval] = []
    for first, last, _ in runs:
        inside = p[first : last + 1]
        peak, typical = float(inside.max()), float(np.median(inside))
        usual = rule.shortest + _between(peak, *DOUBT) * (rule.longest - rule.shortest)
        whole = (last + 1 - first) / RATE_HZ
        length = max(usual, usual + _between(typical, *(SHORT if whole < HELD_S else HELD)) * (whole - usual))
        start = first / RATE_HZ - rule.early + ANCHOR * (whole - length)
        end = start + length
        if out and start - out[-1][1] < rule.gap:
            out[-1] = (out[-1][0], end)
        else:
            out.append((max(start, 0.0), max(end, 0.01)))
    return out


def rivals(
    closures: Sequence[Interval], p_closure: np.ndarray, bites: Sequence[Interval], p_bite: np.ndarray
) -> tuple[list[Interval], list[Interval]]:
    """Decide between overlapping events of two kinds, of which a mouth can do one: the likelier stays.

    p_closure, p_bite [t] at 100 Hz. A soft f sounds like the silence of a p; both are often heard at once.
    """
    gone_closures, gone_bites = set(), set()
    for i, c in enumerate(closures):
        for j, b in enumerate(bites):
            if c[0] < b[1] and b[0] < c[1]:
                span = slice(int(min(c[0], b[0]) * RATE_HZ), int(max(c[1], b[1]) * RATE_HZ) + 1 + RIVAL_FRAMES)
                if BITE_GAIN * p_bite[span].max() > p_closure[span].max():
                    gone_closures.add(i)
                else:
                    gone_bites.add(j)
    return (
        [c for i, c in enumerate(closures) if i not in gone_closures],
        [b for j, b in enumerate(bites) if j not in gone_bites],
    )


def curve(events: Sequence[Interval], times: np.ndarray, ramp: float) -> np.ndarray:
    """Smooth contact in [0, 1] at `times` (s): 1 within each event, raised-cosine ramps of `ramp` seconds. [t] f32."""
    out = np.zeros(len(times), np.float32)
    for start, end in events:
        a, b = np.searchsorted(times, [start - ramp, end + ramp])
        away = np.clip(np.maximum(start - times[a:b], times[a:b] - end) / ramp, 0.0, 1.0)
        out[a:b] = np.maximum(out[a:b], 0.5 + 0.5 * np.cos(np.pi * away))
    return out


def speech_seconds(voice: np.ndarray) -> float:
    """Seconds of speech behind the voice-activity gate. voice [t] in [0, 1] at 100 Hz."""
    return float((voice > 0.5).sum()) / RATE_HZ


def with_threshold(rule: EventRule, threshold: float) -> EventRule:
    """The same rule at another default threshold (a checkpoint's header carries its own)."""
    return replace(rule, threshold=threshold)
