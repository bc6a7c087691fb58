"""The door: text -> Recognition, by rules."""

from __future__ import annotations

from engine.controls.text.parse import Parse, parse
from engine.controls.text.record import Recognition
from engine.core.errors import BadInput

MAX_TEXT = 1000  # characters


def _rounded(found: Parse) -> dict[str, float]:
    out = {k: round(v, 4) for k, v in found.raised.items()}
    out |= {k: -round(v, 4) for k, v in found.denied.items() if k not in out}
    return dict(sorted(out.items()))


def recognise(text: str) -> Recognition:
    """AUs that a direction asks for. Raises BadInput above 1,000 characters."""
    if len(text) > MAX_TEXT:
        raise BadInput(f"a direction may hold {MAX_TEXT} characters; this one has {len(text)}: split it into strips")
    found = parse(text, spell=())
    return Recognition(text, _rounded(found), found.because, known=found.asked, source="rules" if found.asked else "")
