"""A voice whose words are known: forced alignment, and articulation drawn from the phones that were said.

English goes through pocketsphinx where it is installed, everything else (and English without it) through the encoder's
own phone probabilities. A transcript may cover a part of the recording, or hold words that nobody says; where words
find no place, and where somebody says something else, the encoder alone decides. A transcript of something else
altogether is noticed by its score and left aside with a warning.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.core.errors import BadFile, BadInput
from engine.core.progress import SILENT, Reporter
from engine.core.sound import SAMPLE_RATE, Audio, Cue, Speech
from engine.speech import align_english
from engine.speech.align import OTHER, PAUSE, Aligned, align, margin, rescored
from engine.speech.cues import articulation, blended, coverage, free_cues
from engine.speech.encode import Heard
from engine.speech.pronounce import Word, voice_of, words_of

# How much better the text must fit than its own sounds backwards (align.margin). On 122 recorded clips with encoders
# that never heard the speaker: right texts .38-1.7, the right second half alone .10-1.2 (95 % above .24), other texts
# -.4 to .3, more where they share phrases with the right one.
FITS = 0.22
POOR_WORD = -3.5  # below this the encoder's own view counts
STRAY_S = 0.25  # two aligners that place a word further apart than this: one of them is lost
PIECE_S, PIECE_PAUSE_S = 15.0, 0.15  # what pocketsphinx gets at once, so that a cancel is heard
STRAY_SCORE = 1.0  # and the encoder's place must fit the sound better by this to be taken
LONGEST_CHARS = 200_000
_ENGLISH = ("en", "en-")


@dataclass(frozen=True)
class Fit:
    """How a transcript fits a recording. words: how many it has; placed: share of them; margin: how much better it
    fits than its own sounds backwards (natural-log units a frame); other_s: seconds of sounds outside it; language:
    espeak's voice; aligner: "encoder" or "pocketsphinx"."""

    words: int
    placed: float
    margin: float
    other_s: float
    language: str
    aligner: str = "encoder"

    @property
    def fits(self) -> bool:
        return self.margin >= FITS


def read_transcript(value: str) -> str:
    """The text of `--transcript`: a file's contents (UTF-8) if there is such a file, else the value itself.

    Raises BadFile, BadInput.
    """
    text = value
    looks_like_file = len(value) < 1000 and "\n" not in value and Path(value).suffix.lower() in {".txt", ".lab", ".md"}
    if len(value) < 1000 and "\n" not in value and Path(value).is_file():
        try:
            text = Path(value).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError):
            raise BadFile(value, "is no UTF-8 text; save the transcript as plain text") from None
    elif looks_like_file:
        raise BadFile(value, "no such transcript; give a text file, or the words themselves")
    if not text.strip():
        raise BadInput("the transcript is empty; give the words that are spoken")
    if len(text) > LONGEST_CHARS:
        raise BadInput(f"the transcript has {len(text)} characters; {LONGEST_CHARS} are the most")
    return text


def word_scores(segments: Sequence[Aligned], count: int) -> np.ndarray:
    """Mean score of each of `count` words by time, -inf where a word has no place. [count]."""
    total, seconds = np.zeros(count), np.zeros(count)
    for s in segments:
        if s.index >= 0:
            total[s.index] += s.score * (s.end - s.start)
            seconds[s.index] += s.end - s.start
    return np.where(seconds > 0, total / np.maximum(seconds, 1e-9), -np.inf)


def place(
    audio: Audio, heard: Heard, text: str, language: str | None = None, report: Reporter = SILENT
) -> tuple[list[Aligned], Fit]:
    """Align a text with a recording. Raises BadInput, Missing, Cancelled.

    heard: of an encoder with phone probabilities. language: espeak's code; guessed from the text without one.
    """
    if heard.phones is None:
        raise BadInput("this speech encoder gives no phone probabilities; use the default one with a transcript")
    voice = voice_of(language, text)
    words = words_of(text, voice)
    segments = align(words, heard.phones, heard.events["closure"], report)
    fit = Fit(
        len(words),
        float(np.isfinite(word_scores(segments, len(words))).mean()),
        margin(words, segments, heard.phones, heard.events["closure"], report),
        sum(s.end - s.start for s in segments if s.index == OTHER),
        voice,
    )
    if fit.fits and fit.placed == 1.0 and voice.startswith(_ENGLISH) and align_english.available():
        better = _english(words, segments, audio, report)
        if better:
            better = rescored(better, heard.phones, heard.events["closure"])
            return _agreed(segments, better, audio.duration), replace(fit, aligner="pocketsphinx")
    return segments, fit


def _english(words: Sequence[Word], own: Sequence[Aligned], audio: Audio, report: Reporter) -> list[Aligned]:
    """pocketsphinx's segments, piece by piece between pauses that the encoder found; without those it cannot place."""
    out: list[Aligned] = []
    pieces = _pieces(own, audio.duration)
    for number, (start, end) in enumerate(pieces):
        report.step("aligning", number, len(pieces))
        indices = sorted({s.index for s in own if s.index >= 0 and start <= 0.5 * (s.start + s.end) < end})
        if not indices:
            continue
        samples = audio.samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        for s in align_english.align_english([words[i] for i in indices], samples) or []:
            index = indices[s.index] if s.index >= 0 else s.index
            out.append(replace(s, start=s.start + start, end=s.end + start, index=index))
    return out


def _pieces(own: Sequence[Aligned], duration: float) -> list[tuple[float, float]]:
    """The recording cut in the middle of pauses into stretches of about PIECE_S, longer only where nobody pauses."""
    cuts = [0.0]
    for s in own:
        middle = 0.5 * (s.start + s.end)
        if s.index == PAUSE and s.end - s.start >= PIECE_PAUSE_S and middle - cuts[-1] >= PIECE_S:
            cuts.append(middle)
    if len(cuts) > 1 and duration - cuts[-1] < 0.3 * PIECE_S:
        cuts.pop()
    return list(itertools.pairwise([*cuts, duration]))


def _agreed(own: Sequence[Aligned], english: Sequence[Aligned], duration: float) -> list[Aligned]:
    """pocketsphinx's times; the encoder's for words that the two place far apart and that fit the sound better there.

    Words on which they agree count as found (score 0).
    """
    by_word: dict[int, tuple[list[Aligned], list[Aligned]]] = {}
    for which, segments in enumerate((own, english)):
        for s in segments:
            if s.index >= 0:
                by_word.setdefault(s.index, ([], []))[which].append(s)
    out: list[Aligned] = []
    for index in sorted(by_word):
        mine, theirs = by_word[index]
        chosen = theirs or mine
        if mine and theirs:
            apart = max(abs(mine[0].start - theirs[0].start), abs(mine[-1].end - theirs[-1].end))
            if apart <= STRAY_S:
                chosen = [replace(s, score=0.0) for s in theirs]
            elif _mean(mine) > _mean(theirs) + STRAY_SCORE:
                chosen = mine
        at = out[-1].end if out else 0.0
        out += [replace(s, start=max(s.start, at)) for s in chosen if s.end > at + 0.005]
    return _with_pauses(out, own, duration)


def _mean(segments: Sequence[Aligned]) -> float:
    """Mean score by time."""
    return float(np.average([s.score for s in segments], weights=[s.end - s.start for s in segments]))


def _with_pauses(words: Sequence[Aligned], own: Sequence[Aligned], duration: float) -> list[Aligned]:
    """Holes between words filled: a pause, or "other" where the encoder heard sounds outside the transcript."""
    other = [s for s in own if s.index == OTHER]
    out: list[Aligned] = []
    at = 0.0
    for s in [*words, Aligned("_", duration, duration, PAUSE, 0.0)]:
        if s.start > at + 0.005:
            inside = [o for o in other if o.start < s.start and o.end > at]
            index = (
                OTHER if sum(min(o.end, s.start) - max(o.start, at) for o in inside) > 0.5 * (s.start - at) else PAUSE
            )
            out.append(Aligned("_", at, s.start, index, 0.0))
        if s.end > s.start:
            out.append(s)
        at = max(at, s.end)
    return out


def with_transcript(
    speech: Speech, heard: Heard, audio: Audio, text: str, language: str | None = None, report: Reporter = SILENT
) -> tuple[Speech, Fit]:
    """`speech` refined by the words that were said, with their cues; unchanged but for a warning if they do not fit.

    Raises BadInput, Missing, Cancelled.
    """
    segments, fit = place(audio, heard, text, language, report)
    if not fit.fits:
        report.warn(
            f"the transcript does not fit this voice (read as '{fit.language}', it fits hardly better than backwards): "
            "the mouth follows the sound alone; check the text and its language"
        )
        return replace(speech, cues=free_cues(heard, speech.articulation, report=report)), fit
    scores = word_scores(segments, fit.words)
    if (lost := int((scores < POOR_WORD).sum())) and lost > 0.1 * fit.words:
        report.warn(f"{lost} of {fit.words} words of the transcript were not found: there the sound alone decides")
    cues, known = [], []
    by_ear = [s.index == OTHER or (s.index >= 0 and scores[s.index] < POOR_WORD) for s in segments]
    for i, s in enumerate(segments):
        end = min(s.end, audio.duration)
        if by_ear[i]:
            cues += list(free_cues(heard, speech.articulation, s.start, end))
        elif end > s.start:
            cues.append(Cue(s.phone, round(s.start, 3), round(end, 3)))
            # A pause beside sounds outside the text is theirs: the mouth opens in it for them, or shuts after them.
            if not (s.index == PAUSE and any(by_ear[max(0, i - 1) : i + 2])):
                known.append((s.start, end))
    drawn = articulation(cues, len(speech.articulation))
    share = coverage(_joined(known), len(drawn))
    return replace(speech, articulation=blended(speech.articulation, drawn, share), cues=tuple(cues)), fit


def _joined(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Adjoining spans as one."""
    out: list[tuple[float, float]] = []
    for a, b in spans:
        if out and a - out[-1][1] < 0.02:
            out[-1] = (out[-1][0], b)
        else:
            out.append((a, b))
    return out
