"""The bar of lip closure: real voices on a mapped character (ICT-FaceKit's head) against the default head.

The character's lips are measured in another way than they are corrected: as the opening that is seen from the front,
strip by strip, between the lowest point of the upper lip and the highest of the lower.
"""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from blender_addon.convert import closure, mapping
from blender_addon.convert.names import ARKIT, EXTRA

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
CLIPS = slice(None, None, 5)  # every fifth of the 60, for time's sake


def speech_net():
    from engine.assets.registry import list_assets

    return any(entry.name == "default" for entry in list_assets("speech"))


pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not SHARED.is_dir(), reason="needs the development data in ../shared/data"),
    pytest.mark.skipif(not speech_net(), reason="needs the speech net that ships with the engine"),
]


@pytest.fixture(scope="module")
def ict():
    """(rest [v, 3] cm, name -> offsets [v, 3])."""
    d = np.load(SHARED / "heads" / "ict_slim.npz", allow_pickle=False)
    rest, shapes = d["v"].astype(np.float64), {}
    for k, name in enumerate(d["names"]):
        at = slice(d["off"][k], d["off"][k + 1])
        offsets = np.zeros_like(rest)
        offsets[d["idx"][at]] = d["val"][at] / float(d["scale"])
        shapes[str(name)] = offsets
    return rest, shapes, d["f"]


@pytest.fixture(scope="module")
def mouth(ict):
    """(pairs, up axis, sign) of its lips, found."""
    found = closure.find_lip_pairs(ict[0], ict[1]["jawOpen"])
    assert found is not None
    return found


@pytest.fixture(scope="module")
def mapped(ict, mouth):
    """(rows, source -> offsets, lip model) of the head."""
    shapes = ict[1]
    rows = mapping.auto_map(list(shapes)).rows
    offsets: dict[str, np.ndarray] = {}
    for row in rows:
        offsets[row.source] = offsets.get(row.source, 0) + row.gain * shapes[row.target.name]
    return rows, offsets, closure.lip_model(*mouth, offsets)


def skin(faces, count):
    """Vertices of the largest connected part: no teeth, no eyes."""
    label = np.arange(count)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    while True:
        low = np.minimum(label[edges[:, 0]], label[edges[:, 1]])
        before = label.copy()
        for side in (0, 1):
            np.minimum.at(label, edges[:, side], low)
        label = label[label]
        if np.array_equal(label, before):
            return label == np.bincount(label).argmax()


@pytest.fixture(scope="module")
def curtain(ict):
    """channels -> opening of the lips in mm against rest, [t], seen from the front."""
    rest, shapes, faces = ict
    jaw = np.linalg.norm(shapes["jawOpen"], axis=1)
    front = rest[:, 2] > rest[:, 2].max() - 2.2
    centre = skin(faces, len(rest)) & front & (np.abs(rest[:, 0]) < 0.7)
    lip_y = -3.33  # read off the model: where the lips meet
    upper = np.flatnonzero(centre & (jaw < 0.15 * jaw.max()) & (np.abs(rest[:, 1] - lip_y) < 0.8))
    lower = np.flatnonzero(centre & (jaw > 0.35 * jaw.max()) & (np.abs(rest[:, 1] - lip_y) < 0.8))
    assert len(upper) > 30 and len(lower) > 30
    strips = np.linspace(-0.7, 0.7, 6)

    def of(values):
        def height(rows):
            y = np.tile(rest[rows, 1], (len(next(iter(values.values()))), 1))
            for target, weight in values.items():
                y += np.clip(weight, 0, 1)[:, None] * shapes[target.name][rows, 1]
            return y

        up, low = height(upper), height(lower)
        gaps = []
        for a, b in itertools.pairwise(strips):
            over, under = ((rest[r, 0] >= a) & (rest[r, 0] < b) for r in (upper, lower))
            gaps.append(up[:, over].min(1) - low[:, under].max(1))
        return 10 * np.mean(gaps, 0)

    return of


@pytest.fixture(scope="module")
def scores(mapped, mouth, curtain):
    """Figures of the lip-sync measure: default head, character, and a character without a mouthClose key, with its
    lips corrected and with plainly copied weights."""
    from engine.audio.read import read_audio
    from engine.head.library import load_head
    from engine.measure.lipsync import closed_of_gap, read_manifest
    from engine.measure.lipsync_score import score_tracks
    from engine.motion.perform import perform
    from engine.train.evaluate import mesh_track, speech_only

    rows, offsets, model = mapped
    bare_model = closure.lip_model(*mouth, {k: v for k, v in offsets.items() if k != "mouthClose"})
    zero = curtain({t: np.zeros(1) for t in mapping.apply(rows, {n: np.zeros(1) for n in ARKIT})})[0]
    head, tracks = load_head(), {"default": [], "character": [], "bare": [], "bare, copied": []}
    for reference in read_manifest(SHARED / "speech_dev")[CLIPS]:
        take = perform(read_audio(reference.file), speech_only(), 60, 1, "direct", head)
        own = mesh_track(head, take)
        tracks["default"].append((reference, own))
        weights = {**dict(zip(ARKIT, take.arkit.T, strict=True)), **dict(zip(EXTRA, take.extra.T, strict=True))}
        served = set(mapping.sources(rows))
        heard = {name: value for name, value in weights.items() if name in served}
        shut, _, voice = take.drive["contact"].T
        without = {name: value for name, value in heard.items() if name != "mouthClose"}
        for name, channels in (
            ("character", closure.seal(heard, shut, model, voice)),
            ("bare", closure.seal(without, shut, bare_model, voice)),
            ("bare, copied", without),
        ):
            gap = curtain(mapping.apply(rows, channels)) - zero
            closed = closed_of_gap(gap)
            tracks[name].append((reference, dataclasses.replace(own, opening=gap, closed=closed)))
    return {name: score_tracks(pairs) for name, pairs in tracks.items()}


def test_closure_is_within_three_points_of_the_default_head(scores):
    ours, theirs = scores["character"], scores["default"]
    assert theirs["events"] >= 20
    assert ours["closure"] >= theirs["closure"] - 0.03, (ours["closure"], theirs["closure"])


def test_lips_do_not_shut_where_the_default_head_keeps_them_open(scores):
    assert scores["character"]["false_closure"] <= scores["default"]["false_closure"] + 0.03
    assert scores["character"]["correlation"] > 0.6


def test_the_correction_is_needed(scores):
    """A head without mouthClose: copied weights miss closures, corrected ones do not."""
    assert scores["bare, copied"]["closure"] < scores["default"]["closure"] - 0.1
    assert scores["bare"]["closure"] >= scores["default"]["closure"] - 0.03


def test_held_lips_do_not_pass_through_each_other(mapped, curtain):
    rows, _, model = mapped
    rng = np.random.default_rng(0)
    count = 300
    channels = {n: rng.random(count) * 0.5 for n in mapping.sources(rows) if n.startswith(("mouth", "jaw"))}
    channels["mouthClose"] = channels["jawOpen"] * rng.random(count)
    out = closure.seal(channels, np.ones(count), model)
    middle = np.median(model.gap(out), 1)
    assert middle.max() <= closure.SEALED + 1e-9
    channels["mouthClose"][:] = 0.0  # nothing here presses lips into each other but the correction itself
    crossed = np.median(model.gap(closure.seal(channels, np.ones(count), model)), 1)
    assert crossed.min() > -closure.PASS - 1e-6
