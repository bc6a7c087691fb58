"""The door: text -> Recognition. Language, rules, and nets for what the rules do not reach."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from engine.controls.text.decide import FACELESS, Gate, causes, face
from engine.controls.text.languages import FILES, NAMES, detect, english
from engine.controls.text.lexicon import Words
from engine.controls.text.net import Opinion, small_net
from engine.controls.text.parse import Parse, exclude, parse
from engine.controls.text.record import Recognition
from engine.core.errors import BadInput
from engine.core.names import AUS, SIDES

MAX_TEXT = 1000  # characters
MODES = ("auto", "rules", "small", "encoder", "paper")
EXPLAINED = 0.45  # share of a text's words from which its rules are trusted alone
RULES_SHARE = 0.5  # of the rules' emotion in a text that they explain only in part
SMALL_SHARE = 0.3  # of the small net beside the encoder


def _rounded(found: Parse) -> dict[str, float]:
    out = {k: round(v, 4) for k, v in found.raised.items()}
    out |= {k: -round(v, 4) for k, v in found.denied.items() if k not in out}
    return dict(sorted(out.items()))


def _trusted(found: Parse) -> bool:
    """Whether the rules say enough: a part of the face is named, or most words are explained, or few are left."""
    if not found.asked or not (found.raised or found.families):
        # only a denial: enough if it is the whole text ("no smile"), not in "he must not laugh at the funeral, but ..."
        return found.asked and found.coverage >= EXPLAINED
    return found.specific or found.coverage >= EXPLAINED or len(found.words) <= 3


def _opinion(text: str, encoder: Any | None) -> tuple[Opinion, Gate]:
    """The nets' opinion: of the small net, or of encoder and small net weighed."""
    net = small_net()
    small = net(text)
    if encoder is None:
        return small, Gate(**net.config.get("gate", {}))
    classes, aus = encoder.predict([text])
    if classes is None:
        classes, mixed = small.classes[None], aus[0]
    else:
        mixed = (1 - SMALL_SHARE) * aus[0] + SMALL_SHARE * small.aus
    p = (1 - SMALL_SHARE) * classes[0] + SMALL_SHARE * small.classes
    return Opinion(p, mixed, small.known, small.words, small.weights), Gate(**encoder.config.get("gate", {}))


def _joined(found: Parse, opinion: Opinion, families: Sequence[str]) -> np.ndarray:
    """Class probabilities with the emotions that the rules found in part of the text."""
    rules = np.array([found.families.get(f, 0.0) for f in families])
    if rules.sum() <= 0:
        return opinion.classes
    return RULES_SHARE * rules / rules.sum() + (1 - RULES_SHARE) * opinion.classes


def _by_net(text: str, found: Parse, note: str, encoder: Any | None) -> Recognition:
    """The nets' face for a text that the rules do not explain, if the gate lets it pass."""
    opinion, gate = _opinion(text, encoder)
    families = small_net().families
    sure = gate(opinion.classes, opinion.known)
    asked = bool(found.families.keys() - set(FACELESS))
    if sure < gate.threshold and not asked:
        why = note or "nothing in it tells what the face should do: name an emotion, a movement or a situation"
        return Recognition(
            text, _rounded(found), found.because, found.asked, "rules" if found.asked else "", sure, "en", why
        )
    classes = _joined(found, opinion, families) if asked else opinion.classes
    if asked:
        aus = opinion.aus + (np.array([v in found.because for v in AUS]) - opinion.aus) * RULES_SHARE
    else:
        aus = opinion.aus
    raised = {k: v for k, v in face(classes, aus, families).items() if k not in found.denied}
    words = causes(text, lambda t: small_net()(t).classes)
    merged = Parse(
        raised=raised, denied=dict(found.denied), because={**{k[:4]: words for k in raised}, **found.because}
    )
    exclude(merged, set(raised))
    best = families[int(np.argmax(np.where([f in FACELESS for f in families], 0, classes)))]
    note = note or f"read as {best}"
    source = "rules+net" if found.asked else "net"
    because = {k: v for k, v in merged.because.items() if any(n[:4] == k for n in (*merged.raised, *merged.denied))}
    return Recognition(text, _rounded(merged), because, True, source, sure, "en", note)


def _as_in_the_paper(text: str, encoder: Any | None) -> Recognition:
    """EmoDiffTalk's controller: a binary AU vector from a frozen encoder and an MLP, no rules, no gate."""
    if encoder is None:
        raise BadInput("mode 'paper' needs the head that `python -m engine.train.text_paper` makes: give it as --head")
    probabilities = encoder.predict([text])[1][0]
    raised = {f"{au}_{s}": 1.0 for au, p in zip(AUS, probabilities, strict=True) if p >= 0.5 for s in SIDES}
    return Recognition(text, raised, {k[:4]: text for k in raised}, True, "paper", float(probabilities.max()))


def _foreign(text: str, language: str | None) -> Recognition:
    """A text in another language: by the translated lexicons, or the sentence that says what can be written."""
    name = NAMES.get(language or "", "another script")
    if language not in FILES:
        note = f"this looks like {name}; directions are read in English, German, French and Spanish"
        return Recognition(text, language=language or "und", note=note)
    found = parse(english(text, language), whole_clause=True)
    note = f"read as {name}, by a translated lexicon"
    if not found.asked:
        note = f"this looks like {name}, and none of its words is in the lexicon; try English"
    because = {au: f"{words}" for au, words in found.because.items()}
    source = "rules" if found.asked else ""
    return Recognition(text, _rounded(found), because, found.asked, source, float(found.asked), language, note)


@functools.cache
def _shipped() -> bool:
    """Whether the small net is registered; without it the rules stand alone."""
    from engine.assets.registry import list_assets

    return any(entry.name == "small" for entry in list_assets("text"))


def recognise(text: str, mode: str = "auto", encoder: Any | None = None, hidden: Collection[Words] = ()) -> Recognition:
    """AUs that a direction asks for.

    mode: "rules" alone; "small" adds the bundled net where rules do not reach; "auto" is "small" if that net is
    registered; "encoder" adds a sentence encoder too (`encoder`: an EncoderHead; None loads the registered one);
    "paper" is EmoDiffTalk's form. hidden: phrases of the lexicon to do without.
    Raises BadInput above 1,000 characters or for an unknown mode.
    """
    if len(text) > MAX_TEXT:
        raise BadInput(f"a direction may hold {MAX_TEXT} characters; this one has {len(text)}: split it into strips")
    if mode not in MODES:
        raise BadInput(f"'{mode}' is no way of reading directions; there are: {', '.join(MODES)}")
    if mode == "paper":
        return _as_in_the_paper(text, encoder)
    if mode == "auto":
        mode = "small" if _shipped() else "rules"
    language = detect(text)
    if language != "en":
        return _foreign(text, language)
    spell = small_net().index if mode != "rules" else ()
    found = parse(text, hidden=hidden, spell=spell)
    note = f"spelling: {', '.join(found.notes)}" if found.notes else ""
    if mode == "rules" or _trusted(found):
        known = found.asked
        why = note or ("" if known else "no word of it is in the lexicon")
        return Recognition(
            text, _rounded(found), found.because, known, "rules" if known else "", float(known), "en", why
        )
    if mode == "encoder" and encoder is None:
        from engine.controls.text.encoder import default_encoder

        encoder = default_encoder()
    return _by_net(text, found, note, encoder if mode == "encoder" else None)
