"""shot.json: one performance from voice to files, as `batch.py` runs it.

    {"kind": "shot", "format": 1,
     "voice": "voice.wav",                 relative to the shot file
     "fps": 25,                            or "24000/1001", 23.976 ...
     "start_frame": 1, "seed": 0, "head": "default", "avatar": "default", "motion": "direct",
     "keys": "dense",                      dense | sparse | linear | twos | threes
     "ease": 0.4,                          seconds before each emotion key in which the face changes
     "emotions": [{"at": 0, "emotion": "neutral"}, {"at": "25%", "emotion": "happy", "strength": 0.8}],
     "intensity": 1, "valence": [["0%", -0.5], ["100%", 0.5]], "arousal": 0,
     "prompts": [{"text": "raise the brows", "start": "60%", "end": "75%", "strength": 1}],
     "au": {"AU12_L": [[0, 0.2]]},
     "layers": {"blink": {"on": true, "strength": 1, "seed": 3}},
     "dials": {"articulation": 1.1},
     "transcript": "words.txt", "language": "en",   the words said: a text file or the text; both may be left out
     "out": ".",
     "outputs": {"blend": "demo.blend", "alembic": "head.abc", "turntable": "turntable.mp4", "sheet": "sheet.png"},
     "turntable": {"size": [640, 640], "camera": "turntable"}, "sheet": {"moments": 6}}

Times are seconds from the voice's first sample, or a share of its length ("25%"). Only kind, format and voice are
needed. Unknown entries are refused, so that a slip of the pen is not silently ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from .names import AU_SLIDERS, DIALS, EMOTIONS, LAYERS

KIND, FORMAT = "shot", 1
KEY_MODES = ("dense", "sparse", "linear", "twos", "threes")
OUTPUTS = {"blend": ".blend", "alembic": ".abc", "turntable": ".mp4", "sheet": ".png"}
CURVES = {"intensity": (0.0, 1.0), "valence": (-1.0, 1.0), "arousal": (-1.0, 1.0)}
_NTSC = {Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)}


class BadShot(ValueError):
    """The shot file cannot be used; one sentence that names the entry."""


@dataclass(frozen=True)
class Moment:
    """A time of the voice: seconds, or a share [0, 1] of its length."""

    value: float
    share: bool = False

    def seconds(self, duration: float) -> float:
        return self.value * duration if self.share else self.value


@dataclass(frozen=True)
class EmotionKey:
    at: Moment
    emotion: str
    strength: float


@dataclass(frozen=True)
class ShotPrompt:
    text: str
    start: Moment
    end: Moment
    strength: float


Curve = tuple[tuple[Moment, float], ...]


@dataclass(frozen=True)
class Shot:
    """A checked shot. Paths are absolute."""

    voice: Path
    out: Path
    outputs: dict[str, Path]
    fps: Fraction = Fraction(25)
    start_frame: int = 1
    seed: int = 0
    head: str = "default"
    avatar: str = "default"
    appearance: str = ""
    motion: str = "direct"
    transcript: str = ""
    language: str = ""
    keys: str = "dense"
    ease: float = 0.4
    emotions: tuple[EmotionKey, ...] = ()
    curves: dict[str, Curve] = field(default_factory=dict)  # intensity, valence, arousal, "AU12_L" ...
    prompts: tuple[ShotPrompt, ...] = ()
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    dials: dict[str, float] = field(default_factory=dict)
    size: tuple[int, int] = (640, 640)
    camera: str = "turntable"
    moments: int = 6


def read(path: str | Path, voice: str | None = None, out: str | None = None) -> Shot:
    """A shot file. voice, out: replace the file's own entries (relative to the working folder). Raises BadShot."""
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadShot(f"{path} is not there") from None
    except (OSError, ValueError) as error:
        raise BadShot(f"{path} is not a readable JSON file ({error})") from None
    try:
        return parse(data, path.resolve().parent, voice, out)
    except BadShot as problem:
        raise BadShot(f"{path}: {problem}") from None


def parse(data: object, folder: Path, voice: str | None = None, out: str | None = None) -> Shot:
    """Checked shot from parsed JSON; relative paths start at `folder`."""
    if not isinstance(data, Mapping) or data.get("kind") != KIND:
        raise BadShot('is no shot: it must hold {"kind": "shot", "format": 1, ...}')
    if not isinstance(data.get("format"), int) or data["format"] > FORMAT:
        raise BadShot(f"format {data.get('format')!r} is newer than this program reads ({FORMAT})")
    known = {
        "kind", "format", "voice", "fps", "start_frame", "seed", "head", "avatar", "appearance", "motion", "keys",
        "ease", "emotions", "intensity", "valence", "arousal", "prompts", "au", "layers", "dials", "out", "outputs",
        "turntable", "sheet", "transcript", "language",
    }  # fmt: skip
    _known(data, known, "the shot")
    sound = Path(voice).resolve() if voice else folder / _text(data, "voice")
    if not sound.is_file():
        raise BadShot(f"the voice {sound} is not there")
    target = Path(out).resolve() if out else (folder / _text(data, "out", ".")).resolve()
    curves = {name: _curve(data[name], name, *CURVES[name]) for name in CURVES if name in data}
    curves |= {au: _curve(v, f"au.{au}", -1.0, 1.0) for au, v in _table(data, "au", AU_SLIDERS).items()}
    film = _table(data, "turntable", ("size", "camera"))
    moments = _table(data, "sheet", ("moments",)).get("moments", 6)
    return Shot(
        voice=sound,
        out=target,
        outputs=_outputs(data, target),
        fps=rate(data.get("fps", 25)),
        start_frame=_whole(data.get("start_frame", 1), "start_frame", -1_000_000, 1_000_000),
        seed=_whole(data.get("seed", 0), "seed", 0, 2**31 - 1),
        head=_text(data, "head", "default"),
        avatar=_text(data, "avatar", "default"),
        appearance=str(_file(data, "appearance", folder)) if "appearance" in data else "",
        motion=_text(data, "motion", "direct"),
        transcript=_words(_text(data, "transcript"), folder) if "transcript" in data else "",
        language=_text(data, "language") if "language" in data else "",
        keys=_choice(data.get("keys", "dense"), "keys", KEY_MODES),
        ease=_number(data.get("ease", 0.4), "ease", 0, 10),
        emotions=tuple(_emotion(e, f"emotions[{i}]") for i, e in enumerate(_list(data, "emotions"))),
        curves=curves,
        prompts=tuple(_prompt(p, f"prompts[{i}]") for i, p in enumerate(_list(data, "prompts"))),
        layers={name: _layer(v, f"layers.{name}") for name, v in _table(data, "layers", LAYERS).items()},
        dials=_dials(data),
        size=_size(film.get("size", [640, 640])),
        camera=_choice(film.get("camera", "turntable"), "turntable.camera", ("turntable", "front")),
        moments=_whole(moments, "sheet.moments", 1, 12),
    )


def _dials(data: Mapping[str, Any]) -> dict[str, float]:
    """Dials by name; "mouth" is what shots of earlier versions call articulation."""
    table = _table(data, "dials", (*DIALS, "mouth"))
    named = {"articulation" if name == "mouth" else name: value for name, value in table.items()}
    return {name: _number(value, f"dials.{name}", *DIALS[name][:2]) for name, value in named.items()}


def _file(data: Mapping[str, Any], name: str, folder: Path) -> Path:
    """A file that must be there; a relative path starts at `folder`."""
    path = (folder / _text(data, name)).resolve()
    if not path.is_file():
        raise BadShot(f"{name}: {path} is not there")
    return path


def _words(value: str, folder: Path) -> str:
    """The text of a transcript: of the file with that name beside the shot, else the value itself."""
    if not value.lower().endswith((".txt", ".lab", ".md")):
        return value
    try:
        return " ".join((folder / value).read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        raise BadShot(f"the transcript {folder / value} cannot be read ({error})") from None


def rate(value: object) -> Fraction:
    """Frames per second, exact; 23.976 and 29.97 are read as the NTSC fractions."""
    try:
        fps = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise BadShot(f"fps: {value!r} is no frame rate; give a number such as 25 or 24000/1001") from None
    if not 1 <= fps <= 240:
        raise BadShot(f"fps: {value} is outside 1 to 240")
    near = min(_NTSC, key=lambda n: abs(n - fps))
    return near if abs(near - fps) < Fraction(5, 1000) else fps


def blender_rate(fps: Fraction) -> tuple[int, float]:
    """(fps, fps_base) as Blender stores a rate: 24000/1001 is 24 with base 1.001."""
    if fps.denominator == 1:
        return fps.numerator, 1.0
    whole = math.ceil(fps)
    return whole, float(Fraction(whole) / fps)


def _outputs(data: Mapping[str, Any], target: Path) -> dict[str, Path]:
    found = {}
    for name, value in _table(data, "outputs", tuple(OUTPUTS)).items():
        if value is None:
            continue
        if not isinstance(value, str) or Path(value).suffix.lower() != OUTPUTS[name]:
            raise BadShot(f"outputs.{name}: {value!r} must be a file name that ends in {OUTPUTS[name]}")
        found[name] = target / value
    return found


def _emotion(value: object, where: str) -> EmotionKey:
    entry = _entry(value, where, {"at", "emotion", "strength"}, ("at", "emotion"))
    return EmotionKey(
        at=_moment(entry["at"], f"{where}.at"),
        emotion=_choice(entry["emotion"], f"{where}.emotion", EMOTIONS),
        strength=_number(entry.get("strength", 1), f"{where}.strength", 0, 1),
    )


def _prompt(value: object, where: str) -> ShotPrompt:
    entry = _entry(value, where, {"text", "start", "end", "strength"}, ("text", "start", "end"))
    if not isinstance(entry["text"], str) or not entry["text"].strip():
        raise BadShot(f"{where}.text must say what the face should do")
    return ShotPrompt(
        text=entry["text"].strip(),
        start=_moment(entry["start"], f"{where}.start"),
        end=_moment(entry["end"], f"{where}.end"),
        strength=_number(entry.get("strength", 1), f"{where}.strength", 0, 1),
    )


def _layer(value: object, where: str) -> dict[str, Any]:
    entry = _entry(value, where, {"on", "strength", "seed"}, ())
    if not isinstance(entry.get("on", True), bool):
        raise BadShot(f"{where}.on must be true or false")
    out = dict(entry)
    if "strength" in entry:
        out["strength"] = _number(entry["strength"], f"{where}.strength", 0, 2)
    if "seed" in entry:
        out["seed"] = _whole(entry["seed"], f"{where}.seed", 0, 9999)
    return out


def _curve(value: object, where: str, low: float, high: float) -> Curve:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return ((Moment(0.0), _number(value, where, low, high)),)
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise BadShot(f"{where} must be a number or a list of [time, value]")
    return tuple((_moment(t, f"{where} time"), _number(v, where, low, high)) for t, v in value)


def _moment(value: object, where: str) -> Moment:
    if isinstance(value, str) and value.endswith("%"):
        try:
            return Moment(_number(float(value[:-1]), where, 0, 100) / 100, share=True)
        except ValueError as error:
            if isinstance(error, BadShot):
                raise
    if isinstance(value, str):
        raise BadShot(f'{where}: {value!r} is no time; give seconds, or a share such as "25%"')
    return Moment(_number(value, where, 0, 1e6))


def _number(value: object, where: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadShot(f"{where}: {value!r} is not a number")
    if not low <= value <= high:
        raise BadShot(f"{where}: {value} is outside {low:g} to {high:g}")
    return float(value)


def _whole(value: object, where: str, low: int, high: int) -> int:
    number = _number(value, where, low, high)
    if number != int(number):
        raise BadShot(f"{where}: {value} must be a whole number")
    return int(number)


def _size(value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise BadShot("turntable.size must be [width, height]")
    width, height = (_whole(n, "turntable.size", 64, 4096) for n in value)
    return width, height


def _choice(value: object, where: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BadShot(f"{where}: {value!r} is not one of {', '.join(allowed)}")
    return str(value)


def _text(data: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = data.get(name, default)
    if not isinstance(value, str) or not value:
        raise BadShot(f"'{name}' must be given as text")
    return value


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    value = data.get(name, [])
    if not isinstance(value, list):
        raise BadShot(f"'{name}' must be a list")
    return value


def _table(data: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> Mapping[str, Any]:
    value = data.get(name, {})
    if not isinstance(value, Mapping):
        raise BadShot(f"'{name}' must be a table")
    _known(value, set(allowed), name)
    return value


def _entry(value: object, where: str, allowed: set[str], needed: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadShot(f"{where} must be a table")
    _known(value, allowed, where)
    for name in needed:
        if name not in value:
            raise BadShot(f"{where} lacks '{name}'")
    return value


def _known(table: Mapping[str, Any], allowed: set[str], where: str) -> None:
    if unknown := sorted(set(table) - allowed):
        raise BadShot(f"{where}: unknown entry '{unknown[0]}'; known are {', '.join(sorted(allowed))}")
