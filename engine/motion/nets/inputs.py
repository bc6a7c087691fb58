"""What every network is given and what becomes of what it gives: interface v1, controls, a MotionSlice."""

from __future__ import annotations

from collections.abc import Callable, Set

import numpy as np

from engine.core.control import ControlTrack
from engine.core.errors import BadInput
from engine.core.names import ARKIT, ARKIT_INDEX, ARTICULATION_INDEX, EMOTION_INDEX, EXTRA_INDEX
from engine.core.sound import Speech
from engine.motion.after import obeyed
from engine.motion.base import MotionSlice
from engine.motion.direct import BITE_JAW, BITE_UPPER, LOWER_LIP, OPENING, late
from engine.motion.life import living_au

FEATURES = 64
ROWS_HZ = 50.0  # of interface v1


def interface(speech: Speech) -> np.ndarray:
    """Interface v1 as one array: articulation and features on the same 50 Hz rows. [t, 75] float32."""
    if speech.features.dim != FEATURES:
        raise BadInput(
            f"this motion system hears interface v1 ({FEATURES} features), the encoder gives {speech.features.dim}: "
            "fit an adapter for it with `train adapter`"
        )
    count = len(speech.articulation)
    values = speech.features.values[np.minimum(np.arange(count), len(speech.features.values) - 1)]
    return np.concatenate([speech.articulation, values.astype(np.float32)], 1)


def wide_rows(rows: np.ndarray, first: int, last: int, edge: int) -> np.ndarray:
    """Rows first - edge .. last + edge, the ends of the voice held. [last - first + 2 edge, d]."""
    return rows[np.clip(np.arange(first - edge, last + edge), 0, len(rows) - 1)]


def label_input(track: ControlTrack) -> np.ndarray:
    """Emotion weights times intensity, neutral being what is left. [t, 14] float32, rows sum to 1."""
    share = track.emotion / np.maximum(track.emotion.sum(1, keepdims=True), 1.0) * track.intensity[:, None]
    share = share.astype(np.float32)
    neutral = EMOTION_INDEX["neutral"]
    share[:, neutral] = 0.0
    share[:, neutral] = 1.0 - share.sum(1)
    return share


def meeting(weights: np.ndarray, closure: np.ndarray, bite: np.ndarray) -> np.ndarray:
    """Weights [t, 59] of a mouth that gives up its opening as far as contacts are held, by the rules of direct.py.

    closure [t] in [0, 1]: lips together; bite [t]: lower lip on the upper teeth. A network's contacts are blurred in
    time. Sealing the mesh (contacts.py) takes away what is still open while lips are held, but a gap that shrinks only
    then is read as too short, and nothing else brings the lip to the teeth.
    """
    out = weights.copy()
    jaw, close, teeth = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["mouthClose"], len(ARKIT) + EXTRA_INDEX["lowerLipToTeeth"]
    free = ((1.0 - closure) * (1.0 - bite))[:, None]
    out[:, close] = np.maximum(out[:, close], out[:, jaw] * closure) * (1.0 - bite)
    out[:, jaw] = out[:, jaw] * (1.0 - bite) + BITE_JAW * bite
    out[:, [ARKIT_INDEX[name] for name in OPENING]] *= free
    out[:, [ARKIT_INDEX[name] for name in LOWER_LIP]] *= (1.0 - bite)[:, None]
    for name, weight in BITE_UPPER.items():
        out[:, ARKIT_INDEX[name]] = np.maximum(out[:, ARKIT_INDEX[name]], weight * bite * (1.0 - closure))
    out[:, teeth] = np.maximum(out[:, teeth], bite * (1.0 - closure))
    return out


def slice_of(
    weights: np.ndarray, heard: Speech, controls: Callable[[np.ndarray], ControlTrack], times: np.ndarray,
    supports: Set[str],
) -> MotionSlice:  # fmt: skip
    """A MotionSlice of a network's weights [t, 59]: contacts and voice as heard, the AUs that the network obeyed."""
    rows = np.clip(np.round(times * ROWS_HZ).astype(int), 0, len(heard.articulation) - 1)
    said = heard.articulation[rows]
    closure = late(said[:, ARTICULATION_INDEX["lip_close"]])
    bite = said[:, ARTICULATION_INDEX["labiodental"]].copy()
    weights = meeting(np.clip(weights, 0.0, 1.0).astype(np.float32), closure, bite)
    return MotionSlice(
        times=times,
        arkit=weights[:, : len(ARKIT)],
        extra=weights[:, len(ARKIT) :],
        au=living_au(lambda at: obeyed(controls(at), supports), times),
        closure=closure,
        labiodental=bite,
        voice=said[:, ARTICULATION_INDEX["voice"]].copy(),
        pose=np.zeros((len(times), 15), np.float32),
    )
