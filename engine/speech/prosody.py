"""Energy and pitch on the articulation's rows.

Pitch: YIN (de Cheveigné & Kawahara 2002, steps 1-5) with the difference function by FFT, at 8 kHz.
"""

from __future__ import annotations

import numpy as np

from engine.core.progress import SILENT, Reporter
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
