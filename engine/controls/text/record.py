"""What a typed direction comes to: the record that the command line, the track and Blender get."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.core.names import AUS, SIDES

SHOWN = 0.02  # below this an AU counts as absent: the weakest degree word on the weakest part of a face stays above


@dataclass(frozen=True)
class Recognition:
    """What the words ask for.

    activation: "AU12_L" -> strength in [0, 1]; negative where the words deny the AU. because: AU -> the words that
    caused it. source: "rules", "net" or "rules+net"; "" if nothing was recognised. confidence: of the gate, in [0, 1].
    language: ISO code. note: a sentence for the person (a corrected word, a language, why nothing was recognised).
    """

    text: str
    activation: dict[str, float] = field(default_factory=dict)
    because: dict[str, str] = field(default_factory=dict)
    known: bool = False
    source: str = ""
    confidence: float = 0.0
    language: str = "en"
    note: str = ""

    @property
    def recognised(self) -> bool:
        """Whether the words ask for a face at all; a neutral face counts, though it raises nothing."""
        return self.known or bool(self.activation)

    @property
    def aus(self) -> list[str]:
        """Names of the AUs that are raised on either side, in order."""
        return [au for au in AUS if self.level(au) >= SHOWN]

    def level(self, au: str) -> float:
        """The greater of an AU's two sides, 0 where it is denied."""
        return max(0.0, *(self.activation.get(f"{au}_{s}", 0.0) for s in SIDES))

    def to_json(self) -> dict[str, Any]:
        """The form that `text2au --json` prints (docs/text.md)."""
        return {
            "text": self.text, "aus": self.aus, "probabilities": {au: round(self.level(au), 4) for au in AUS},
            "recognised": self.recognised, "activation": self.activation, "because": self.because,
            "source": self.source, "confidence": round(self.confidence, 3), "language": self.language,
            "note": self.note,
        }  # fmt: skip
