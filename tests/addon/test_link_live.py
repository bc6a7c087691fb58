"""The live view against a fake engine: what is sent when, what is shown when, and what happens at a death."""

import array
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from blender_addon.link.client import Engine
from blender_addon.link.config import EngineError
from blender_addon.link.live import HeadSpec, LiveView, Request, plane_bytes, slot_bytes
from blender_addon.link.shm import SharedBlock

FAKE = Path(__file__).resolve().parents[1] / "fakes" / "fake_engine.py"
HEADS = (HeadSpec("default", "default", 12),)
EYE = tuple(float(i % 5 == 0) for i in range(16))
CAMERA = {"view": list(EYE), "fx": 1.0, "fy": 1.0, "cx": 0.0, "cy": 0.0, "orthographic": False}
REQUEST = Request((6, 4), CAMERA, (EYE,))


class Mesh:
    """Twelve vertices whose first one is the colour that the fake engine paints."""

    def __init__(self):
        self.colour, self.writes = (0.2, 0.4, 0.6), 0

    def write(self, views):
        self.writes += 1
        views[0][0:3] = array.array("f", self.colour)


@pytest.fixture
def make(tmp_path):
    engines = []

    def make(mode="good", **options):
        engine = Engine([sys.executable, str(FAKE), mode], log_dir=tmp_path, version="0.1.0")
        engines.append(engine)
        return LiveView(engine, **options)

    yield make
    for engine in engines:
        engine.kill()


def settle(view, mesh, request=REQUEST, changed=False, seconds=5.0):
    """Redraw as Blender would: once, then whenever `poll` says that something is new."""
    view.show(HEADS, request, mesh.write, changed)
    end = time.monotonic() + seconds
    while time.monotonic() < end and (view.picture is None or view.picture.request != request or view.waiting):
        if view.poll():
            view.show(HEADS, request, mesh.write, False)
        time.sleep(0.002)
    return view.picture


def colour(picture):
    return tuple(picture.planes["rgba"][:4])


def test_the_first_picture_then_only_what_changed(make):
    view, mesh = make(), Mesh()
    assert colour(settle(view, mesh)) == (51, 102, 153, 255)
    seq = view.picture.seq
    view.show(HEADS, REQUEST, mesh.write, False)
    assert (view.picture.seq, mesh.writes) == (seq, 1), "an unchanged view costs no request"
    mesh.colour = (1.0, 0.0, 0.0)
    assert colour(view.show(HEADS, REQUEST, mesh.write, True)) == (255, 0, 0, 255), "within the budget: not late"
    moved = replace(REQUEST, camera={**CAMERA, "cx": 1.0})
    assert view.show(HEADS, moved, mesh.write, False).request == moved
    assert mesh.writes == 2, "a view that moved alone sends no vertices"


def values(*numbers):
    return (array.array("f", numbers).tobytes(),)


def sent_values(view):
    """What lies in the block behind the vertices of the one head."""
    start = -(-12 * 12 // 64) * 64
    return view._block.memory[start : start + 8].cast("f").tolist()


def test_values_that_changed_are_sent_without_the_mesh(make):
    view, mesh = make(names=("jawOpen", "happy")), Mesh()
    request = replace(REQUEST, values=values(0.25, 0.5))
    settle(view, mesh, request)
    assert sent_values(view) == [0.25, 0.5] and not view.notes
    seq = view.picture.seq
    view.show(HEADS, request, mesh.write, False)
    assert (view.picture.seq, mesh.writes) == (seq, 1), "nothing changed"
    assert settle(view, mesh, replace(REQUEST, values=values(0.75, 0.5))).seq > seq
    assert sent_values(view) == [0.75, 0.5] and mesh.writes == 1


def test_what_the_engine_notes_is_kept_for_who_shows_it(make):
    view, mesh = make("older", names=("jawOpen",)), Mesh()
    settle(view, mesh, replace(REQUEST, values=values(0.5)))
    assert len(view.notes) == 1 and "older than the add-on" in view.notes[0]
    plain, other = make("older"), Mesh()
    settle(plain, other)
    assert plain.notes == [], "nobody wanted values"
    wearing, third = make(names=("jawOpen",)), Mesh()
    heads = (replace(HEADS[0], appearance="net.safetensors"),)
    wearing.render(heads, replace(REQUEST, values=values(1.0)), third.write, lambda: False)
    wearing.poll()
    assert wearing.notes == ["this net is a fake"]


def test_the_planes_have_their_sizes(make):
    view, mesh = make(), Mesh()
    request = replace(REQUEST, format="float32", planes=("rgba", "depth", "normal"))
    picture = settle(view, mesh, request)
    assert {n: len(p) for n, p in picture.planes.items()} == {"rgba": 6 * 4 * 16, "depth": 6 * 4 * 4, "normal": 288}
    assert picture.planes["depth"].cast("f")[0] == 2.0
    assert plane_bytes(REQUEST, "rgba") == 96 and slot_bytes(REQUEST) == 256


def test_a_slow_engine_blocks_no_redraw_beyond_the_budget(make):
    view, mesh = make("slow"), Mesh()  # 50 ms a picture
    settle(view, mesh)
    longest, seen = 0.0, set()
    for i in range(60):
        mesh.colour = (i / 60, 0, 0)
        began = time.monotonic()
        seen.add(view.show(HEADS, REQUEST, mesh.write, True).seq)
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.005)
    assert longest < 0.1, "20 ms of budget; the rest is the scheduler of a busy machine"
    assert len(seen) > 2, "pictures went on arriving"
    last = settle(view, mesh)
    assert colour(last)[0] == int(mesh.colour[0] * 255), "it settles on the newest state"


def test_an_engine_that_was_slow_is_waited_for_again_when_it_is_quick(make):
    view, mesh = make(), Mesh()
    settle(view, mesh)
    view.round_trip_s = 0.5  # as after one slow picture
    mesh.colour = (1.0, 0.0, 0.0)
    late = view.show(HEADS, REQUEST, mesh.write, True)
    assert colour(late) == (51, 102, 153, 255), "not waited for"
    time.sleep(0.2)  # the answer lies in the pipe: what counts is what the engine needed
    view.poll()
    assert view.round_trip_s < view.budget_s
    mesh.colour = (0.0, 1.0, 0.0)
    assert colour(view.show(HEADS, REQUEST, mesh.write, True)) == (0, 255, 0, 255)


def test_a_larger_picture_gets_a_larger_block(make):
    view, mesh = make(), Mesh()
    settle(view, mesh)
    large = replace(REQUEST, size=(64, 48))
    assert len(settle(view, mesh, large).planes["rgba"]) == 64 * 48 * 4


def test_an_engine_that_dies_keeps_the_last_picture_and_comes_back(make):
    view, mesh = make("dies"), Mesh()  # dies at its second picture
    first = settle(view, mesh)
    mesh.colour = (0.0, 1.0, 0.0)
    kept = view.show(HEADS, REQUEST, mesh.write, True)
    view.engine.wait(2, lambda: bool(view.error))
    assert kept is first and colour(view.picture) == (51, 102, 153, 255) and "stopped unexpectedly" in view.error
    generation = view.engine.generation
    view.engine.command[-1] = "good"
    end = time.monotonic() + 5
    while time.monotonic() < end and colour(view.picture) != (0, 255, 0, 255):
        if view.poll():
            view.show(HEADS, REQUEST, mesh.write, False)
        time.sleep(0.005)
    assert colour(view.picture) == (0, 255, 0, 255) and view.error == ""
    assert view.engine.generation == generation + 1


def test_an_engine_that_is_stuck_is_ended(make):
    view, mesh = make("hang", stuck_s=0.3), Mesh()
    view.show(HEADS, REQUEST, mesh.write, True)
    end = time.monotonic() + 5
    while time.monotonic() < end and not view.error:
        view.poll()
        view.show(HEADS, REQUEST, mesh.write, False)
        time.sleep(0.01)
    assert "did not draw" in view.error


def test_a_head_that_does_not_fit_is_refused_once(make):
    view, mesh = make(), Mesh()
    wrong = (HeadSpec("default", "default", 13),)
    view.show(wrong, REQUEST, mesh.write, True)
    view.engine.wait(3, lambda: bool(view.error))
    assert "13 vertices" in view.error
    seq = view.engine.new_id()
    view.show(wrong, REQUEST, mesh.write, True)
    assert int(view.engine.new_id().split("-")[1]) == int(seq.split("-")[1]) + 1, "no second attempt"
    settle(view, mesh)
    assert view.error == "" and view.picture is not None


def test_a_net_written_anew_is_opened_again(make, tmp_path):
    """Training into the same file: the viewport's next look and the next final picture have the engine read it."""
    net = tmp_path / "net.safetensors"
    net.write_bytes(b"first")
    heads = (replace(HEADS[0], appearance=str(net)),)
    for slots in (2, 1):
        view, mesh, opened = make(slots=slots), Mesh(), []
        send = view.engine.send
        view.engine.send = lambda m, *to, send=send, opened=opened: (
            opened.append(m["heads"][0]) if m["kind"] == "open" else None, send(m, *to),
        )  # fmt: skip
        for length in (5, 5, 6 + slots):
            net.write_bytes(b"n" * length)
            os.utime(net, ns=(length, length))
            if slots == 1:
                request = replace(REQUEST, format="float32")
                assert view.render(heads, request, mesh.write, lambda: False) is not None
                continue
            if opened and length != 5:
                view._look_at = 0.0
                assert view.poll(), "a redraw is asked for"
            view.show(heads, REQUEST, mesh.write, False)
            view.engine.wait(3, lambda view=view: not view.opening)
        assert len(opened) == 2 and set(opened[0]) == {"head", "avatar", "offset", "count", "values", "appearance"}


def test_a_note_alone_asks_for_a_redraw(make):
    view, mesh = make(), Mesh()
    settle(view, mesh)
    assert not view.poll()
    pump = view.engine.pump
    view.engine.pump = lambda: (view.receive({"kind": "warning", "message": "something to say"}), pump())
    assert view.poll() and view.notes == ["something to say"]


def test_final_pictures_wait_and_fail_with_the_reason(make):
    view, mesh = make("dies", slots=1), Mesh()
    request = replace(REQUEST, format="float32")
    assert view.render(HEADS, request, mesh.write, lambda: False).planes["depth"].cast("f")[0] == 2.0
    with pytest.raises(EngineError, match="stopped unexpectedly"):
        view.render(HEADS, request, mesh.write, lambda: False)
    view.engine.command[-1] = "good"
    assert view.render(HEADS, request, mesh.write, lambda: False) is not None
    assert view.render(HEADS, request, mesh.write, lambda: True) is None


def test_an_answer_that_another_thread_takes_at_once_is_not_lost(make):
    """F12 draws in its own thread while a viewport's timer pumps: an answer may be taken before `send` returns."""
    view, mesh = make(), Mesh()
    send, kinds = view.engine.send, []

    def send_and_answer(message, receiver=None):
        send(message, receiver)
        kinds.append(message["kind"])
        if message["kind"] == "open":
            view.engine.wait(5, lambda: view._ready)
        elif message["kind"] == "update":
            view.engine.wait(5, lambda: view.picture is not None and view.picture.seq == message["seq"])

    view.engine.send = send_and_answer
    for number in (1, 2):
        picture = view.show(HEADS, REQUEST, mesh.write, True)
        assert picture is not None and picture.seq == number and not view.waiting
    assert kinds == ["open", "update", "update"]


def test_an_engine_that_refuses_a_request_leaves_no_memory(make, monkeypatch):
    view, mesh = make(), Mesh()
    settle(view, mesh)
    old = view._block
    made = []
    monkeypatch.setattr("blender_addon.link.live.SharedBlock", lambda size: made.append(SharedBlock(size)) or made[-1])
    view.engine.new_id = lambda: "x" * 70_000  # beyond the longest line
    view.show(HEADS, replace(REQUEST, size=(64, 48)), mesh.write, False)
    assert "too large" in view.error and not view.waiting
    assert not os.path.exists(made[0].path) and not os.path.exists(old.path)


def test_a_long_final_picture_is_no_stuck_engine(make):
    final, viewport, mesh = make("hang", slots=1, stuck_s=0.2), None, Mesh()
    viewport = LiveView(final.engine, stuck_s=0.2)
    end = time.monotonic() + 1.0
    drawn = []

    def meanwhile():
        if final.rendering:  # the viewport asks as well, and gets no answer either
            drawn.append(final.engine.busy)
            viewport.show(HEADS, REQUEST, mesh.write, False)
        return time.monotonic() > end

    assert final.render(HEADS, replace(REQUEST, format="float32"), mesh.write, meanwhile) is None
    assert len(drawn) > 2 and all(drawn) and final.engine.running and final.engine.generation == 1
    final.close()
    assert not final.engine.busy or viewport.opening


def test_no_file_is_left_behind(make):
    view, mesh = make(), Mesh()
    settle(view, mesh)
    path = view._block.path
    assert not os.path.exists(path), "the name goes as soon as the engine has mapped the block"
    view.close()
    settle(view, mesh)
    assert view.picture is not None, "a closed view can be used again"


def test_a_block_without_room_is_a_sentence():
    with pytest.raises(EngineError, match="no room"):
        SharedBlock(1 << 20, ["/no/such/folder"])


def test_a_block_goes_to_the_next_folder(tmp_path):
    block = SharedBlock(4096, ["/no/such/folder", str(tmp_path)])
    assert os.path.dirname(block.path) == str(tmp_path) and os.stat(block.path).st_mode & 0o777 == 0o600
    block.memory[10] = 7
    assert Path(block.path).read_bytes()[10] == 7
    block.close()
    assert not os.path.exists(block.path)
