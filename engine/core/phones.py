"""One table from phone symbols (IPA; ARPABET through `from_arpabet`) to what the visible mouth does.

`phones.json` holds the table: classes with targets in [0, 1] for the eight continuous channels and four
dominances (how strongly the class insists on its targets), and which symbol belongs to which class.
`targets` blends them in time with dominance functions: Cohen & Massaro 1993, "Modeling coarticulation in
synthetic visual speech", D(t) = alpha exp(-|tau| / theta), F(t) = sum D T / sum D. The values of the table are
this project's own, after the rules that JALI (Edwards et al. 2016) lists: sibilants narrow the jaw, lip-heavy sounds
(u o w sh zh ch j) start early and end late, tongue-only sounds leave the lips to their neighbours.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

# Continuous channels of the table, in its column order (a subset of names.ARTICULATION).
CHANNELS: tuple[str, ...] = (
    "jaw_open", "round", "funnel", "spread", "upper_lip_raise", "lower_lip_drop", "tongue_tip", "tongue_back",
)  # fmt: skip
# Channel -> dominance group, and each group's reach before and after a phone in seconds. JALI gives about 120 ms
# of onset and 150 ms of decay for the whole transition; an exponential of this theta is at 10 % after 2.3 theta.
GROUP_OF: tuple[int, ...] = (0, 1, 1, 1, 2, 2, 3, 3)
REACH_BEFORE: tuple[float, ...] = (0.045, 0.070, 0.040, 0.040)
REACH_AFTER: tuple[float, ...] = (0.050, 0.065, 0.045, 0.045)
CORE = 0.15  # a phone holds its target from 15 % to 85 % of its length

Segment = tuple[str, float, float]  # symbol, start s, end s


@dataclass(frozen=True)
class PhoneClass:
    """What one class of phones asks of the face.

    targets [8] in [0, 1] (`CHANNELS`); dominance [4] (jaw, lip shape, lip lift, tongue);
    event: "closure", "labiodental", "pause" or "". vowel: whether it is a syllable's nucleus.
    plosive: closure is followed by a burst. rounded: the lips are visibly rounded or protruded.
    """

    name: str
    targets: np.ndarray
    dominance: np.ndarray
    event: str = ""
    vowel: bool = False
    plosive: bool = False

    @property
    def rounded(self) -> bool:
        return bool(max(self.targets[1], self.targets[2]) >= 0.45)


@cache
def _table() -> tuple[dict[str, PhoneClass], dict[str, str], dict[str, str]]:
    raw = json.loads((Path(__file__).parent / "phones.json").read_text(encoding="utf-8"))
    classes, symbols = {}, {}
    for name, row in raw["classes"].items():
        classes[name] = PhoneClass(
            name, np.array(row["targets"], np.float32), np.array(row["dominance"], np.float32),
            row.get("event", ""), row.get("vowel", False), row.get("plosive", False),
        )  # fmt: skip
        symbols.update({unicodedata.normalize("NFD", s): name for s in row["symbols"].split()})
    return classes, symbols, raw["aliases"]


def phone_class(name: str) -> PhoneClass:
    """A class by its name in phones.json."""
    return _table()[0][name]


@cache
def parts(symbol: str) -> tuple[tuple[PhoneClass, float], ...]:
    """An IPA symbol as one or two classes with their shares of its length ('aɪ' -> a .6, ɪ .4).

    Stress, length and modifier marks are skipped. An unknown symbol becomes the neutral class: a language that the
    table lacks still moves the jaw.
    """
    classes, symbols, _ = _table()
    text = unicodedata.normalize("NFD", symbol)
    if text in symbols:
        return ((classes[symbols[text]], 1.0),)
    found: list[str] = []
    i = 0
    while i < len(text):
        for n in (3, 2, 1):
            if text[i : i + n] in symbols:
                found.append(symbols[text[i : i + n]])
                i += n - 1
                break
        i += 1
    if not found:
        return ((classes["neutral"], 1.0),)
    if len(found) == 1:
        return ((classes[found[0]], 1.0),)
    first, last = classes[found[0]], classes[found[-1]]
    # Diphthongs hold their first target longer (60/40, as Rhubarb does); other pairs ('əl', 'ts') share alike.
    return ((first, 0.6), (last, 0.4)) if first.vowel and last.vowel else ((first, 0.5), (last, 0.5))


def from_arpabet(symbol: str) -> str:
    """IPA of an ARPABET symbol (either case, with or without a stress digit) or of festival's English additions.

    'AA1' -> 'ɑ', 'pau' -> '_'. A symbol outside the set comes back unchanged.
    """
    text = symbol.strip().lower().rstrip("012")
    return _table()[2].get(text, symbol)


def class_names() -> tuple[str, ...]:
    """Every class in the table's order: the columns of a phone classifier."""
    return tuple(_table()[0])


def symbol_of(class_name: str) -> str:
    """The symbol that stands for a class: the first of its row in phones.json ('ə' for the class without symbols)."""
    return next((s for s, name in _table()[1].items() if name == class_name), "ə")


def is_pause(symbol: str) -> bool:
    return all(c.event == "pause" for c, _ in parts(symbol))


def split(segments: Iterable[Segment]) -> list[tuple[PhoneClass, float, float]]:
    """Segments with composite symbols divided into classes: [(class, start s, end s)]."""
    out = []
    for symbol, start, end in segments:
        at = start
        for cls, share in parts(symbol):
            out.append((cls, at, at + share * (end - start)))
            at += share * (end - start)
    return out


def targets(segments: Sequence[Segment], times: np.ndarray) -> np.ndarray:
    """Continuous channels at `times` (seconds) after coarticulation. [t, 8] float32 in [0, 1].

    segments: phones in time order; time outside all of them counts as a pause.
    """
    rows = split(segments)
    times = np.asarray(times, np.float64)
    quiet = phone_class("pause")
    edge = 1e4
    rows = [(quiet, -edge, rows[0][1] if rows else edge), *rows, (quiet, rows[-1][2] if rows else edge, edge)]
    out = np.empty((len(times), len(CHANNELS)), np.float32)
    starts = np.array([a + CORE * min(b - a, 1.0) for _, a, b in rows])
    ends = np.array([b - CORE * min(b - a, 1.0) for _, a, b in rows])
    alpha = np.stack([c.dominance for c, _, _ in rows])
    goal = np.stack([c.targets for c, _, _ in rows])
    for at in range(0, len(times), 500):  # blocks, and only the phones that can reach them
        t = times[at : at + 500, None]
        near = np.flatnonzero((ends > t[0] - 1.0) & (starts < t[-1] + 1.0))
        before = np.maximum(starts[near] - t, 0)
        after = np.maximum(t - ends[near], 0)
        for group in range(4):
            # 1e-9: far from every phone the nearest still decides, and nothing divides by zero.
            reach = before / REACH_BEFORE[group] + after / REACH_AFTER[group]
            weight = alpha[near, group] * np.exp(-reach) + 1e-9 / (1.0 + reach)
            weight /= weight.sum(1, keepdims=True)
            columns = [i for i, g in enumerate(GROUP_OF) if g == group]
            out[at : at + 500, columns] = weight @ goal[near][:, columns]
    return np.clip(out, 0.0, 1.0)
