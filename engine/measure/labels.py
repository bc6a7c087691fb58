"""Figures of multi-label answers: F1 per label with support, precision and recall, macro and micro, and what an answer
of nothing would score."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.core.names import AUS


@dataclass(frozen=True)
class Wanted:
    """What is right for one text. alternatives: sets of labels, any of which is right; optional: labels that count
    neither for nor against."""

    alternatives: tuple[frozenset[str], ...]
    optional: frozenset[str] = frozenset()


@dataclass
class Tally:
    """Counts per label."""

    hit: dict[str, int] = field(default_factory=lambda: dict.fromkeys(AUS, 0))
    extra: dict[str, int] = field(default_factory=lambda: dict.fromkeys(AUS, 0))
    missed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(AUS, 0))

    def add(self, got: Collection[str], wanted: Wanted) -> None:
        """Count one answer against the alternative that it comes nearest to."""
        answer = set(got)

        def faults(want: frozenset[str]) -> int:
            return len(want - answer) + len(answer - want - wanted.optional)

        want = min(wanted.alternatives, key=faults)
        for label in AUS:
            self.hit[label] += label in want and label in answer
            self.missed[label] += label in want and label not in answer
            self.extra[label] += label in answer and label not in want and label not in wanted.optional


def _f1(hit: float, extra: float, missed: float) -> float:
    return 2 * hit / (2 * hit + extra + missed) if hit + extra + missed else 0.0


def figures(tally: Tally) -> dict[str, Any]:
    """macro_f1 (over labels that occur), micro_f1, and per label support, precision, recall, f1; empty_f1 is 0 by
    definition: an answer of nothing finds nothing, however accurate it is (empty_accuracy)."""
    per: dict[str, Any] = {}
    for label in AUS:
        hit, extra, missed = tally.hit[label], tally.extra[label], tally.missed[label]
        if hit + extra + missed == 0:
            continue
        per[label] = {
            "support": hit + missed,
            "precision": round(hit / (hit + extra), 3) if hit + extra else 0.0,
            "recall": round(hit / (hit + missed), 3) if hit + missed else 0.0,
            "f1": round(_f1(hit, extra, missed), 3),
        }
    counted = [row["f1"] for row in per.values() if row["support"]]
    totals = [sum(t.values()) for t in (tally.hit, tally.extra, tally.missed)]
    return {
        "macro_f1": round(sum(counted) / len(counted), 3) if counted else 0.0,
        "micro_f1": round(_f1(*totals), 3),
        "per_au": per,
    }


def score(answers: Sequence[Collection[str]], wanted: Sequence[Wanted]) -> dict[str, Any]:
    """Figures of a list of answers, with those of answering nothing at all beside them."""
    tally, empty = Tally(), Tally()
    right = 0
    for got, want in zip(answers, wanted, strict=True):
        tally.add(got, want)
        empty.add((), want)
        right += len(AUS) - len(min(want.alternatives, key=len))
    out = figures(tally)
    total = len(AUS) * len(wanted)
    out["all_zero"] = {"macro_f1": figures(empty)["macro_f1"], "accuracy": round(right / total, 3) if total else 0.0}
    return out
