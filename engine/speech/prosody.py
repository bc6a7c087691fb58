"""Energy, pitch, stress, pauses and how excited a voice sounds against itself, on the articulation's rows.

Pitch: YIN (de Cheveigné & Kawahara 2002, steps 1-5) with the difference function by FFT, at 8 kHz.

Everything beyond energy and pitch is relative to the speaker and to this recording (z-scores over its speech): a
microphone or a voice that is loud, low or bright throughout says nothing. No emotion is read from the sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.progress import SILENT, Reporter
from engine.core.spans import runs
from engine.speech.frontend import loudness

F0_RANGE_HZ = (60.0, 500.0)
_RATE = 8000
_WINDOW = 400  # 50 ms: two periods of 60 Hz less a little
_HOP = _RATE // 50
_ABSOLUTE = 0.15  # YIN's threshold: the first dip below it wins
_VOICED = 0.35  # aperiodicity above which a frame counts as unvoiced
_SPAN_DB = 40.0
_STEADY_DB = 6.0  # speech without any pause still spans 15 dB
_SILENT_DB = -72.0  # loud frames below this: a recording without a voice
_BLOCK = 800  # rows, 16 s

SYLLABLE_ROWS = 1.0  # standard deviation of the energy's smoothing, 20 ms
DEEP = 0.015  # energy (0.6 dB) by which a syllable stands out: finds 90 % as many as there are vowels, 78 % of them
STRESSED, APART_S = 0.5, 0.30  # standard deviations above the speaker's mean; least distance of two stresses
PHRASE_ROWS = 30.0  # 0.6 s: what counts as excitement is slower than a syllable
ENOUGH_S = 6.0  # with less speech than this the mean is not known: the suggestion shrinks
PAUSE_S = 0.25


def energy(mel: np.ndarray) -> np.ndarray:
    """Loudness within the clip. mel [2t, 64] natural log power -> [t] float32 in [0, 1]; 1 = loud, 0 = 40 dB below."""
    level = loudness(mel) * (10 / np.log(10))
    level = 0.5 * (level[::2] + level[1::2])
    top = np.percentile(level, 97)
    if top < _SILENT_DB:
        return np.zeros(len(level), np.float32)
    return np.clip(1 + (level - top) / _SPAN_DB, 0, 1).astype(np.float32)


def is_steady_noise(mel: np.ndarray, pitch: np.ndarray) -> bool:
    """Whether a recording holds hum or hiss only: hardly any change of level, hardly any pitch.

    mel [2t, 64] natural log power, pitch [t] Hz. A clip shorter than half a second is never judged.
    """
    if len(pitch) < 25:
        return False
    level = loudness(mel) * (10 / np.log(10))
    level = np.convolve(level, np.ones(5) / 5, "valid")  # 50 ms: what remains of noise's own flicker is 1-2 dB
    span = float(np.percentile(level, 97) - np.percentile(level, 5))
    return span < _STEADY_DB and float((pitch > 0).mean()) < 0.2


def f0(samples: np.ndarray, rows: int, report: Reporter = SILENT) -> np.ndarray:
    """Fundamental frequency in Hz at 50 rows a second, 0 where unvoiced. samples [n] at 16 kHz -> [rows] float32."""
    from scipy.signal import resample_poly

    span = _WINDOW + int(_RATE / F0_RANGE_HZ[0]) + 2
    margin = 64  # samples at 8 kHz: beyond the resampling filter's reach
    out = np.empty(rows, np.float32)
    for at in range(0, rows, _BLOCK):
        report.step("pitch", at, rows)
        count = min(_BLOCK, rows - at)
        first = at * _HOP - span // 2 - margin  # of the block, in samples at 8 kHz; row i is centred on i / 50 s
        last = first + (count - 1) * _HOP + span + 2 * margin
        a, b = max(0, 2 * first), max(0, min(len(samples), 2 * last))
        piece = np.zeros(2 * (last - first), np.float32)
        piece[a - 2 * first : a - 2 * first + max(0, b - a)] = samples[a:b]
        low = resample_poly(piece, 1, 2)[margin : margin + (count - 1) * _HOP + span]
        out[at : at + count] = _yin(np.lib.stride_tricks.sliding_window_view(low, span)[::_HOP])
    return out


def _yin(frames: np.ndarray) -> np.ndarray:
    """Pitch of each frame. frames [t, span] -> [t] Hz."""
    from scipy.fft import irfft, rfft

    span = frames.shape[1]
    lags = span - _WINDOW
    n = 1024
    spectrum = rfft(frames, n, axis=1)
    head = rfft(frames[:, :_WINDOW], n, axis=1)
    cross = irfft(spectrum * head.conj(), n, axis=1)[:, :lags]
    squares = np.concatenate([np.zeros((len(frames), 1)), np.cumsum(frames.astype(np.float64) ** 2, 1)], 1)
    moving = squares[:, _WINDOW : _WINDOW + lags] - squares[:, :lags]
    difference = np.maximum(moving[:, :1] + moving - 2 * cross, 0)
    lag = np.arange(lags)
    mean = difference * lag / np.maximum(np.cumsum(difference, 1), 1e-12)  # eq. 8
    mean[:, 0] = 1.0
    first = int(_RATE / F0_RANGE_HZ[1])
    inner = mean[:, first:-1]
    dip = (inner < _ABSOLUTE) & (inner <= mean[:, first + 1 :]) & (inner <= mean[:, first - 1 : -2])
    best = np.where(dip.any(1), dip.argmax(1), inner.argmin(1)) + first
    row = np.arange(len(frames))
    a, b, c = (mean[row, np.clip(best + k, 0, lags - 1)] for k in (-1, 0, 1))
    bend = a - 2 * b + c
    shift = np.where(np.abs(bend) > 1e-9, 0.5 * (a - c) / np.where(np.abs(bend) > 1e-9, bend, 1), 0)
    loud = moving[:, 0] / _WINDOW > 1e-7
    return np.where((b < _VOICED) & loud, _RATE / (best + np.clip(shift, -1, 1)), 0).astype(np.float32)


@dataclass(frozen=True)
class Stress:
    """Stressed syllables. times [n]: seconds of their nuclei, ascending; strength [n] in (0, 1]; rise [n]: whether the
    pitch stands out there, in standard deviations of the speaker's pitch."""

    times: np.ndarray
    strength: np.ndarray
    rise: np.ndarray

    def only(self, rows: np.ndarray) -> Stress:
        """Those of the given indices."""
        return Stress(self.times[rows], self.strength[rows], self.rise[rows])


def syllables(energy: np.ndarray, voice: np.ndarray) -> np.ndarray:
    """Rows of syllable nuclei: peaks of the smoothed energy within speech. energy, voice [t] in [0, 1] -> [n] int."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    if not len(energy):
        return np.zeros(0, int)
    smooth = gaussian_filter1d(energy.astype(np.float64), SYLLABLE_ROWS, mode="nearest")
    peaks, _ = find_peaks(np.concatenate([[0], smooth, [0]]), prominence=DEEP, distance=4)
    peaks = peaks - 1
    return peaks[voice[peaks] > 0.5]


def _standard(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """z-scores over the known rows, 0 elsewhere and where they hardly vary."""
    if known.sum() < 5:
        return np.zeros(len(values))
    spread = float(values[known].std())
    return np.where(known, (values - values[known].mean()) / max(spread, 1e-6), 0.0) if spread > 1e-6 else 0 * values


def _pitch_level(pitch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Octaves of the pitch without halving and doubling errors, and where it is known. pitch [t] Hz."""
    known = pitch > 0
    octaves = np.log2(np.maximum(pitch.astype(np.float64), 1.0))
    if known.any():
        known &= np.abs(octaves - np.median(octaves[known])) < 0.75
    return octaves, known


def stresses(energy: np.ndarray, pitch: np.ndarray, voice: np.ndarray) -> Stress:
    """Syllables that stand out by loudness, pitch and length (Fry 1955). energy, voice [t] in [0, 1], pitch [t] Hz."""
    nuclei = syllables(energy, voice)
    empty = np.zeros(0)
    if len(nuclei) < 3:
        return Stress(empty, empty, empty)
    octaves, known = _pitch_level(pitch)
    tone = _standard(octaves, known)
    near = [slice(max(0, n - 3), n + 4) for n in nuclei]
    height = np.array([tone[s][known[s]].max(initial=0.0) if known[s].any() else 0.0 for s in near])
    loud = energy[nuclei].astype(np.float64)
    edges = np.concatenate([[nuclei[0] - 10], 0.5 * (nuclei[1:] + nuclei[:-1]), [nuclei[-1] + 10]])
    length = np.minimum(np.diff(edges), 20.0)
    everywhere = np.ones(len(nuclei), bool)
    score = _standard(loud, everywhere) + 0.8 * height + 0.5 * _standard(length, everywhere)
    score = _standard(score, everywhere)
    chosen: list[int] = []
    for i in np.argsort(-score):  # the strongest first; a weaker one close by is part of the same accent
        if score[i] < STRESSED:
            break
        if all(abs(int(nuclei[i]) - int(nuclei[j])) >= APART_S * 50 for j in chosen):
            chosen.append(int(i))
    order = sorted(chosen)
    return Stress(nuclei[order] / 50.0, np.clip(score[order] / 2.5, 0.2, 1.0), height[order])


def arousal(energy: np.ndarray, pitch: np.ndarray, voice: np.ndarray) -> np.ndarray:
    """How excited the voice sounds against its own mean: loud and high phrases above 0, soft and low ones below.

    energy, voice [t] in [0, 1], pitch [t] Hz -> [t] float32 in (-1, 1); 0 in silence, and small in a short recording.
    """
    from scipy.ndimage import gaussian_filter1d

    speaking = voice > 0.5
    octaves, known = _pitch_level(pitch)
    loud, high = _standard(energy.astype(np.float64), speaking), _standard(octaves, known & speaking)
    phrase = lambda x, w: gaussian_filter1d(x * w, PHRASE_ROWS) / np.maximum(gaussian_filter1d(w, PHRASE_ROWS), 1e-3)  # noqa: E731
    there = speaking.astype(np.float64)
    level = phrase(loud, there) + phrase(high, (known & speaking).astype(np.float64))
    gate = np.minimum(gaussian_filter1d(there, 0.5 * PHRASE_ROWS), 1.0)
    trust = min(1.0, float(speaking.sum()) / 50 / ENOUGH_S)
    return (np.tanh(0.8 * level) * gate * trust).astype(np.float32)


def pauses(voice: np.ndarray, shortest: float = PAUSE_S) -> list[tuple[float, float]]:
    """Silences of at least `shortest` seconds between speech. voice [t] in [0, 1] at 50 Hz -> (start s, end s)."""
    quiet = [(a / 50, b / 50) for a, b in runs(voice < 0.5) if a > 0 and b < len(voice)]
    return [(a, b) for a, b in quiet if b - a >= shortest]


def summary(energy: np.ndarray, pitch: np.ndarray, voice: np.ndarray) -> dict[str, float | int | None]:
    """What a person may want to know: pitch (median Hz, range in semitones from 10 to 90 %), syllables a second of
    speech, stresses, pauses and seconds of speech. None where it is not known."""
    octaves, known = _pitch_level(pitch)
    spoken = float((voice > 0.5).sum()) / 50
    low, high = np.percentile(octaves[known], [10, 90]) if known.sum() > 5 else (np.nan, np.nan)
    return {
        "f0_median_hz": round(float(2 ** np.median(octaves[known])), 1) if known.sum() > 5 else None,
        "f0_range_semitones": round(float(12 * (high - low)), 1) if known.sum() > 5 else None,
        "syllables_per_s": round(len(syllables(energy, voice)) / spoken, 2) if spoken > 0.5 else None,
        "stresses": len(stresses(energy, pitch, voice).times),
        "pauses": len(pauses(voice)),
        "speech_s": round(spoken, 2),
    }
