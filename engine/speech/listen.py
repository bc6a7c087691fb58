"""The whole way from a voice to `Speech`: encoder, then the transcript, then the animator's own cues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.core.progress import SILENT, Reporter
from engine.core.sound import Audio, Cue, Speech
from engine.speech.cues import free_cues, with_cues
from engine.speech.encode import load_encoder, speech_of


def listen(
    audio: Audio, encoder: str = "default", transcript: str | None = None, language: str | None = None,
    cues: Sequence[Cue] | None = None, report: Reporter = SILENT, download: bool = False,
) -> Speech:  # fmt: skip
    """`Speech` with phone cues. transcript: the words said; language: espeak's code, guessed if None.

    cues: edited ones; what they leave as the voice gave it stays. download: whether an encoder that is named by its hub
    id may be fetched. Raises BadInput, BadFile, Missing, Cancelled.
    """
    heard = load_encoder(encoder, download)(audio, report)
    speech = speech_of(heard, audio, report)
    if transcript:
        from engine.speech.transcript import with_transcript

        known = heard if heard.phones is not None else load_encoder()(audio, report)
        speech, _ = with_transcript(speech, known, audio, transcript, language, report)
    else:
        speech = replace(speech, cues=free_cues(heard, speech.articulation, report=report))
    return speech if cues is None else with_cues(speech, cues)
