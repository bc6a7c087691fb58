"""Heads that people bring: vertices keep their order, shapes get ARKit's names, bad files get a sentence."""

import json

import numpy as np
import pytest
from head_tools import DATA
from test_cli import soliloquy

from engine.core.errors import BadFile, BadInput
from engine.core.names import ARKIT
from engine.core.progress import Reporter
from engine.head.files import read_head
from engine.head.importers import Options, import_head
from engine.head.importers.naming import standard_name, standard_shapes
from engine.head.importers.obj import Mesh, read_obj, read_vertices
from engine.head.importers.shapes import ICT_FACE68, assemble, is_ict

QUAD = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 2 0.5\n"
M = Options(metres=1.0)


def written(folder, text, name="mesh.obj"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_quads_order_groups_and_texture_coordinates_are_kept(tmp_path):
    text = QUAD + "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\ng plate\nf 1/1 2/2 3/3 4/4\ng flap\nf -3 -2 -1\n"
    mesh = read_obj(written(tmp_path, text))
    assert mesh.faces.tolist() == [[0, 1, 2, 3], [2, 3, 4, -1]]
    assert mesh.uv_faces.tolist()[0] == [0, 1, 2, 3] and mesh.uv_faces[1].tolist() == [-1] * 4
    head = import_head(written(tmp_path, text), options=M)
    assert head.parts["flap"].tolist() == [2, 3, 4] and head.template.shape == (5, 3)
    assert np.array_equal(read_vertices(written(tmp_path, text)), mesh.vertices)


def test_polygons_are_cut_and_odd_lines_are_read(tmp_path):
    text = (
        "# made by hand\r\n"
        + QUAD.replace("\n", "\r\n")
        + "v 2 0 0 0.5 0.5 0.5\r\ns off\r\nf 1 2 6 3 4//1\r\nl 1 2\r\n"
    )
    mesh = read_obj(written(tmp_path, text))
    assert mesh.faces.tolist() == [[0, 1, 5, 2], [0, 2, 3, -1]]
    assert mesh.vertices[5].tolist() == [2, 0, 0]


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "no vertices"),
        (QUAD, "no faces"),
        (QUAD + "f 1 2 9\n", "beyond its 5"),
        (QUAD + "f 1 2 x\n", "no number"),
        (QUAD + "f -9 1 2\n", "before the first"),
        (QUAD + "v 1 nan 0\nf 1 2 3\n", "not finite"),
        (QUAD + "v 1 two 0\nf 1 2 3\n", "not 3 numbers"),
        (QUAD + "v 1 2\nf 1 2 3\n", "not 3 numbers"),
    ],
)
def test_damaged_files_get_a_sentence(tmp_path, text, says):
    with pytest.raises(BadFile, match=says):
        read_obj(written(tmp_path, text))


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("mouthSmile_L", "mouthSmileLeft"),
        ("MouthSmile.R", "mouthSmileRight"),
        ("MOUTHSMILELEFT", "mouthSmileLeft"),
        ("!ex-mouthSmileLeft", "mouthSmileLeft"),
        ("blendShape1.jawOpen", "jawOpen"),
        ("jaw_open", "jawOpen"),
        ("browInnerUp_L", "browInnerUp"),
        ("cheekPuffRight", "cheekPuff"),
        ("mouthLeft", "mouthLeft"),
        ("tongueTipUp", "tongueTipUp"),
        ("browMedialDown_R", "browMedialDown_R"),
        ("PupilDilate_L", None),
        ("L", None),
    ],
)
def test_names_of_other_programs(name, wanted):
    assert standard_name(name) == wanted


def test_every_arkit_name_survives_each_spelling():
    for name in ARKIT:
        short = name.replace("Left", "_L").replace("Right", "_R") if name not in ("mouthLeft", "jawLeft") else name
        short = name if name in ("mouthRight", "jawRight") else short
        assert standard_name(name) == standard_name(name.upper()) == standard_name(short) == name


def test_halves_are_added_up_and_strangers_kept():
    half = np.ones((4, 3))
    names, shapes = standard_shapes({"browInnerUp_L": half, "browInnerUp_R": 2 * half, "odd": half, "jawOpen": half})
    assert names == ("jawOpen", "browInnerUp", "odd")
    assert np.array_equal(shapes[1], 3 * half)


@pytest.mark.parametrize("size, unit", [(0.3, 1.0), (3.0, 0.1), (17.0, 0.1), (33.0, 0.01), (330.0, 0.001)])
def test_the_unit_is_guessed_from_the_size_and_said(tmp_path, size, unit):
    said = []
    path = written(tmp_path, f"v 0 0 0\nv {size / 2} 0 0\nv 0 {size} 0\nf 1 2 3\n")
    head = import_head(path, report=Reporter(warn=said.append))
    assert head.template[:, 1].max() == pytest.approx(size * unit)
    assert bool(said) == (unit != 1.0)
    with pytest.raises(BadInput, match="--metres"):
        import_head(written(tmp_path, "v 0 0 0\nv 1e-6 0 0\nv 0 1e-6 0\nf 1 2 3\n"))


def test_axes_of_blender(tmp_path):
    head = import_head(written(tmp_path, "v 0.1 -0.2 0.3\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"), options=Options(1.0, "z"))
    assert head.template[0] == pytest.approx([0.1, 0.3, 0.2])
    with pytest.raises(BadInput, match="up axis"):
        Options(up="x")
    with pytest.raises(BadInput, match="positive"):
        Options(metres=0.0)


def test_other_formats_keep_the_vertices_in_order(tmp_path):
    import trimesh

    ball = trimesh.creation.icosphere(2)
    for suffix in ("ply", "glb", "off"):
        ball.export(tmp_path / f"ball.{suffix}")
        head = import_head(tmp_path / f"ball.{suffix}", options=M)
        assert head.template == pytest.approx(np.asarray(ball.vertices), abs=1e-5)
        assert (head.faces[:, 3] == -1).all() and len(head.shape_names) == 0
    (tmp_path / "bad.ply").write_text("ply\nnonsense")
    with pytest.raises(BadFile, match=r"bad\.ply"):
        import_head(tmp_path / "bad.ply")


def shapes_folder(folder):
    folder.mkdir()
    rng = np.random.default_rng(0)
    rest = rng.normal(size=(5, 3)).round(3)
    moved = {name: rng.normal(size=(5, 3)).round(3) for name in ("jawOpen", "cheekPuff_L", "cheekPuff_R", "Odd_One")}
    lines = {"generic_neutral_mesh": rest, **{n: rest + d for n, d in moved.items()}, "identity000": 2 * rest}
    for name, points in lines.items():
        rows = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in points)
        written(folder, rows + "f 1 2 3 4\nf 3 4 5\n", f"{name}.obj")
    return rest, moved


def test_a_folder_of_shapes(tmp_path):
    rest, moved = shapes_folder(tmp_path / "face")
    steps = []
    head = import_head(tmp_path / "face", options=Options(metres=0.01), report=Reporter(lambda *a: steps.append(a)))
    assert head.name == "face" and head.shape_names == ("jawOpen", "cheekPuff", "Odd_One") and len(steps) == 5
    assert head.template == pytest.approx(0.01 * rest, abs=1e-6)
    both = moved["cheekPuff_L"] + moved["cheekPuff_R"]
    assert head.shapes[1] == pytest.approx(0.01 * both, abs=1e-6)
    assert head.identity[..., 0] == pytest.approx(0.01 * rest, abs=1e-6)


def test_a_folder_that_does_not_agree_is_refused(tmp_path):
    shapes_folder(tmp_path / "face")
    written(tmp_path / "face", QUAD + "v 1 1 1\nf 1 2 3\n", "jawOpen.obj")
    with pytest.raises(BadFile, match="6 vertices, the neutral mesh 5"):
        import_head(tmp_path / "face", options=M)
    (tmp_path / "face" / "generic_neutral_mesh.obj").unlink()
    with pytest.raises(BadFile, match="no head that can be read"):
        import_head(tmp_path / "face", options=M)
    with pytest.raises(BadFile, match="no neutral mesh"):
        import_head(tmp_path / "face", "shapes", M)


def test_unknown_things_are_named(tmp_path):
    with pytest.raises(BadFile, match="no such file"):
        import_head(tmp_path / "none.obj")
    with pytest.raises(BadInput, match="no importer called 'maya'"):
        import_head(tmp_path, "maya")
    with pytest.raises(BadFile, match="no head that can be read"):
        import_head(written(tmp_path, "hello", "notes.txt"))


def test_eyes_by_group_get_their_joints(tmp_path):
    ring = "".join(f"v {x} {y} {z}\n" for x in (0.02, 0.04) for y in (0, 0.02) for z in (0, 0.02))
    text = "v 0 0 0\nv 0.1 0 0\nv 0 0.3 0\nf 1 2 3\n" + ring + "g eye_left\nf 4 5 7 6\nf 8 9 11 10\n"
    head = import_head(written(tmp_path, text), options=M)
    assert head.joint_regressor[3] @ head.template == pytest.approx([0.03, 0.01, 0.01], abs=1e-5)
    assert head.weights[3:, 3].tolist() == [1] * 8 and head.weights[:3, 1].tolist() == [1] * 3


@pytest.mark.data
def test_ict_is_recognised():
    path = DATA / "heads" / "ict_slim.npz"
    if not path.is_file():
        pytest.skip("needs ../shared/data/heads/ict_slim.npz")
    data = np.load(path, allow_pickle=False)
    assert is_ict(data["v"]) and not is_ict(data["v"][::-1]) and not is_ict(data["v"][:100])
    k = data["names"].tolist().index("jawOpen")
    rows = slice(data["off"][k], data["off"][k + 1])
    opened = np.zeros_like(data["v"], np.float64)
    opened[data["idx"][rows]] = data["val"][rows] / float(data["scale"])
    none = np.full((len(data["f"]), 4), -1, np.int32)
    mesh = Mesh(data["v"].astype(float), data["f"].astype(np.int32), np.zeros((0, 2)), none, np.zeros(len(none), int))
    head = assemble(mesh, {"jawOpen": opened}, [], 0.01, Options(), path)
    chin = ICT_FACE68[8]
    assert head.landmarks["menton"].tolist() == [chin] and len(head.lip_pairs) == 3
    assert head.shapes[0, chin, 1] == pytest.approx(-0.0282, abs=0.0005)  # its own chin drop, metres
    assert (head.joint_regressor @ head.template)[3, 0] == pytest.approx(0.031, abs=0.001)
    assert head.licence.startswith("MIT")


def test_the_command(tmp_path):
    shapes_folder(tmp_path / "face")
    out = tmp_path / "face.npz"
    printed, _ = soliloquy("head", "import", tmp_path / "face", "--out", out, "--metres", 0.01, "--json")
    result = json.loads(printed)
    assert result["arkit"] == 2 and "mouthPucker" in result["missing"] and len(result["missing"]) == 50
    assert read_head(out).shape_names == ("jawOpen", "cheekPuff", "Odd_One")
    _, said = soliloquy("head", "import", tmp_path / "none.obj", "--out", out, rc=1)
    assert said.strip().endswith("no such file or folder") and said.strip().count("\n") == 0
