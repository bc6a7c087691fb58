"""Live preview in the engine: the shared block, the newest update wins, bad requests, and the bytes of a picture."""

import json
import os
import time

import numpy as np
import pytest
from test_serve_process import LAST, Process

from engine.avatar.channels import column
from engine.core.errors import BadInput
from engine.core.names import AU_INDEX, EMOTION_INDEX
from engine.serve.live import ALIGN, View, layout
from engine.serve.pixels import pack_srgb8, pack_srgb8_reference

EYE = np.eye(4).reshape(-1).tolist()
CAMERA = {"view": EYE, "fx": 10.0, "fy": 10.0, "cx": 3.0, "cy": 2.0, "orthographic": False}
VERTICES = 12 * 12


class Painter:
    gaussians = 1

    def __init__(self, specs):
        self.counts, self.specs, self.notes = [12], specs, []
        self.poses, self.faces = 0, []

    def pose(self, vertices, objects, faces=None):
        self.poses += 1
        self.faces.append(faces[0])

    def draw(self, camera, planes, leave_a_core=False):
        from engine.core.splats import Frame

        h, w = camera.height, camera.width
        ramp = np.arange(h * w, dtype=np.float32).reshape(h, w)
        rgba = np.dstack([ramp / (h * w)] * 3 + [np.ones_like(ramp)])
        return Frame(rgba, ramp, np.dstack([ramp, 2 * ramp, 3 * ramp]))


@pytest.fixture
def block(tmp_path):
    path = tmp_path / "block"
    path.write_bytes(bytes(1 << 16))
    return {"path": str(path), "size": 1 << 16, "slots": [[VERTICES * 4, 16384], [VERTICES * 4 + 16384, 16384]]}


def opened(block, names=None, **changes):
    head = {"head": "default", "avatar": "default", "offset": 0, "count": 12, **changes}
    return View([head], block, Painter, names)


def update(**changes):
    return {"id": "v", "seq": 1, "slot": 0, "size": [6, 4], "camera": CAMERA, "objects": [EYE], **changes}


def plane(block, done, name, dtype, channels):
    w, h = done["size"]
    return np.fromfile(block["path"], dtype, w * h * channels, offset=done["planes"][name]).reshape(h, w, channels)


def test_float_planes_are_bottom_row_first_in_blenders_axes(block):
    done = opened(block).paint(update(format="float32", planes=["rgba", "depth", "normal"]))
    ramp = np.arange(24, dtype=np.float32).reshape(4, 6)[::-1]
    assert np.array_equal(plane(block, done, "rgba", np.float32, 4)[..., 0], ramp / 24)
    assert np.array_equal(plane(block, done, "depth", np.float32, 1)[..., 0], ramp)
    assert np.array_equal(plane(block, done, "normal", np.float32, 3), np.dstack([ramp, -3 * ramp, 2 * ramp]))


def test_eight_bits_are_display_values(block):
    done = opened(block).paint(update(format="srgb8", planes=["rgba", "depth"]))
    half = plane(block, done, "rgba", np.uint8, 4)[1, 0]  # linear 12 / 24 from the third row from the top
    assert half.tolist() == [188, 188, 188, 255]


def test_a_camera_that_moved_alone_does_not_pose_again(block):
    view = opened(block)
    for message in (update(), update(fresh=False), update(fresh=False, camera={**CAMERA, "cx": 1})):
        view.paint(message)
    assert view.painter.poses == 1
    moved = [*EYE]
    moved[3] = 1.0
    view.paint(update(fresh=False, objects=[moved]))
    assert view.painter.poses == 2, "the object moved"


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"size": [0, 4]}, "outside 1"),
        ({"size": [9000, 4]}, "outside 1"),
        ({"size": [6]}, "list of 2"),
        ({"size": [6.5, 4]}, "whole number"),
        ({"size": [100, 100]}, "more than slot"),
        ({"slot": 2}, "more than slot"),
        ({"slot": -1}, "more than slot"),
        ({"objects": []}, "list of 1"),
        ({"objects": [[1, 2, 3]]}, "list of 16"),
        ({"objects": [["a"] * 16]}, "finite"),
        ({"camera": {**CAMERA, "fx": 0}}, "other than zero"),
        ({"camera": {**CAMERA, "fx": "wide"}}, "finite fx"),
        ({"camera": {"fx": 1, "fy": 1, "cx": 1, "cy": 1}}, "list of 16"),
        ({"planes": ["rgba", "beauty"]}, "planes must be"),
        ({"planes": "rgba"}, "must be a list"),
        ({"format": "jpeg"}, "format must be"),
    ],
)
def test_updates_that_cannot_be_drawn(block, changes, words):
    with pytest.raises(BadInput, match=words):
        opened(block).paint(update(**changes))


@pytest.mark.parametrize(
    "memory, head, words",
    [
        ({"path": "block"}, {}, "no file"),
        ({"path": "/no/such/file"}, {}, "no file"),
        ({"size": 5}, {}, "description says 5"),
        ({"slots": [[0, 1 << 20]]}, {}, "does not hold"),
        ({"slots": [[2, 64]]}, {}, "does not hold"),
        ({"slots": 3}, {}, "must be a list"),
        ({}, {"count": 13}, "13 vertices"),
        ({}, {"offset": 1 << 16}, "does not hold"),
        ({}, {"offset": -4}, "whole number"),
        ({}, {"head": 5}, "must be names"),
    ],
)
def test_blocks_that_cannot_be_used(block, memory, head, words):
    with pytest.raises(BadInput, match=words):
        opened({**block, **memory}, **head)


def test_values_come_by_the_names_that_were_agreed(block):
    names = ["jawOpen", "not a value", "AU12_R", "happy", "intensity", "tongueTipUp"]
    view = opened(block, names, values=12 * 12, appearance="net.safetensors")
    assert view.painter.specs[0]["told"] and view.painter.specs[0]["appearance"] == "net.safetensors"
    with open(block["path"], "r+b") as file:
        file.seek(12 * 12)
        file.write(np.float32([0.25, 7.0, 0.5, 0.75, 0.9, np.nan]).tobytes())
    view.paint(update())
    face = view.painter.faces[-1]
    assert face.weights[column("jawOpen")] == 0.25 and np.count_nonzero(face.weights) == 1
    assert face.au[AU_INDEX["AU12"], 1] == 0.5 and np.count_nonzero(face.au) == 1
    assert face.emotion[EMOTION_INDEX["happy"]] == 0.75 and face.intensity == np.float32(0.9)


def test_values_that_are_not_known(block):
    view = opened(block, ["jawOpen", "AU12_R", "happy"], values=12 * 12)
    with open(block["path"], "r+b") as file:
        file.seek(12 * 12)
        file.write(np.float32([np.nan, np.inf, np.nan]).tobytes())
    view.paint(update())
    face = view.painter.faces[-1]
    assert face.weights is None and face.au is None and face.emotion is None and face.intensity == 1.0
    older = opened(block)
    older.paint(update())
    assert older.painter.faces == [None] and not older.painter.specs[0]["told"], "a client that says nothing"
    assert not opened(block, ["jawOpen"]).painter.specs[0]["told"], "nor of this head"


@pytest.mark.parametrize(
    "names, changes, words",
    [
        ("jawOpen", {}, "must be a list"),
        ([1, 2], {}, "list of names"),
        (["jawOpen"], {"values": -4}, "whole number"),
        (["jawOpen"], {"values": 3}, "does not hold"),
        (["jawOpen"], {"values": 1 << 16}, "does not hold"),
        (["jawOpen"], {"appearance": 3}, "appearance a file"),
    ],
)
def test_values_that_cannot_be_read(block, names, changes, words):
    with pytest.raises(BadInput, match=words):
        opened(block, names, **changes)


def test_the_layout_is_aligned_and_complete():
    offsets, end = layout(["rgba", "depth", "normal"], "float32", 5, 3)
    assert offsets == {"rgba": 0, "depth": 256, "normal": 320} and end == 512
    assert all(o % ALIGN == 0 for o in layout(["rgba", "depth"], "srgb8", 7, 3)[0].values())


def test_packing_agrees_with_its_plain_twin():
    rng = np.random.default_rng(0)
    rgba = rng.random((40, 50, 4)).astype(np.float32) ** 3  # dark values, where display steps are finest
    rgba[0, 0] = np.nan
    rgba[0, 1] = [2.0, -1.0, 0.5, 3.0]
    fast, plain = (np.zeros(rgba.shape, np.uint8) for _ in range(2))
    pack_srgb8(rgba, fast)
    pack_srgb8_reference(rgba, plain)
    apart = np.abs(fast.astype(int) - plain)[rgba[::-1, :, 3] > 0]
    # The table's step is at most 0.2 of a level, so rounding may differ by one level, and rarely.
    assert apart.max() <= 1 and (apart > 0).mean() < 0.05
    assert fast[-1, 0].tolist() == [0, 0, 0, 0] and fast[-1, 1].tolist() == [255, 0, 188, 255]
    with pytest.raises(ValueError, match="pack_srgb8"):
        pack_srgb8(rgba.astype(np.float64), fast)


@pytest.fixture
def engine(tmp_path):
    process = Process(tmp_path / "log")
    yield process
    process.end()


def open_in(engine, block, colour):
    np.memmap(block["path"], np.float32, "r+", shape=3)[:] = colour
    head = {"head": "default", "avatar": "default", "offset": 0, "count": 12}
    engine.say("open", id="v", heads=[head], memory=block)
    assert engine.next("opened", "error")["kind"] == "opened"


def test_a_process_draws_into_the_block_and_closes(engine, block):
    open_in(engine, block, [0.0, 0.5, 1.0])
    engine.say("update", **update(planes=["rgba"], format="float32"))
    done = engine.next("done")
    assert done["seq"] == 1 and plane(block, done, "rgba", np.float32, 4)[0, 0].tolist() == [0, 0.5, 1, 1]
    engine.say("update", **update(seq=2, size=[9999, 1]))
    fault = engine.next("fault")
    assert fault["seq"] == 2 and "9999" in fault["message"]
    engine.say("update", **update(seq=3))
    assert engine.next("done")["seq"] == 3, "a fault ends a picture, not the preview"
    engine.say("close", id="v")
    assert engine.next(*LAST) == {"v": 1, "kind": "result", "id": "v", "result": {}}
    assert os.path.exists(block["path"]), "the owner removes the block"


def test_what_a_client_that_says_nothing_misses_is_said_once(engine, block):
    open_in(engine, block, [0, 0, 0])
    for seq in (1, 2):
        engine.say("update", **update(seq=seq))
        engine.next("done")
    said = [m for m in engine.seen if m["kind"] == "warning"]
    assert [m["id"] for m in said] == ["v"] and "not told" in said[0]["message"]


def test_the_newest_update_wins(engine, block):
    open_in(engine, block, [0, 0, 0])
    lines = [{"v": 1, "kind": "update", **update(seq=i, size=[32, 32])} for i in range(1, 101)]
    engine.raw(b"".join(json.dumps(m).encode() + b"\n" for m in lines))
    drawn = [engine.next("done")["seq"]]
    while drawn[-1] != 100:
        drawn.append(engine.next("done")["seq"])
    assert drawn == sorted(drawn) and len(drawn) < 100


def test_pictures_are_drawn_while_a_job_works(engine, block):
    open_in(engine, block, [0, 0, 0])
    engine.say("start", id="j", job="count", request={"steps": 10000})
    engine.next("progress")
    for seq in range(1, 6):
        began = time.monotonic()
        engine.say("update", **update(seq=seq))
        assert engine.next("done")["seq"] == seq
        assert time.monotonic() - began < 0.5
    engine.say("cancel", id="j")
    assert engine.next(*LAST)["kind"] == "cancelled"


def test_updates_of_a_preview_that_is_not_open_are_ignored(engine, block):
    engine.say("update", **update())
    engine.say("close", id="v")
    assert engine.job("count", {"steps": 1})["kind"] == "result"
    assert {m["kind"] for m in engine.seen} == {"progress", "result"} and len(engine.seen) == 2
