"""espeak-ng through its C library: speech in ~130 languages with the start of every phone.

The library and its voices come with the PyPI package espeakng-loader; the system's libespeak-ng serves where that is
missing. One synthesiser per process (the library keeps one global state), so calls are not thread-safe.
"""

from __future__ import annotations

import ctypes as C
from functools import cache
from typing import Any

import numpy as np

from engine.core.errors import BadInput, Missing
from engine.core.phones import Segment, is_pause

_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_SYNCHRONOUS, _PHONEME_EVENTS, _IPA = 2, 1, 2
_PHONEME = 7
_UTF8 = 1


class _Id(C.Union):
    _fields_ = [("number", C.c_int), ("name", C.c_char_p), ("string", C.c_char * 8)]


class _Event(C.Structure):
    _fields_ = [("type", C.c_int), ("uid", C.c_uint), ("text", C.c_int), ("length", C.c_int), ("audio_ms", C.c_int),
                ("sample", C.c_int), ("user", C.c_void_p), ("id", _Id)]  # fmt: skip


_CALLBACK = C.CFUNCTYPE(C.c_int, C.POINTER(C.c_short), C.c_int, C.POINTER(_Event))


class _Library:
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
        self.events: list[tuple[int, str]] = []
        self.callback = _CALLBACK(self._receive)  # kept: the C side holds only a pointer
        self.c.espeak_SetSynthCallback(self.callback)

    def _receive(self, pcm: Any, n: int, events: Any) -> int:
        if pcm and n:
            self.wave.append(np.ctypeslib.as_array(pcm, (n,)).copy())
        i = 0
        while events[i].type:
            if events[i].type == _PHONEME:
                self.events.append((events[i].sample, events[i].id.string.decode("utf-8", "ignore")))
            i += 1
        return 0


def _where() -> tuple[str, bytes | None]:
    try:
        import espeakng_loader

        return espeakng_loader.get_library_path(), espeakng_loader.get_data_path().encode()
    except ImportError:
        return "libespeak-ng.so.1", None


@cache
def _library() -> _Library:
    return _Library()


def available() -> bool:
    """Whether espeak-ng can be used here."""
    try:
        _library()
    except Missing:
        return False
    return True


def speak(
    text: str, voice: str = "en-us", wpm: int = 175, pitch: int = 50, spread: int = 50
) -> tuple[np.ndarray, int, list[Segment]]:
    """Synthesise. Returns (samples [n] float32, rate in Hz, IPA segments in seconds).

    voice: language and variant ("en-us+f3"). wpm: words per minute, 80-450. pitch, spread: 0-99.
    Raises BadInput for a voice that espeak lacks or a text without a sound.
    """
    lib = _library()
    if lib.c.espeak_SetVoiceByName(voice.encode()):
        raise BadInput(f"espeak has no voice {voice!r}; `espeak-ng --voices` lists them")
    lib.wave.clear()
    lib.events.clear()
    for parameter, value in ((_RATE, wpm), (_PITCH, pitch), (_RANGE, spread)):
        lib.c.espeak_SetParameter(parameter, int(value), 0)
    raw = text.encode()
    lib.c.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, _UTF8, None, None)
    if not lib.wave or all(is_pause(p or "_") for _, p in lib.events):
        raise BadInput(f"espeak said nothing for {text!r}")
    samples = np.concatenate(lib.wave).astype(np.float32) / 32768
    marks = [(s / lib.rate, p) for s, p in lib.events]
    ends = [t for t, _ in marks[1:]] + [len(samples) / lib.rate]
    segments = [(p or "_", a, b) for (a, p), b in zip(marks, ends, strict=True) if b > a]
    return samples, lib.rate, _start_stops_at_closure(_merge(segments), samples, lib.rate)


def _merge(segments: list[Segment]) -> list[Segment]:
    """Fold marks that are no phones ('ʲ', 'ː') into the phone before; drop language switches ('(en)')."""
    out: list[Segment] = []
    for p, a, b in segments:
        if out and (p in {"ʲ", "ː", "ˈ", "ˌ"} or p.startswith("(")):
            out[-1] = (out[-1][0] + (p if p == "ː" else ""), out[-1][1], b)
        elif not p.startswith("("):
            out.append((p, a, b))
    return out


def _start_stops_at_closure(segments: list[Segment], samples: np.ndarray, rate: int) -> list[Segment]:
    """Move a stop's start back over the silence before its burst.

    espeak marks voiceless stops at the burst and leaves their closure, 30-90 ms of silence, to the phone before.
    Everywhere else a stop is closure + burst, so the silent tail (5 ms peaks below -40 dB of full scale) is given back.
    In a pause 60 ms are taken: a closure after silence cannot be heard, but the lips must have met.
    """
    hop = int(0.005 * rate)
    level = np.abs(samples[: len(samples) // hop * hop]).reshape(-1, hop).max(1)
    out = list(segments)
    for i in range(1, len(out)):
        symbol, start, end = out[i]
        before, a, _ = out[i - 1]
        if symbol[:1] not in "pbtdkgɡtcqʈɖ":
            continue
        k = k0 = int(start * 200) - 1
        while k > 0 and k0 - k < (12 if is_pause(before) else 20) and level[min(k, len(level) - 1)] < 0.01:
            k -= 1
        moved = max((k + 1) / 200, a + (0.0 if is_pause(before) else 0.4 * (start - a)))
        if moved < start - 0.004:
            out[i - 1], out[i] = (before, a, moved), (symbol, moved, end)
    return [s for s in out if s[2] > s[1]]
