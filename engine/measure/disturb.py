"""Recordings made harder: microphones, codecs, noise, rooms, tempo, whisper, music; and sounds without any voice.

The test's own disturbances, written apart from the training's augmentation on purpose. All take and give samples [n]
float32 at 16 kHz; each is deterministic in its seed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from engine.core.sound import SAMPLE_RATE as RATE

Change = Callable[[np.ndarray], np.ndarray]


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x)) + 1e-12))


def _loud_rms(x: np.ndarray) -> float:
    """RMS of the louder half of 20 ms pieces: pauses do not count."""
    power = np.mean(np.square(x[: len(x) // 320 * 320].reshape(-1, 320)), 1)
    return float(np.sqrt(np.mean(np.sort(power)[len(power) // 2 :]) + 1e-12))


def filtered(x: np.ndarray, low: float, high: float, order: int = 4) -> np.ndarray:
    """Band from `low` to `high` Hz (Butterworth)."""
    from scipy.signal import butter, sosfilt

    return sosfilt(butter(order, [low, high], "bandpass", fs=RATE, output="sos"), x).astype(np.float32)


def telephone(x: np.ndarray) -> np.ndarray:
    """300-3400 Hz and G.711's mu-law, 8 bits at 8 kHz."""
    from scipy.signal import resample_poly

    narrow = resample_poly(filtered(x, 300, 3400), 1, 2)
    narrow = narrow / (np.abs(narrow).max() + 1e-9) * 0.8
    code = np.round(127 * np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256)) / 127
    back = np.sign(code) * (np.power(256.0, np.abs(code)) - 1) / 255
    return resample_poly(back, 2, 1)[: len(x)].astype(np.float32)


def tilted(x: np.ndarray, db_per_octave: float) -> np.ndarray:
    """A microphone that is duller or sharper: a straight slope about 1 kHz, held between 60 Hz and 7.5 kHz."""
    spectrum = np.fft.rfft(x)
    hz = np.clip(np.fft.rfftfreq(len(x), 1 / RATE), 60, 7500)
    return np.fft.irfft(spectrum * 10 ** (db_per_octave * np.log2(hz / 1000) / 20), len(x)).astype(np.float32)


def boxy(x: np.ndarray) -> np.ndarray:
    """A laptop's microphone: nothing below 180 Hz, resonances at 900 and 2600 Hz, a notch at 1.6 kHz."""
    hz = np.fft.rfftfreq(len(x), 1 / RATE)
    gain = np.where(hz < 180, (hz / 180) ** 3, 1.0)
    for centre, db, octaves in ((900, 9, 0.4), (2600, 7, 0.3), (1600, -12, 0.25), (5200, -8, 0.6)):
        gain = gain * 10 ** (db * np.exp(-0.5 * (np.log2(np.maximum(hz, 1) / centre) / octaves) ** 2) / 20)
    return np.fft.irfft(np.fft.rfft(x) * gain, len(x)).astype(np.float32)


def coded(x: np.ndarray, bits: int = 16_000) -> np.ndarray:
    """Through MP3 at a low bit rate and back (delay undone)."""
    import io

    import av

    buffer = io.BytesIO()
    pcm = (np.clip(x, -1, 1) * 32767).astype(np.int16)[None]
    with av.open(buffer, "w", format="mp3") as out:
        stream = out.add_stream("mp3", rate=RATE)
        stream.bit_rate, stream.layout = bits, "mono"
        frame = av.AudioFrame.from_ndarray(pcm, format="s16p", layout="mono")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    buffer.seek(0)
    with av.open(buffer, "r", format="mp3") as source:
        back = np.concatenate([f.to_ndarray().reshape(-1) for f in source.decode(audio=0)]).astype(np.float32)
    back = back / 32768 if np.abs(back).max() > 4 else back
    ahead = x[: RATE * 4]
    padded = back[: len(ahead) + 4000]
    size = 1 << (len(padded) + len(ahead)).bit_length()
    match = np.fft.irfft(np.fft.rfft(padded, size) * np.fft.rfft(ahead, size).conj(), size)[:4000]
    shift = int(match.argmax())
    out_ = np.zeros(len(x), np.float32)
    piece = back[shift : shift + len(x)]
    out_[: len(piece)] = piece
    return out_


def noisy(x: np.ndarray, db: float, colour: float = 1.0, seed: int = 0) -> np.ndarray:
    """Noise `db` below the voice; colour: 0 white, 1 pink, 2 brown."""
    rng = np.random.default_rng(seed)
    hz = np.maximum(np.fft.rfftfreq(len(x), 1 / RATE), 40)
    noise = np.fft.irfft(np.fft.rfft(rng.normal(size=len(x))) * hz ** (-colour / 2), len(x))
    return (x + noise / _rms(noise) * _loud_rms(x) * 10 ** (-db / 20)).astype(np.float32)


def reverberant(x: np.ndarray, rt60: float = 0.5, direct_db: float = 3.0, seed: int = 0) -> np.ndarray:
    """A room: exponentially decaying noise, its energy `direct_db` below the direct sound's."""
    from scipy.signal import fftconvolve

    n = int(rt60 * RATE)
    tail = np.random.default_rng(seed).normal(size=n) * np.exp(-6.9 * np.arange(n) / n)
    tail[: int(0.004 * RATE)] = 0
    tail *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return fftconvolve(x, tail)[: len(x)].astype(np.float32)


def stretched(x: np.ndarray, factor: float) -> np.ndarray:
    """`factor` times as long at the same pitch: overlapped pieces where they match best (WSOLA, Verhelst and
    Roelands 1993)."""
    size, reach = 480, 160
    hop = size // 2
    window = np.hanning(size + 1)[:-1]
    count = int(len(x) * factor) // hop
    padded = np.pad(x.astype(np.float64), (reach, size + 2 * reach + hop))
    out = np.zeros(count * hop + size)
    last = reach
    for k in range(count):
        ideal = reach + int(k * hop / factor)
        ideal = min(ideal, len(padded) - size - reach - 1)
        at = ideal
        if k:
            wanted = padded[last + hop : last + hop + size]
            if len(wanted) < size:
                break
            region = padded[ideal - reach : ideal + reach + size]
            at = ideal - reach + int(np.correlate(region, wanted, "valid")[: 2 * reach].argmax())
        out[k * hop : k * hop + size] += window * padded[at : at + size]
        last = at
    return out[: int(len(x) * factor)].astype(np.float32)


def whispered(x: np.ndarray, order: int = 18, seed: int = 0) -> np.ndarray:
    """The same words whispered: each 25 ms piece's LPC envelope driven by noise instead of the voice."""
    from scipy.linalg import solve_toeplitz
    from scipy.signal import lfilter

    size, hop = 400, 200
    window = np.hanning(size + 1)[:-1]
    rng = np.random.default_rng(seed)
    out = np.zeros(len(x) + size)
    for at in range(0, len(x) - size, hop):
        piece = np.diff(x[at : at + size], prepend=x[at]) * window  # pre-emphasis takes the voice's slope away
        corr = np.correlate(piece, piece, "full")[size - 1 : size + order]
        if corr[0] < 1e-7:
            continue
        corr[0] *= 1.001
        a = solve_toeplitz(corr[:-1], corr[1:])
        error = max(corr[0] - a @ corr[1:], 1e-12)
        noise = rng.normal(size=size)
        out[at : at + size] += window * lfilter([np.sqrt(error / size)], np.r_[1.0, -a], noise)
    out = out[: len(x)]
    return (out / (_loud_rms(out) + 1e-9) * 0.4 * _loud_rms(x)).astype(np.float32)


def music(seconds: float, seed: int = 0, drums: bool = True) -> np.ndarray:
    """A synthesised bed: chords of harmonic tones with vibrato, a bass line, and drums at 110 beats a minute."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    out = np.zeros(len(t))
    beat = 60 / 110
    for bar in range(int(seconds / (4 * beat)) + 1):
        root = 110 * 2 ** (rng.choice([0, 3, 5, 7, 8, 10]) / 12)
        on = (t >= bar * 4 * beat) & (t < (bar + 1) * 4 * beat)
        since = t[on] - bar * 4 * beat
        envelope = np.minimum(since / 0.03, 1) * np.exp(-since / 1.6)
        for ratio in (1, 1.26, 1.5, 2):
            f = root * ratio * (1 + 0.003 * np.sin(2 * np.pi * 5 * since))
            phase = 2 * np.pi * np.cumsum(f) / RATE
            out[on] += envelope * sum(np.sin(k * phase) / k**1.3 for k in range(1, 9)) / 4
        out[on] += 0.6 * envelope * np.sin(2 * np.pi * root / 2 * since)
    if drums:
        for k in range(int(seconds / (beat / 2)) + 1):
            a = int(k * beat / 2 * RATE)
            n = min(int(0.12 * RATE), len(t) - a)
            if n <= 0:
                break
            fall = np.exp(-np.arange(n) / (0.03 * RATE))
            hit = rng.normal(size=n) * fall * (0.7 if k % 4 == 2 else 0.25)
            kick = np.sin(2 * np.pi * 60 * np.arange(n) / RATE) * fall if k % 4 == 0 else 0.0
            out[a : a + n] += hit + 1.5 * kick
    return (out / _rms(out) * 0.08).astype(np.float32)


def over_music(x: np.ndarray, db: float, seed: int = 0) -> np.ndarray:
    """The voice with a music bed `db` relative to it (-10: ten decibels softer)."""
    bed = music(len(x) / RATE, seed)
    return (x + bed / _rms(bed) * _loud_rms(x) * 10 ** (db / 20)).astype(np.float32)


def hum(seconds: float, seed: int = 0) -> np.ndarray:
    """Mains hum at 50 Hz with odd harmonics and some hiss."""
    t = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * 50 * k * t + k) / k for k in (1, 2, 3, 5, 7, 9))
    return (0.03 * wave + 0.001 * np.random.default_rng(seed).normal(size=len(t))).astype(np.float32)


def clicks(seconds: float, seed: int = 0) -> np.ndarray:
    """Keyboard-like clicks, three a second, in faint hiss."""
    rng = np.random.default_rng(seed)
    out = 0.0005 * rng.normal(size=int(seconds * RATE))
    for at in np.sort(rng.uniform(0, seconds - 0.05, int(3 * seconds))):
        n = int(rng.uniform(0.003, 0.02) * RATE)
        a = int(at * RATE)
        out[a : a + n] += 0.3 * rng.normal(size=n) * np.exp(-np.arange(n) / (0.2 * n))
    return out.astype(np.float32)


def breaths(seconds: float, seed: int = 0) -> np.ndarray:
    """Breathing: noise shaped by a wide vocal tract, 0.9 s in and out, four seconds apart, no voice."""
    rng = np.random.default_rng(seed)
    x = filtered(rng.normal(size=int(seconds * RATE)).astype(np.float32), 400, 5000, 2)
    t = np.arange(len(x)) / RATE
    swell = np.maximum(np.sin(2 * np.pi * t / 1.8), 0) ** 2 * (t % 4.0 < 1.8)
    return (0.05 * x * swell + 0.0004 * rng.normal(size=len(x))).astype(np.float32)


def laughter(seconds: float, seed: int = 0) -> np.ndarray:
    """'Ha ha ha': bursts of an open voiced vowel at five a second, falling in pitch, each begun by breath."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    f0 = 260 - 60 * (t % 1.6) / 1.6
    source = np.mod(np.cumsum(f0) / RATE, 1.0) - 0.5
    spectrum = np.fft.rfft(source)
    hz = np.fft.rfftfreq(len(t), 1 / RATE)
    shape = sum(
        np.exp(-0.5 * ((hz - f) / b) ** 2) * g for f, b, g in ((800, 90, 1), (1250, 120, 0.6), (2700, 200, 0.2))
    )
    voiced = np.fft.irfft(spectrum * shape, len(t))
    breath = filtered(rng.normal(size=len(t)).astype(np.float32), 700, 4000, 2)
    phase = (t * 5) % 1.0
    on = (t % 2.4) < 1.6
    wave = voiced / _rms(voiced) * np.clip(np.sin(np.pi * np.clip((phase - 0.35) / 0.5, 0, 1)), 0, 1)
    wave = wave + 0.25 * breath / _rms(breath) * ((phase < 0.4) | (phase > 0.85))
    return (0.08 * wave * on + 0.0004 * rng.normal(size=len(t))).astype(np.float32)


def hiss(seconds: float, seed: int = 0) -> np.ndarray:
    """Pink noise alone."""
    return noisy(np.full(int(seconds * RATE), 1e-3, np.float32), -20, 1.0, seed) - np.float32(1e-3)


# With a voice: name -> change. Tempo is apart, because the labels move with it.
CHANGES: dict[str, Change] = {
    "as recorded": lambda x: x,
    "telephone (G.711)": telephone,
    "MP3 at 16 kbit/s": coded,
    "laptop microphone": boxy,
    "dull, -6 dB an octave": partial(tilted, db_per_octave=-6),
    "sharp, +4 dB an octave": partial(tilted, db_per_octave=4),
    "pink noise at 15 dB": partial(noisy, db=15),
    "white noise at 15 dB": partial(noisy, db=15, colour=0),
    "room, RT60 0.5 s": reverberant,
    "quiet, -40 dB": lambda x: (x * 0.01).astype(np.float32),
    "clipped": lambda x: np.clip(6 * x, -0.5, 0.5).astype(np.float32),
    "whispered": whispered,
    "music at -10 dB": partial(over_music, db=-10),
    "music at 0 dB": partial(over_music, db=0),
}
TEMPI = (0.7, 0.85, 1.2, 1.4)  # how fast
# Without a voice: name -> seconds -> samples.
VOICELESS: dict[str, Callable[[float], np.ndarray]] = {
    "digital silence": lambda s: np.zeros(int(s * RATE), np.float32),
    "room tone, -70 dB": lambda s: (3e-4 * np.random.default_rng(1).normal(size=int(s * RATE))).astype(np.float32),
    "hum": hum,
    "hiss": hiss,
    "clicks": clicks,
    "music": music,
    "music without drums": partial(music, drums=False),
    "breathing": breaths,
}
