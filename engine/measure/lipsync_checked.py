"""What a person found on looking at reference closures: which labels are right, shifted, wrong or inaudible.

`lipsync_checked.json` holds {speaker: {file: [[labelled start s, verdict, shift s], ...]}}; bench/check_labels.py draws
the pictures that the verdicts were given on. Both figures are printed: on the labels as they are, and on these.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from engine.core.errors import BadFile
from engine.core.files import read_json
from engine.measure.lipsync import Reference, closures

VERDICTS = ("right", "shifted", "wrong", "inaudible")
_SAME_S = 0.02  # labels are found again by their start


@cache
def verdicts() -> dict[str, dict[str, list[tuple[float, str, float]]]]:
    """{speaker: {file: [(labelled start s, verdict, shift s)]}}. Raises BadFile."""
    path = Path(__file__).parent / "lipsync_checked.json"
    out: dict[str, dict[str, list[tuple[float, str, float]]]] = {}
    for speaker, files in read_json(path).items():
        for file, rows in files.items():
            for start, verdict, shift in rows:
                if verdict not in VERDICTS:
                    raise BadFile(path, f"has a verdict '{verdict}' on {file}; there are: {', '.join(VERDICTS)}")
                out.setdefault(speaker, {}).setdefault(file, []).append((float(start), verdict, float(shift)))
    return out


def with_checks(reference: Reference) -> Reference | None:
    """The clip with its checked closures: wrong and inaudible ones are doubted, shifted ones moved; None if nobody has
    looked at it."""
    rows = verdicts().get(reference.speaker, {}).get(reference.file.name)
    if rows is None:
        return None
    kept, doubted = [], []
    for start, end in closures(reference):
        near = [row for row in rows if abs(row[0] - start) <= _SAME_S]
        verdict, shift = near[0][1:] if near else ("right", 0.0)
        if verdict in ("wrong", "inaudible"):
            doubted.append((start, end))
        else:
            moved = shift if verdict == "shifted" else 0.0
            kept.append((start + moved, end + moved))
    return replace(reference, checked=tuple(kept), doubted=tuple(doubted))
