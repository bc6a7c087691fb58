"""The job that gives a mesh its shapes: the default head as a bare OBJ in Blender's axes and cm gets its own back."""

import numpy as np
import pytest

from engine.core.errors import BadInput
from engine.core.units import to_blender
from engine.head.library import load_head
from engine.serve.jobs import JOBS

MARKS = ("outer_eye_right", "outer_eye_left", "nose_tip", "mouth_right", "mouth_left", "menton")


def write_obj(path, points, faces):
    rows = [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in points]
    rows += ["f " + " ".join(str(i + 1) for i in face if i >= 0) for face in faces]
    path.write_text("\n".join(rows) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    head = load_head()
    path = tmp_path_factory.mktemp("transfer") / "bare.obj"
    points = {mark: int(np.atleast_1d(head.landmarks[mark])[0]) for mark in MARKS}
    request = {
        "target": write_obj(path, 100 * to_blender(head.template), head.faces), "points": points, "metres": 0.01,
        "up": "z", "out": str(path.with_name("made.npz")),
    }  # fmt: skip
    return JOBS["transfer"](request), head


def test_shapes_come_in_the_meshs_order_and_the_engines_axes(answer):
    result, head = answer
    shapes = result["arrays"]["shapes"]
    assert shapes.shape == (len(result["shape_names"]), len(head.template), 3)
    for name in ("jawOpen", "mouthSmileLeft", "browInnerUp"):
        ours, truth = shapes[result["shape_names"].index(name)], head.shapes[head.shape_index[name]]
        length = np.linalg.norm(truth, axis=1)
        moved = head.parts["skin"][length[head.parts["skin"]] > 0.1 * length.max()]
        error = np.linalg.norm(ours - truth, axis=1)[moved].mean() / length[moved].mean()
        assert error < 0.1, (name, error)


def test_figures_and_the_head_file_are_there(answer):
    from engine.head.files import read_head

    result, head = answer
    assert result["error_mm"]["mean"] < 0.5 and result["seconds"] > 0
    made = read_head(result["head"])
    assert made.shape_names == tuple(result["shape_names"]) and len(made.template) == len(head.template)


@pytest.mark.parametrize(
    "request_, words",
    [
        ({}, "lacks 'target'"),
        ({"target": "x.glb", "points": {}}, "must be an .obj"),
        ({"target": "x.obj"}, "'points' must map"),
        ({"target": "x.obj", "points": {}, "metres": "big"}, "'metres' must be a number"),
        ({"target": "x.obj", "points": {}, "up": "w"}, "up axis"),
    ],
)
def test_bad_requests_are_refused_with_a_sentence(request_, words):
    with pytest.raises(BadInput, match=words):
        JOBS["transfer"](request_)
