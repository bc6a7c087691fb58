"""What the engine says of its motion systems, in words for the panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WORDS = {
    "labels": "emotions", "intensity": "intensity", "va": "valence and arousal", "prompt": "directions",
    "au": "action units",
}  # fmt: skip


@dataclass(frozen=True)
class System:
    """A motion system: its name, a line about it, which controls it obeys and which are added after it."""

    name: str
    about: str
    obeys: tuple[str, ...]
    after: tuple[str, ...]


def systems_of(hello: Mapping[str, Any] | None) -> list[System]:
    """The systems that an engine offers in its hello; none for an engine that has not said it. Rows that are not
    understood are left out: a newer engine may say more."""
    rows = (hello or {}).get("systems")
    out = []
    for row in rows if isinstance(rows, Sequence) and not isinstance(rows, str) else ():
        if isinstance(row, Mapping) and isinstance(row.get("name"), str):
            obeys, after = (tuple(str(c) for c in row.get(key) or ()) for key in ("obeys", "after"))
            out.append(System(row["name"], str(row.get("about", "")), obeys, after))
    return out


def title(name: str) -> str:
    """A system's name on a button; of one with a checkpoint of one's own the name before the path."""
    base, at, _ = name.partition("@")
    return f"{base} (own checkpoint)" if at else base


def told(controls: Sequence[str]) -> str:
    """Controls as a list in words; "nothing" for none."""
    words = [WORDS.get(control, control) for control in controls]
    return ", ".join(words) if words else "nothing"
