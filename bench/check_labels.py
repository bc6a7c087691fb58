"""Pictures to judge labelled closures by eye: waveform, wide-band spectrogram and phone boundaries around each event.

    python bench/check_labels.py MANIFEST OUT --every 3 --start 0

Each picture holds twelve events, 0.46 s each, numbered; OUT/index.json names them. A closure shows as silence or a
murmur below 1 kHz (m, voiced b) that ends in a burst or a sudden change of the formants. Verdicts go to
engine/measure/lipsync_checked.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from engine.audio.read import read_audio
from engine.core.phones import split
from engine.measure.lipsync import Reference, closures, read_manifest

BEFORE_S, AFTER_S = 0.20, 0.26
WIDE, WAVE, SPECTRUM, TEXT = 480, 56, 176, 18
COLUMNS, ROWS = 4, 3
RATE = 16_000
_WINDOW, _HOP, _FFT = 96, 8, 512  # 6 ms: wide enough a band to show bursts in time


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """[f, t] in [0, 1], 50 dB from white to black, 0-8 kHz upwards."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, _WINDOW // 2), _WINDOW)[::_HOP]
    emphasised = np.diff(frames, axis=1, prepend=frames[:, :1]) * np.hanning(_WINDOW)
    power = 10 * np.log10(np.abs(np.fft.rfft(emphasised, _FFT, axis=1)) ** 2 + 1e-9)
    return np.clip((power.T - (power.max() - 55)) / 50, 0, 1)


def strip(reference: Reference, samples: np.ndarray, start: float, end: float, number: int) -> Image.Image:
    """One event: start and end s as scored, the clip's samples [n]."""
    a = start - BEFORE_S
    piece = np.zeros(int((BEFORE_S + AFTER_S) * RATE), np.float32)
    first = round(a * RATE)
    i, j = max(first, 0), min(first + len(piece), len(samples))
    piece[i - first : j - first] = samples[i:j]
    image = Image.new("RGB", (WIDE, WAVE + SPECTRUM + 2 * TEXT), "white")
    draw = ImageDraw.Draw(image)
    x = lambda t: (t - a) / (BEFORE_S + AFTER_S) * WIDE  # noqa: E731
    draw.rectangle([x(start - 0.1), TEXT, x(start + 0.04), TEXT + WAVE], fill=(222, 240, 222))
    bins = np.array_split(piece / (np.abs(piece).max() + 1e-6), WIDE)
    for column, values in enumerate(bins):
        low, high = TEXT + WAVE / 2 - values.max() * WAVE / 2, TEXT + WAVE / 2 - values.min() * WAVE / 2
        draw.line([column, low, column, high], fill=(30, 30, 90))
    grey = Image.fromarray((255 * (1 - spectrogram(piece)[::-1])).astype(np.uint8)).resize((WIDE, SPECTRUM))
    image.paste(grey.convert("RGB"), (0, TEXT + WAVE))
    for symbol, p, q in reference.segments:
        if q > a and p < a + BEFORE_S + AFTER_S:
            lips = any(c.event == "closure" for c, _, _ in split([(symbol, p, q)]))
            colour = (200, 0, 0) if lips else (0, 90, 200)
            draw.line([x(p), TEXT, x(p), TEXT + WAVE + SPECTRUM], fill=colour, width=1)
            draw.text((max(x(p), 0) + 2, TEXT + WAVE + SPECTRUM + 2), symbol, fill=colour)
    draw.line([x(start), TEXT, x(start), TEXT + WAVE], fill=(0, 150, 0), width=2)
    draw.text((2, 2), f"{number}: {reference.file.stem} {start:.2f}-{end:.2f}", fill="black")
    for khz in (1, 2, 4, 6):
        y = TEXT + WAVE + SPECTRUM * (1 - khz / 8)
        draw.line([0, y, 5, y], fill=(200, 0, 0))
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--every", type=int, default=1, help="only every so-many-th event")
    parser.add_argument("--start", type=int, default=0, help="first event")
    parser.add_argument("--most", type=int, default=10_000, help="at most so many events")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    events = [(r, a, b) for r in read_manifest(options.manifest) for a, b in closures(r)]
    chosen = events[options.start :: options.every][: options.most]
    per = COLUMNS * ROWS
    index = []
    for page in range(0, len(chosen), per):
        tiles = []
        for k, (r, a, b) in enumerate(chosen[page : page + per]):
            tiles.append(strip(r, read_audio(r.file).samples, a, b, page + k))
            index.append({"number": page + k, "speaker": r.speaker, "file": r.file.name, "start": a, "end": b})
        width, height = tiles[0].size
        sheet = Image.new("RGB", (COLUMNS * (width + 6), ROWS * (height + 6)), (120, 120, 120))
        for k, tile in enumerate(tiles):
            sheet.paste(tile, ((k % COLUMNS) * (width + 6), (k // COLUMNS) * (height + 6)))
        sheet.save(options.out / f"events_{page // per:02d}.png")
    (options.out / "index.json").write_text(json.dumps(index, indent=0), encoding="utf-8")
    print(f"{len(chosen)} of {len(events)} events on {-(-len(chosen) // per)} pictures in {options.out}")


if __name__ == "__main__":
    main()
