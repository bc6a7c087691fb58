"""controls.json: the keys of a performance as a person or the add-on writes them.

    {"kind": "controls", "format": 1, "emotions": {"happy": [[0.0, 0], [1.5, 1]]}, "intensity": [[0, 0.8]],
     "valence": [], "arousal": [], "au": {"AU12_L": [[2.0, 0.3]]},
     "prompts": [{"text": "raise the brows", "start": 1.0, "end": 2.5}],
     "gaze": {"yaw": [[0, 0.2]], "pitch": [], "influence": [[0, 1]]},
     "blinks": [[1.2, 1.0]], "layers": {"blink": {"on": true, "strength": 1, "seed": 0}},
     "dials": {"articulation": [[0, 1.2]], "mouth_lead": 1}, "modulation": "soft", "seed": 0}

Times in seconds from the voice's first sample. Everything is optional but `kind` and `format`. docs/controls.md is the
page for people.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.core.control import Controls, Keys, Layer, Prompt
from engine.core.errors import BadFile, BadInput
from engine.core.files import read_json, write_json
from engine.core.names import AUS, EMOTIONS, SIDES

KIND, FORMAT = "controls", 1
LAYERS = ("blink", "gaze", "head", "life", "nod", "brow", "accent")
# name -> (least, most, value that leaves the motion as generated)
DIALS: dict[str, tuple[float, float, float]] = {
    "mouth_lead": (-4.0, 4.0, 0.0),  # frames that the mouth is early
    "jaw": (0.0, 2.0, 1.0),
    "articulation": (0.0, 2.0, 1.0),
    "lip_press": (0.0, 2.0, 1.0),
    "upper": (0.0, 2.0, 1.0),
    "lower": (0.0, 2.0, 1.0),
    "smoothing": (0.0, 1.0, 0.0),
    "asymmetry": (0.0, 2.0, 1.0),
}
_OLD_DIALS = {"mouth": "articulation"}  # names of earlier files
MODULATIONS = ("soft", "paper")
# Words of the recorded sets for the strength of an expression (EmoTalk3D: mild, strong; EmoVOCA, MEAD: three).
INTENSITIES: dict[str, float] = {"mild": 0.5, "strong": 1.0, "low": 1 / 3, "medium": 2 / 3, "high": 1.0}
GAZE = {"yaw": (-1.2, 1.2), "pitch": (-1.2, 1.2), "influence": (0, 1)}  # radians, radians, share
AU_SIDES = tuple(f"{au}_{side}" for au in AUS for side in SIDES)


def read_controls(path: str | os.PathLike[str]) -> Controls:
    """Controls from a JSON file. Raises BadFile with the first thing that is wrong."""
    try:
        return parse_controls(read_json(path))
    except BadFile:
        raise
    except BadInput as error:
        raise BadFile(path, str(error)) from None


def write_controls(path: str | os.PathLike[str], controls: Controls) -> None:
    write_json(path, to_json(controls))


def to_json(controls: Controls) -> dict[str, Any]:
    """The JSON form of `controls` (see the module's head)."""
    return {"kind": KIND, "format": FORMAT, **asdict(controls)}


def digest(controls: Controls) -> str:
    """sha256 of the JSON form: the same keys give the same digest."""
    return hashlib.sha256(json.dumps(to_json(controls), sort_keys=True).encode()).hexdigest()


def parse_controls(data: object) -> Controls:
    """Controls from parsed JSON. Raises BadInput with one sentence that names the entry."""
    if not isinstance(data, Mapping) or data.get("kind") != KIND:
        raise BadInput('is no controls file: it must hold {"kind": "controls", "format": 1, ...}')
    if type(data.get("format")) is not int or data["format"] > FORMAT:
        raise BadInput(f"controls format {data.get('format')!r} is newer than this program reads ({FORMAT})")
    known = {"kind", "format", *Controls.__dataclass_fields__}
    if unknown := sorted(set(data) - known):
        raise BadInput(f"unknown entry '{unknown[0]}'; known entries: {', '.join(sorted(known))}")
    emotions = _table(data, "emotions", EMOTIONS)
    au = _table(data, "au", AU_SIDES)
    dials = {_OLD_DIALS.get(k, k): v for k, v in _table(data, "dials", (*DIALS, *_OLD_DIALS)).items()}
    modulation = data.get("modulation", "soft")
    if modulation not in MODULATIONS:
        raise BadInput(f"modulation: {modulation!r} is not one of {', '.join(MODULATIONS)}")
    gaze = _table(data, "gaze", tuple(GAZE))
    layers = _table(data, "layers", LAYERS)
    return Controls(
        emotions={k: _keys(v, f"emotions.{k}", 0, 1) for k, v in emotions.items()},
        intensity=_keys(_intensity(data.get("intensity")), "intensity", 0, 1) or ((0.0, 1.0),),
        valence=_keys(data.get("valence"), "valence", -1, 1) or ((0.0, 0.0),),
        arousal=_keys(data.get("arousal"), "arousal", -1, 1) or ((0.0, 0.0),),
        prompts=tuple(_prompt(p, f"prompts[{i}]") for i, p in enumerate(_list(data, "prompts"))),
        au={k: _keys(v, f"au.{k}", -1, 1) for k, v in au.items()},
        gaze={k: _keys(v, f"gaze.{k}", *GAZE[k]) for k, v in gaze.items()},
        blinks=None if data.get("blinks") is None else _keys(data["blinks"], "blinks", 0, 1),
        layers={k: _layer(v, f"layers.{k}") for k, v in layers.items()},
        dials={k: _keys(v, f"dials.{k}", *DIALS[k][:2]) for k, v in dials.items()},
        modulation=modulation,
        seed=_whole(data.get("seed", 0), "seed"),
    )


def _intensity(value: object) -> object:
    """A word for the strength of an expression as a number; anything else as it is."""
    if isinstance(value, str):
        if value not in INTENSITIES:
            raise BadInput(f"intensity: {value!r} is not one of {', '.join(INTENSITIES)}, a number or keys")
        return INTENSITIES[value]
    return value


def _table(data: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> Mapping[str, Any]:
    table = data.get(name) or {}
    if not isinstance(table, Mapping):
        raise BadInput(f"'{name}' must be a table")
    for key in table:
        if key not in allowed:
            raise BadInput(f"'{key}' is not one of {name}: {', '.join(allowed)}")
    return table


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    value = data.get(name) or []
    if not isinstance(value, list | tuple):
        raise BadInput(f"'{name}' must be a list")
    return list(value)


def _number(value: object, where: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(f"{where}: {value!r} is not a number")
    if not low - 1e-6 <= value <= high + 1e-6:
        raise BadInput(f"{where}: {value} is outside {low:g} to {high:g}")
    return float(min(max(value, low), high))


def _whole(value: object, where: str) -> int:
    number = _number(value, where, 0, 2**31 - 1)
    if number != int(number):
        raise BadInput(f"{where}: {value} is not a whole number")
    return int(number)


def _keys(value: object, where: str, low: float, high: float) -> Keys:
    if value is None:
        return ()
    if isinstance(value, int | float):
        return ((0.0, _number(value, where, low, high)),)
    if not isinstance(value, list | tuple):
        raise BadInput(f"{where} must be a list of [second, value]")
    out = []
    for pair in value:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise BadInput(f"{where} must be a list of [second, value], found {pair!r}")
        out.append((_number(pair[0], f"{where} time", -1e6, 1e6), _number(pair[1], where, low, high)))
    return tuple(sorted(out, key=lambda key: key[0]))


def _layer(value: object, where: str) -> Layer:
    if isinstance(value, bool):
        return Layer(on=value)
    if not isinstance(value, Mapping) or set(value) - {"on", "strength", "seed"}:
        raise BadInput(f'{where} must be {{"on": true, "strength": 1, "seed": 0}}')
    if not isinstance(value.get("on", True), bool):
        raise BadInput(f"{where}.on must be true or false")
    return Layer(
        on=value.get("on", True),
        strength=_number(value.get("strength", 1), f"{where}.strength", 0, 2),
        seed=_whole(value.get("seed", 0), f"{where}.seed"),
    )


def _prompt(value: object, where: str) -> Prompt:
    if not isinstance(value, Mapping) or not isinstance(value.get("text"), str):
        raise BadInput(f'{where} must be {{"text": "...", "start": s, "end": s}}')
    if unknown := sorted(set(value) - set(Prompt.__dataclass_fields__)):
        raise BadInput(f"{where}: unknown entry '{unknown[0]}'")
    if not isinstance(value.get("mute", False), bool):
        raise BadInput(f"{where}.mute must be true or false")
    start = _number(value.get("start", 0), f"{where}.start", -1e6, 1e6)
    end = _number(value.get("end", 1e6), f"{where}.end", -1e6, 1e6)
    if end <= start:
        raise BadInput(f"{where} ends at {end:g} s, before it starts at {start:g} s")
    activation = value.get("activation")
    if activation is not None:
        table = _table(value, "activation", AU_SIDES)
        activation = {k: _number(v, f"{where}.activation.{k}", -1, 1) for k, v in table.items()}
    return Prompt(
        text=value["text"], start=start, end=end,
        blend_in=_number(value.get("blend_in", 0.3), f"{where}.blend_in", 0, 60),
        blend_out=_number(value.get("blend_out", 0.4), f"{where}.blend_out", 0, 60),
        strength=_number(value.get("strength", 1), f"{where}.strength", 0, 1),
        mute=value.get("mute", False),
        activation=activation,
    )  # fmt: skip
