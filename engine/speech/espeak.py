"""espeak-ng's C library: phones of a text in about 130 languages, by word, with the synthesiser's own times.

The library and its voices come with the package espeakng-loader; the system's libespeak-ng serves where that is
missing. One synthesiser per process (the library keeps one global state), so calls are not thread-safe.
"""

from __future__ import annotations

import ctypes as C
from functools import cache
from typing import Any

import numpy as np

from engine.core.errors import BadInput, Missing
from engine.core.phones import Segment

RATE, PITCH, SPREAD = 1, 3, 4  # espeak_PARAMETER
_SYNCHRONOUS, _PHONEME_EVENTS, _IPA = 2, 1, 2
_WORD, _PHONEME = 1, 7  # espeak_EVENT_TYPE
_UTF8 = 1
_MARKS = {"ʲ", "ː", "ˈ", "ˌ", "ʰ", "ʷ", "ˠ", "̃", "̩", "̯"}  # events of their own that are no phones


class _Id(C.Union):
    _fields_ = [("number", C.c_int), ("name", C.c_char_p), ("string", C.c_char * 8)]


class _Event(C.Structure):
    _fields_ = [("type", C.c_int), ("uid", C.c_uint), ("text", C.c_int), ("length", C.c_int), ("audio_ms", C.c_int),
                ("sample", C.c_int), ("user", C.c_void_p), ("id", _Id)]  # fmt: skip


_CALLBACK = C.CFUNCTYPE(C.c_int, C.POINTER(C.c_short), C.c_int, C.POINTER(_Event))


class Library:
    """The loaded library: `say` fills `wave`, `phones` [(sample, symbol)] and `words` [(sample, character, length)]."""

    def __init__(self) -> None:
        path, data = _where()
        try:
            self.c: Any = C.CDLL(path)
        except OSError as error:
            raise Missing(f"espeak-ng cannot be loaded ({error}); run: pip install espeakng-loader") from None
        self.rate = int(self.c.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS | _IPA))
        if self.rate <= 0:
            raise Missing("espeak-ng finds no voices; run: pip install espeakng-loader")
        self.wave: list[np.ndarray] = []
        self.phones: list[tuple[int, str]] = []
        self.words: list[tuple[int, int, int]] = []
        self.callback = _CALLBACK(self._receive)  # kept: the C side holds only a pointer
        self.c.espeak_SetSynthCallback(self.callback)

    def _receive(self, pcm: Any, n: int, events: Any) -> int:
        if pcm and n:
            self.wave.append(np.ctypeslib.as_array(pcm, (n,)).copy())
        i = 0
        while events[i].type:
            if events[i].type == _PHONEME:
                self.phones.append((events[i].sample, events[i].id.string.decode("utf-8", "ignore")))
            elif events[i].type == _WORD:
                self.words.append((events[i].sample, events[i].text - 1, events[i].length))
            i += 1
        return 0

    def say(self, text: str, voice: str, **parameters: int) -> None:
        """Synthesise `text` with `voice`. parameters: rate (words a minute), pitch, spread (0-99). Raises BadInput."""
        if self.c.espeak_SetVoiceByName(voice.encode()):
            raise BadInput(f"espeak has no voice {voice!r}; `espeak-ng --voices` lists them")
        self.wave.clear()
        self.phones.clear()
        self.words.clear()
        numbers = {"rate": RATE, "pitch": PITCH, "spread": SPREAD}
        for name, value in parameters.items():
            self.c.espeak_SetParameter(numbers[name], int(value), 0)
        raw = text.encode()
        self.c.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, _UTF8, None, None)


def _where() -> tuple[str, bytes | None]:
    try:
        import espeakng_loader

        return espeakng_loader.get_library_path(), espeakng_loader.get_data_path().encode()
    except ImportError:
        return "libespeak-ng.so.1", None


@cache
def library() -> Library:
    """The one synthesiser of this process. Raises Missing."""
    return Library()


def available() -> bool:
    """Whether espeak-ng can be used here."""
    try:
        library()
    except Missing:
        return False
    return True


def merged(segments: list[Segment]) -> list[Segment]:
    """Fold marks that are no phones ('ʲ', 'ː') into the phone before; drop language switches ('(en)')."""
    out: list[Segment] = []
    for p, a, b in segments:
        if out and (p in _MARKS or p.startswith("(")):
            out[-1] = (out[-1][0] + (p if p == "ː" else ""), out[-1][1], b)
        elif not p.startswith("("):
            out.append((p, a, b))
    return out


def segments_of(lib: Library, shortest: float = 1e-9) -> list[Segment]:
    """What `say` has just said, as IPA segments in seconds; pauses are '_'.

    shortest: seconds below which an event is left out. espeak gives a final l no time of its own: 0 keeps it.
    """
    samples = sum(len(piece) for piece in lib.wave)
    marks = [(s / lib.rate, p) for s, p in lib.phones]
    ends = [t for t, _ in marks[1:]] + [samples / lib.rate]
    return merged([(p or "_", a, b) for (a, p), b in zip(marks, ends, strict=True) if b - a >= shortest])
