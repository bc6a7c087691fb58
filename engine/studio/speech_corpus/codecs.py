"""A recording after a telephone or a lossy file: coded and decoded by FFmpeg's libraries, kept in time."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from engine.core.errors import BadInput
from engine.core.sound import SAMPLE_RATE

# name -> (FFmpeg's encoder, rate in Hz, bits a second or 0 where it is fixed)
_CODECS = {
    "g722": ("g722", 16000, 0),
    "telephone": ("pcm_mulaw", 8000, 0),
    "mp3": ("libmp3lame", 16000, 24000),
    "opus": ("libopus", 16000, 10000),
}
NAMES = tuple(_CODECS)


def through(samples: np.ndarray, name: str) -> np.ndarray:
    """Code and decode. samples [n] float32 mono 16 kHz -> [n]; the codec's delay is taken out."""
    import av

    from engine.studio.speech_corpus.build import resample

    if name not in _CODECS:
        raise BadInput(f"there is no codec '{name}'; there are: {', '.join(NAMES)}")
    encoder_name, rate, bits = _CODECS[name]
    encoder: Any = av.CodecContext.create(encoder_name, "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate, "mono", "s16"
    encoder.time_base = Fraction(1, rate)
    if bits:
        encoder.bit_rate = bits
    sound = resample(samples, SAMPLE_RATE, rate)
    pcm = np.pad(np.clip(sound * 32767, -32768, 32767).astype(np.int16), (0, rate // 4))
    encoder.open()
    block = encoder.frame_size or 2 * (rate // 50)
    packets = []
    for at in range(0, len(pcm) - block + 1, block):
        frame = av.AudioFrame.from_ndarray(pcm[None, at : at + block], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, at, encoder.time_base
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder: Any = av.CodecContext.create(_DECODER.get(encoder_name, encoder_name), "r")
    if encoder_name in ("pcm_mulaw", "g722"):
        decoder.sample_rate, decoder.layout = rate, "mono"
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    frames = [f for p in packets for f in decoder.decode(p)]
    frames += decoder.decode(None)
    to_s16 = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    parts = [f.to_ndarray().reshape(-1) for frame in frames for f in to_s16.resample(frame)]
    parts += [f.to_ndarray().reshape(-1) for f in to_s16.resample(None)]
    return _in_time(np.concatenate(parts).astype(np.float32), samples)


_DECODER = {"libmp3lame": "mp3float", "libopus": "libopus"}
_LONGEST_DELAY = 2400  # samples: 150 ms


def _in_time(late: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Cut the delay off, found as the peak of the cross-correlation. -> the original's length."""
    from scipy.signal import correlate

    n = min(len(original), len(late) - _LONGEST_DELAY, 3 * SAMPLE_RATE)
    delay = 0
    if n > 0:
        delay = int(np.abs(correlate(late[: n + _LONGEST_DELAY], original[:n], "valid", "fft")).argmax())
    out = late[delay : delay + len(original)]
    return np.pad(out, (0, len(original) - len(out))).astype(np.float32)
