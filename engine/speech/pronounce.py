"""A text as words with their phones, in any language that espeak-ng reads; numbers and names as it says them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from engine.core.errors import BadInput
from engine.core.phones import is_pause
from engine.speech import espeak

_CLAUSE = 300  # characters given to espeak at once: it cuts longer clauses itself, in the middle of words
_TYPOGRAPHIC = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": ", ", "…": "...", "\u00a0": " "})
# Unicode blocks whose text one voice reads, for texts without a stated language.
_SCRIPTS = (("CYRILLIC", "ru"), ("GREEK", "el"), ("HIRAGANA", "ja"), ("KATAKANA", "ja"), ("HANGUL", "ko"),
            ("CJK", "cmn"), ("ARABIC", "ar"), ("HEBREW", "he"), ("DEVANAGARI", "hi"), ("THAI", "th"), ("TAMIL", "ta"),
            ("BENGALI", "bn"), ("GEORGIAN", "ka"), ("ARMENIAN", "hy"))  # fmt: skip
# The commonest words of languages in Latin script: enough to tell a sentence, not a name.
_COMMON = {
    "en-us": "the and is you to of that it in for are with this have not be on your what please was we i a",
    "de": "der die und ist nicht das ein ich zu den mit sie auf für es dem auch eine wir haben",
    "fr": "le la les et est vous une un des pas que je dans pour sur avec ce qui il nous au du",
    "es": "el los las y es que una por con para no su se del lo como está al un usted",
    "it": "il che non è di per una sono con si ha della gli più anche questo mi lo un",
    "pt": "o os não que é uma um para com você do da em mais isso eu se por ao",
    "nl": "het een en is niet van dat ik je op te zijn met voor maar wij ook",
    "sv": "och är det att som en på inte jag för med till den av har vi du",
    "pl": "i nie jest się na to że do w z jak co tak ale czy",
    "tr": "bir ve bu için değil ne da de çok ama ben sen mi",
    "cs": "a je se na že to v jsem ale jak si pro není co",
    "fi": "ja on ei se että hän oli minä mutta ovat kun",
}
_ALIASES = {"en": "en-us", "english": "en-us", "fr-fr": "fr", "german": "de", "french": "fr", "spanish": "es",
            "italian": "it", "russian": "ru", "zh": "cmn", "chinese": "cmn", "japanese": "ja"}  # fmt: skip


@dataclass(frozen=True)
class Word:
    """A word of a transcript, or several that are said as one.

    text: as written. phones: IPA symbols without stress marks. seconds: how long the synthesiser takes for each phone.
    pause_after: whether the text asks for a pause (punctuation).
    """

    text: str
    phones: tuple[str, ...]
    seconds: tuple[float, ...]
    pause_after: bool = False


def plain(text: str) -> str:
    """Typographic quotes and dashes as plain ones, spaces joined; bracketed remarks such as [laughs] left out."""
    text = re.sub(r"[\[<{][^\]>}]*[\]>}]", " ", unicodedata.normalize("NFC", text).translate(_TYPOGRAPHIC))
    return " ".join(text.split())


def guess_language(text: str) -> str:
    """espeak's voice for a text without a stated language: by script, else by common words; English in doubt."""
    letters = [unicodedata.name(c, "") for c in text if c.isalpha()]
    for block, voice in _SCRIPTS:
        if sum(name.startswith(block) for name in letters) > 0.3 * max(len(letters), 1):
            return "uk" if voice == "ru" and re.search("[іїєґІЇЄҐ]", text) else voice
    words = re.findall(r"[^\W\d_]+", text.lower())
    score = {voice: sum(w in common.split() for w in words) for voice, common in _COMMON.items()}
    best = max(score, key=lambda voice: score[voice])
    return best if score[best] else "en-us"


def voice_of(language: str | None, text: str) -> str:
    """espeak's voice for a language code ("en", "pt-br", "ru"); guessed from the text without one. Raises BadInput."""
    name = (language or guess_language(text)).strip().lower().replace("_", "-")
    name = _ALIASES.get(name, name)
    lib = espeak.library()
    for voice in (name, name.partition("-")[0]):
        if voice and not lib.c.espeak_SetVoiceByName(voice.encode()):
            return voice
    raise BadInput(f"'{language}' is no language that espeak-ng reads; give a code such as en, de, fr or ru")


@cache
def words_of(text: str, voice: str) -> tuple[Word, ...]:
    """The words of a text as `voice` says them. Raises BadInput where nothing can be said."""
    found = [word for clause in _clauses(plain(text)) for word in _say(clause, voice)]
    if not found:
        raise BadInput("the transcript holds no word that can be spoken")
    return tuple(found)


def _clauses(text: str) -> list[str]:
    """Pieces that espeak reads whole: sentences, cut at spaces where they are too long."""
    out: list[str] = []
    for sentence in re.split(r"(?<=[.!?。！？;:])\s+", text):
        piece = ""
        for token in sentence.split(" "):
            if piece and len(piece) + len(token) > _CLAUSE:
                out.append(piece)
                piece = ""
            piece = f"{piece} {token}".strip()
        if piece:
            out.append(piece)
    return out


def _say(clause: str, voice: str) -> list[Word]:
    lib = espeak.library()
    lib.say(clause, voice, rate=160)
    segments = espeak.segments_of(lib, 0.0)
    starts = sorted({(max(0, c), s / lib.rate) for s, c, _ in lib.words}, key=lambda mark: mark[1])
    if not starts:
        starts = [(0, 0.0)]
    # espeak marks pieces of a number or of a hyphenated word separately: a word runs to the next space.
    tokens = [(m.start(), m.group()) for m in re.finditer(r"\S+", clause)]
    token_of = lambda c: max((i for i, (at, _) in enumerate(tokens) if at <= c), default=0)  # noqa: E731
    groups: dict[int, list[tuple[str, float]]] = {}
    pauses: set[int] = set()
    for symbol, a, b in segments:
        mark = max((m for m in starts if m[1] <= a + 0.02), key=lambda m: m[1], default=starts[0])
        at = token_of(mark[0])
        if is_pause(symbol):
            pauses.add(at)
        else:
            groups.setdefault(at, []).append((clean(symbol), b - a))
    out = []
    owners = sorted(groups)
    for n, at in enumerate(owners):
        # Words that espeak runs together ("there are") have one mark; the text of a word holds all of them.
        until = owners[n + 1] if n + 1 < len(owners) else len(tokens)
        text = " ".join(t for _, t in tokens[at:until])
        phones, seconds = zip(*groups[at], strict=True)
        out.append(Word(text, phones, seconds, bool(pauses & set(range(at, until)))))
    return out


def clean(symbol: str) -> str:
    """A phone without stress marks and tone numbers."""
    return re.sub(r"[ˈˌ.0-9|‖]", "", symbol) or "ə"
