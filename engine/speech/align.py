"""Forced alignment: the phones of a transcript placed in time by an encoder's phone probabilities (Viterbi).

A left-to-right chain at 100 Hz: each phone class lasts at least MIN_FRAMES; between words lies a pause, or sounds that
the transcript does not hold ("other": any class, at a price), and a word may be skipped, at a price. So a transcript
that covers a part of the recording, or more than it, aligns where it fits. Stops divide into closure and burst, which
the closure head of the encoder tells apart.

Viterbi 1967; the null nodes between words as in token passing (Young, Russell & Thornton 1989).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from engine.core.errors import BadInput
from engine.core.phones import class_names, parts, phone_class, symbol_of
from engine.core.progress import SILENT, Reporter
from engine.speech.net_phones import FINE, fine_parts
from engine.speech.pronounce import Word

RATE_HZ = 100
MIN_FRAMES = 3  # 30 ms: what a phone lasts at least
PRIOR_POWER = 0.5  # how far the classes' frequencies are taken out of the posteriors
FLOOR = 0.4  # share of the probability that is spread evenly: an encoder's certainty is not to be trusted further
OTHER_COST = 2.4  # a frame, of sounds outside the transcript (natural-log units below the best class)
PAUSE_COST, OTHER_ENTER, SKIP_COST = 0.3, 12.0, 9.0  # entering a pause; entering other sounds; leaving out one word
EVENT_POWER = 1.0  # of the closure head beside the classifier
WINDOW_FRAMES, WINDOW_WORDS = 4500, 320  # 45 s at once, and more words than anybody says in that time
PROOF_S = 90.0  # of a long recording, what is enough to judge whether a text is the one that is said
CHECK_FRAMES = 400  # between two looks at whether someone cancelled
PAUSE, OTHER = -1, -2  # in place of a word's index: silence; sounds that the transcript does not hold


@dataclass(frozen=True)
class Aligned:
    """A placed phone. index: of the word in the transcript (-1: a pause, -2: sounds outside the transcript)."""

    phone: str
    start: float
    end: float
    index: int
    score: float  # mean log probability below the best class of each frame: 0 is perfect


@dataclass(frozen=True)
class Chain:
    """States of a transcript in the order of time.

    emission [s]: column of the emission matrix. unit [s]: phone number. repeats [s]: whether a state may last.
    step, hop [s]: whether it may follow the state before it / the one before that (over a stop's burst).
    starts, ends [w]: first and last state of each word; hops_end [w]: whether a word may end one state earlier.
    words [u], labels [u]: word index and symbol of each phone.
    """

    emission: np.ndarray
    unit: np.ndarray
    repeats: np.ndarray
    step: np.ndarray
    hop: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    hops_end: np.ndarray
    words: tuple[int, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Inventory:
    """What an encoder's phone probabilities are over. names: a symbol for each column; lips, stop [columns]: whether
    the lips are together, and whether a burst ends it; of: symbol -> its columns in order; pause: column."""

    names: tuple[str, ...]
    lips: np.ndarray
    stop: np.ndarray
    of: Callable[[str], tuple[int, ...]]
    pause: int


@cache
def inventory_of(columns: int) -> Inventory:
    """The inventory by its size: the face's classes (core/phones.json), or the finer phones (net_phones.FINE)."""
    classes = class_names()
    if columns == len(FINE):
        own = [parts(symbol)[0][0] for symbol in FINE]
        names = FINE
        # A phone that is unknown to the finer list is heard as a neutral vowel.
        of = lambda symbol: tuple(i if i < columns else names.index("ə") for i, _ in fine_parts(symbol))  # noqa: E731
        pause = FINE.index("_")
    elif columns == len(classes):
        own = [phone_class(name) for name in classes]
        names = tuple(symbol_of(name) for name in classes)
        of = lambda symbol: tuple(classes.index(cls.name) for cls, _ in parts(symbol))  # noqa: E731
        pause = classes.index("pause")
    else:
        raise BadInput(f"phone probabilities must be over {len(classes)} classes or {len(FINE)} phones, got {columns}")
    lips = np.array([c.event == "closure" for c in own])
    return Inventory(names, lips, lips & np.array([c.plosive for c in own]), of, pause)


@dataclass(frozen=True)
class Emissions:
    """Log likelihoods at 100 Hz. log [2t, columns]: the inventory's, then the burst of each stop of the lips, then
    "other". burst: column of a stop -> column of its burst; other: column; best [2t]: of any phone."""

    log: np.ndarray
    burst: dict[int, int]
    other: int
    best: np.ndarray
    inventory: Inventory


def emissions(phones: np.ndarray, closure: np.ndarray) -> Emissions:
    """phones [t, columns] at 50 Hz and closure [2t] at 100 Hz, both probabilities, as `Emissions`."""
    kinds = inventory_of(phones.shape[1])
    count = phones.shape[1]
    at, rows = np.arange(len(closure)) / 2, np.arange(len(phones))
    p = np.stack([np.interp(at, rows, phones[:, i]) for i in range(count)], 1)
    p = (1 - FLOOR) * p + FLOOR / count
    prior = 0.5 * p.mean(0) + 0.5 / count
    log = np.log(p) - PRIOR_POWER * np.log(prior)
    closure = np.clip(closure.astype(np.float64), 0.02, 0.98)
    shut, apart = np.log(closure)[:, None], np.log(1 - closure)[:, None]
    stops = np.flatnonzero(kinds.stop)
    bursts = log[:, stops] + EVENT_POWER * apart
    log += EVENT_POWER * np.where(kinds.lips, shut, apart)
    best = np.maximum(log.max(1), bursts.max(1))
    pause = log[:, kinds.pause]
    sound = np.maximum(np.delete(log, kinds.pause, 1).max(1), bursts.max(1))
    other = np.maximum(sound - OTHER_COST, pause - 2 * OTHER_COST)
    burst = {int(stop): count + i for i, stop in enumerate(stops)}
    return Emissions(np.column_stack([log, bursts, other]), burst, count + len(stops), best, kinds)


def chain_of(words: Sequence[Word], heard: Emissions) -> Chain:
    """The states of a transcript's words."""
    rows: list[tuple[int, int, bool, bool, bool]] = []  # emission, unit, repeats, step, hop
    starts, ends, hops_end, owners = [], [], [], []
    labels: list[str] = []
    for w, item in enumerate(words):
        starts.append(len(rows))
        burst = False
        for phone in item.phones:
            for column in heard.inventory.of(phone):
                for k in range(MIN_FRAMES):
                    begins_word = len(rows) == starts[-1]
                    rows.append((column, len(labels), k == MIN_FRAMES - 1, not begins_word, burst))
                    burst = False
                if burst := column in heard.burst:
                    rows.append((heard.burst[column], len(labels), True, True, False))
            labels.append(phone)
            owners.append(w)
        ends.append(len(rows) - 1)
        hops_end.append(burst)
    table = np.array(rows)
    return Chain(
        emission=table[:, 0], unit=table[:, 1], repeats=table[:, 2] > 0, step=table[:, 3] > 0, hop=table[:, 4] > 0,
        starts=np.array(starts), ends=np.array(ends), hops_end=np.array(hops_end), words=tuple(owners),
        labels=tuple(labels),
    )  # fmt: skip


_ENTER = 3  # how a state was entered: 0 stayed, 1 and 2 from so many states before, 3 from the boundary
_FROM_PAUSE, _FROM_OTHER = 2, 3  # what a boundary follows: 0 a word's last state, 1 the one before it, 2, 3 a gap


def viterbi(
    log: np.ndarray, gaps: Sequence[int], chain: Chain, free_end: bool = False, report: Reporter = SILENT
) -> np.ndarray:
    """The best path: for each frame its state, or PAUSE / OTHER. log [t, columns] -> [t] int.

    gaps: columns of a pause and of other sounds.
    free_end: the recording may end before the transcript does (a window of a longer one).
    """
    frames, states, words = len(log), len(chain.emission), len(chain.starts)
    never = -1e30
    score = np.full(states, never)
    gap = np.full((words + 1, 2), never)  # pause and other sounds before each word, and after the last
    node = -SKIP_COST * np.arange(words + 1)  # at a boundary, before the next frame
    came = np.empty((frames, states), np.uint8)  # how each state was entered
    gap_came = np.empty((frames, words + 1, 2), np.uint8)  # 0: stayed, 1: from the boundary
    node_from = np.empty((frames, words + 1), np.int32)  # the boundary that skipping words started from
    node_kind = np.empty((frames, words + 1), np.uint8)
    price = np.array([PAUSE_COST, OTHER_ENTER])
    ramp = SKIP_COST * np.arange(words + 1)
    blocked_step, blocked_hop = ~chain.step, ~chain.hop
    stays = np.where(chain.repeats, 0.0, never)
    between = log[:, list(gaps)]
    for t in range(frames):
        if t % CHECK_FRAMES == 0:
            report.check()
        step, hop = np.empty(states), np.empty(states)
        step[0], step[1:] = never, score[:-1]
        hop[:2], hop[2:] = never, score[:-2]
        step[blocked_step] = never
        hop[blocked_hop] = never
        entered = np.full(states, never)
        entered[chain.starts] = node[:-1]
        ways = np.stack([score + stays, step, hop, entered])
        came[t] = ways.argmax(0)
        fresh = ways.max(0) + log[t, chain.emission]
        into = node[:, None] - price
        gap_came[t] = into > gap
        gap = np.maximum(gap, into) + between[t]
        score = fresh
        node, node_from[t], node_kind[t] = _boundaries(score, gap, chain, ramp)
    last = int(np.argmax(node)) if free_end else words
    return _trace(frames, last, chain, came, gap_came, node_from, node_kind)


def _boundaries(
    score: np.ndarray, gap: np.ndarray, chain: Chain, ramp: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best score at each word boundary after a frame, where skipping began, and which state it came from."""
    ends = np.full(len(ramp), -1e30)
    hops = ends.copy()
    ends[1:] = score[chain.ends]
    hops[1:] = np.where(chain.hops_end, score[chain.ends - 1], -1e30)
    ways = np.stack([ends, hops, gap[:, 0], gap[:, 1]])
    own, kind = ways.max(0), ways.argmax(0)
    level = own + ramp
    best = np.maximum.accumulate(level)
    source = np.maximum.accumulate(np.where(level >= best, np.arange(len(ramp)), 0))
    return best - ramp, source, kind[source]


def _trace(
    frames: int, boundary: int, chain: Chain, came: np.ndarray, gap_came: np.ndarray, node_from: np.ndarray,
    node_kind: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Follow the pointers back from a boundary after the last frame."""
    path = np.empty(frames, np.int64)
    at, where = -1, boundary  # at: a state; -1: at the boundary `where` after frame t; -2, -3: in its gap
    for t in range(frames - 1, -1, -1):
        if at == -1:
            kind, where = int(node_kind[t, where]), int(node_from[t, where])
            if kind in (_FROM_PAUSE, _FROM_OTHER):
                at = -kind
            else:
                at = int(chain.ends[where - 1]) - kind
        if at < 0:
            path[t] = PAUSE if at == -_FROM_PAUSE else OTHER
            if gap_came[t, where, 0 if at == -_FROM_PAUSE else 1]:
                at = -1
            continue
        path[t] = at
        how = came[t, at]
        if how == _ENTER:
            where = int(np.searchsorted(chain.starts, at))
            at = -1
        else:
            at -= int(how)
    return path


def _segments(path: np.ndarray, chain: Chain, below: np.ndarray) -> list[Aligned]:
    """Runs of one phone, pause or stretch of other sounds. below [t]: log probability under the best class's."""
    key = np.where(path >= 0, chain.unit[np.maximum(path, 0)], path)
    cuts = np.flatnonzero(np.diff(key)) + 1
    out = []
    for a, b in zip([0, *cuts], [*cuts, len(key)], strict=True):
        unit = int(key[a])
        phone, word = (chain.labels[unit], chain.words[unit]) if unit >= 0 else ("_", unit)
        out.append(Aligned(phone, a / RATE_HZ, b / RATE_HZ, word, float(below[a:b].mean())))
    return out


def align(words: Sequence[Word], phones: np.ndarray, closure: np.ndarray, report: Reporter = SILENT) -> list[Aligned]:
    """Place the words in a recording of any length.

    phones [t, classes] probabilities at 50 Hz, closure [2t] at 100 Hz -> segments without holes, in time order. A long
    recording is done in windows; each keeps what lies before the last pause of its first three quarters.
    """
    heard = emissions(phones, closure)
    log, gaps = heard.log, (heard.inventory.pause, heard.other)
    out: list[Aligned] = []
    frame, word = 0, 0
    while True:
        report.step("aligning", frame, len(log))
        last = len(log) - frame <= WINDOW_FRAMES
        rows = slice(frame, len(log) if last else frame + WINDOW_FRAMES)
        chain = chain_of(words[word:] if last else words[word : word + WINDOW_WORDS], heard)
        path = viterbi(log[rows], gaps, chain, not last, report)
        column = np.where(path >= 0, chain.emission[np.maximum(path, 0)], gaps[0])
        below = log[rows][np.arange(len(path)), column] - heard.best[rows]
        below = np.where(path == OTHER, -OTHER_COST, below)
        found = _segments(path, chain, below)
        keep = found if last else found[: _cut(found)]
        out += [replace(s, start=s.start + frame / RATE_HZ, end=s.end + frame / RATE_HZ,
                        index=s.index + word if s.index >= 0 else s.index) for s in keep]  # fmt: skip
        if last:
            return out
        frame = round(out[-1].end * RATE_HZ)
        word = max([word, *(s.index + 1 for s in out if s.index >= 0)])
        if word >= len(words):
            rest = len(log) - frame
            out.append(Aligned("_", frame / RATE_HZ, (frame + rest) / RATE_HZ, OTHER, -OTHER_COST))
            return out


def rescored(segments: Sequence[Aligned], phones: np.ndarray, closure: np.ndarray) -> list[Aligned]:
    """The same segments with the encoder's score for them, whoever placed them. phones, closure: as for `align`."""
    heard = emissions(phones, closure)
    out = []
    for s in segments:
        if s.index < 0:
            out.append(s)
            continue
        rows = slice(round(s.start * RATE_HZ), max(round(s.end * RATE_HZ), round(s.start * RATE_HZ) + 1))
        columns = list(heard.inventory.of(s.phone))
        columns += [heard.burst[c] for c in columns if c in heard.burst]
        fit = (heard.log[rows][:, columns].max(1) - heard.best[rows]) if len(heard.best[rows]) else np.zeros(1)
        out.append(replace(s, score=float(fit.mean())))
    return out


def quality(segments: Sequence[Aligned], words: int) -> float:
    """Mean log score of each frame of sound, prices of left-out words and of other sounds included. Pauses count not.

    Comparable between two texts of about the same length on the same recording.
    """
    sound = [s for s in segments if s.index != PAUSE]
    if not sound:
        return -OTHER_COST
    frames = np.array([s.end - s.start for s in sound]) * RATE_HZ
    scores = np.array([s.score if s.index >= 0 else -OTHER_COST for s in sound])
    missing = words - len({s.index for s in sound if s.index >= 0})
    price = OTHER_ENTER * sum(s.index == OTHER for s in sound) + SKIP_COST * missing
    return float((scores @ frames - price) / frames.sum())


def margin(
    words: Sequence[Word], segments: Sequence[Aligned], phones: np.ndarray, closure: np.ndarray,
    report: Reporter = SILENT,
) -> float:  # fmt: skip
    """How much better the words fit than the same sounds said backwards, in natural-log units a frame.

    Both texts have the same phones, so the speaker, the microphone and the encoder cancel out. Judged on the first
    PROOF_S seconds.
    """
    last = max((s.end for s in segments if s.end <= PROOF_S), default=segments[-1].end)
    part = [s for s in segments if s.end <= last]
    known = words[: max((s.index + 1 for s in part if s.index >= 0), default=1)] if last < segments[-1].end else words
    rows = round(last * RATE_HZ / 2)
    backwards = [Word(w.text, w.phones[::-1], w.seconds[::-1]) for w in reversed(known)]
    other = align(backwards, phones[:rows], closure[: 2 * rows], report)
    return quality(part, len(known)) - quality(other, len(known))


def _cut(found: Sequence[Aligned]) -> int:
    """How many segments of a window to keep: up to a word's end, at a pause if there is one, within three quarters."""
    late = 0.75 * WINDOW_FRAMES / RATE_HZ
    edges = [i + 1 for i, s in enumerate(found[:-1]) if s.end <= late and found[i + 1].index != s.index]
    pauses = [i for i in edges if found[i - 1].index < 0 and found[i - 1].end - found[i - 1].start >= 0.15]
    good = [i for i in pauses if found[i - 1].end > 0.3 * late] or edges
    return good[-1] if good else max(1, len(found) // 2)
