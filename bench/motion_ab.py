"""Two motion systems side by side on recorded voices, in a drawn order, for a judge who does not know which is which.

    python bench/motion_ab.py MANIFEST --out FOLDER --motion emotalk3d --against direct

FOLDER/01.png ... 12.png show the same voice under the same emotion twice, as A and B: successive moments of the face
with the phone that is heard under each, and below them how far the lips are apart over the whole clip (mm), p b m
shaded red, open vowels green. The judge notes which of the two an animator would rather keep (sync first, then the
emotion, then calm and life) and only then opens FOLDER/key.json.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avatar_sheet import shot
from motion_strip import close_up
from PIL import Image, ImageDraw, ImageFont

from engine.audio.read import read_audio
from engine.avatar.library import load_avatar
from engine.core.anatomy import Head
from engine.core.control import Controls
from engine.core.files import replacing, write_json
from engine.core.sound import Audio, Speech
from engine.core.splats import Avatar
from engine.head import evaluate
from engine.head.library import load_head
from engine.head.lips import lip_gap
from engine.head.replay import take_vertices
from engine.measure.legibility import EIGHT
from engine.measure.lipsync import Reference, contacts, read_manifest, stressed_open
from engine.motion.perform import perform
from engine.speech.encode import encode

FPS, MOMENTS, STEP_S = 25, 14, 0.08
CURVE, MARGIN, TOP_MM = 120, 24, 20.0  # pixels of a curve's height, of margins; upper end of its scale
PAPER, INK, LINE, FAINT = (18, 19, 22), (222, 224, 228), (120, 190, 255), (60, 62, 68)
LIPS, VOWEL = (110, 40, 40), (35, 75, 45)


def lettering(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """A font that knows phonetic letters where the system has one."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def phone_at(clip: Reference, second: float) -> str:
    """The phone heard at that second, or a dot in silence."""
    return next((name for name, begin, end in clip.segments if begin <= second < end), "") or "."


def busiest(clip: Reference, span: float) -> float:
    """Second at which a window of `span` seconds begins that holds the most p b m, the earliest of equals."""
    starts = np.arange(0.0, max(clip.duration - span, 0.0) + 1e-6, 0.02)
    shut = [begin for begin, _ in contacts(clip.segments, "closure")]
    held = [sum(t <= begin < t + span for begin in shut) for t in starts]
    return float(starts[int(np.argmax(held))])


def one(
    clip: Reference, audio: Audio, heard: Speech, motion: str, keyed: Controls, head: Head, avatar: Avatar, size: int
) -> tuple[list[tuple[np.ndarray, str]], np.ndarray]:
    """Moments of a system's take with the phones under them, and its lip gap [t] in mm at FPS."""
    take = perform(audio, keyed, FPS, 1, motion, head, heard)
    start = busiest(clip, MOMENTS * STEP_S)
    frames = np.clip(np.round((start + STEP_S * np.arange(MOMENTS)) * FPS).astype(int), 0, len(take) - 1)
    meshes, camera = take_vertices(take, head, frames), close_up(head, size)
    weights = np.concatenate([take.arkit, take.extra], 1)[frames]
    moments = [
        (shot(avatar, head, (p, w), camera), f"{f / FPS:.2f} {phone_at(clip, f / FPS)}")
        for p, w, f in zip(meshes, weights, frames, strict=True)
    ]
    still = evaluate.vertices(head, take.arkit, take.extra, None)
    rest = lip_gap(head, head.template[None])[0]
    return moments, (lip_gap(head, still) - rest) * 1000.0


def draw(path: Path, title: str, clip: Reference, sides: list[tuple[list, np.ndarray]], size: int) -> None:
    """One sheet: A's moments, B's moments, A's curve, B's curve."""
    font = lettering(13)
    half = (MOMENTS + 1) // 2
    width = MARGIN * 2 + half * (size + 4)
    strip = 2 * (size + 20)
    sheet = Image.new("RGB", (width, 40 + 2 * (strip + 28) + 2 * (CURVE + 34)), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, 12), title, INK, font)
    y = 40
    for name, (moments, _) in zip("AB", sides, strict=True):
        pen.text((4, y + size // 2), name, INK, lettering(18))
        for i, (picture, label) in enumerate(moments):
            x, row = MARGIN + (i % half) * (size + 4), y + (i // half) * (size + 20)
            sheet.paste(Image.fromarray(picture), (x, row))
            pen.text((x + 2, row + size + 2), label, INK, font)
        y += strip + 28
    for name, (_, gap) in zip("AB", sides, strict=True):
        pen.text((4, y + CURVE // 2), name, INK, lettering(18))
        curve(pen, gap, clip, (MARGIN, y, width - MARGIN, y + CURVE))
        y += CURVE + 34
    with replacing(path) as part:
        sheet.save(part, "PNG")


def curve(pen: ImageDraw.ImageDraw, gap: np.ndarray, clip: Reference, box: tuple[int, int, int, int]) -> None:
    """The lip gap over the clip with its phones."""
    left, top, right, bottom = box
    scale = (right - left) / max(len(gap) / FPS, 1e-6)
    font = lettering(10)
    for colour, spans in ((LIPS, contacts(clip.segments, "closure")), (VOWEL, stressed_open(clip.segments))):
        for begin, end in spans:
            pen.rectangle((left + begin * scale, top, min(left + end * scale, right), bottom), fill=colour)
    for name, begin, _ in clip.segments:
        pen.text((left + begin * scale + 1, bottom + 1), name, (150, 150, 155), font)
    for mm in range(0, int(TOP_MM) + 1, 5):
        y = bottom - (bottom - top) * mm / TOP_MM
        pen.line((left, y, right, y), FAINT)
        pen.text((left - 18, y - 6), str(mm), (150, 150, 155), font)
    x = left + (np.arange(len(gap)) + 0.5) / FPS * scale
    y = bottom - (bottom - top) * np.clip(gap, 0, TOP_MM) / TOP_MM
    pen.line([*zip(x.tolist(), y.tolist(), strict=True)], LINE, 2)


def main() -> None:
    """The command at the module's head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--motion", required=True)
    parser.add_argument("--against", default="direct")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--size", type=int, default=190)
    args = parser.parse_args()
    rng = np.random.default_rng(secrets.randbits(64))  # nobody can know the order beforehand
    head = load_head()
    avatar = load_avatar("default", head)
    clips = [c for c in read_manifest(args.manifest) if 2.0 <= c.duration <= 7.0]
    clips = [clips[i] for i in np.linspace(0, len(clips) - 1, args.clips).astype(int)]
    args.out.mkdir(parents=True, exist_ok=True)
    key = []
    for i, clip in enumerate(clips):
        label, strength = EIGHT[i % len(EIGHT)], (1.0, 0.6)[i // len(EIGHT) % 2]
        keyed = Controls(emotions={label: ((0.0, strength),)} if label != "neutral" else {}, seed=i)
        audio = read_audio(clip.file)
        heard = encode(audio)
        order = [args.motion, args.against] if rng.random() < 0.5 else [args.against, args.motion]
        sides = [one(clip, audio, heard, name, keyed, head, avatar, args.size) for name in order]
        title = f'{i + 1}   {label} {strength:g}   "{clip.transcript}"'
        draw(args.out / f"{i + 1:02d}.png", title, clip, sides, args.size)
        key.append({"clip": clip.file.name, "label": label, "A": order[0], "B": order[1]})
    write_json(args.out / "key.json", {"key": key})


if __name__ == "__main__":
    main()
