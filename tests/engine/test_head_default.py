"""The default head against its source and its promises: shapes, symmetry, parts, masks, landmarks."""

import time

import numpy as np
import pytest
from head_tools import DATA, weights_of

from engine.core.names import ARKIT, EXTRA, JOINTS, PARENTS
from engine.core.units import MM
from engine.head import evaluate, hm08, identity
from engine.head.hairs import Surface, other_name
from engine.head.library import load_head

DM = 0.1


@pytest.fixture(scope="module")
def head():
    return load_head("default")


@pytest.fixture(scope="module")
def raw():
    data = hm08.locate()
    return hm08.read_base(data), hm08.read_shapes(data), data


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/heads/slim_mh.npz")
def test_reader_agrees_with_the_golden_head(raw):
    base, shapes, data = raw
    with np.load(DATA / "heads" / "slim_mh.npz") as golden:
        g = {name: golden[name] for name in golden.files}
    kept = base.vertices / DM
    groups = [
        n for n in base.groups if n == "body" or n.endswith(("-tongue", "-teeth")) or n[:8] in ("helper-l", "helper-r")
    ]
    rows = np.sort(np.concatenate([base.groups[name] for name in groups]))
    corner = kept[base.faces[rows]]
    rows = rows[(corner[..., 1] > 5.35).all(1) & (np.abs(corner[..., 0]) < 1.6).all(1)]
    vertices = np.unique(base.faces[rows])
    assert len(vertices) == len(g["v"]) and (np.searchsorted(vertices, base.faces[rows]) == g["f"]).all()
    targets = hm08.read_identity(data)
    mixed = base.vertices + sum(
        share / 3 * targets[f"{e}-{sex}-young"]
        for sex, share in (("female", 0.7), ("male", 0.3))
        for e in hm08.ETHNICITIES
    )
    assert np.abs(mixed[vertices] / DM - g["v"]).max() < 1e-5  # stored as float32 decimetres
    for k, name in enumerate(g["names"].tolist()):
        want = np.zeros((len(vertices), 3))
        span = slice(g["off"][k], g["off"][k + 1])
        want[g["idx"][span]] = g["val"][span] * 1e-4
        assert np.abs(shapes[name][vertices] / DM - want).max() < 6e-5, name  # stored in steps of 1e-4 dm
    assert np.abs(shapes["jawOpen"]).max() * MM == pytest.approx(34.3, abs=0.05)


def test_the_built_head_opens_its_jaw_as_the_source_does(head):
    moved = head.shapes[head.shape_index["jawOpen"]]
    assert np.abs(moved).max() * MM == pytest.approx(34.3, abs=0.5)
    chin = moved[head.landmarks["chin"][0]]
    assert -30 < chin[1] * MM < -22


def test_names_sizes_and_joints(head):
    assert head.shape_names == ARKIT + EXTRA
    assert head.parents == PARENTS and head.joint_regressor.shape == (len(JOINTS), len(head.template))
    assert len(head.landmarks["face68"]) == 68 and (head.landmarks["face68"] >= 0).all()
    assert head.expression_names == tuple(n for n in head.shape_names if n != "jawOpen")
    assert len(head.identity.T) == len(identity.NAMES)
    height = np.ptp(head.template[head.masks["skin"] > 0.5][:, 1])
    assert 0.3 < height < 0.5
    assert len(head.topology_sha256) == 64


def test_every_shape_moves_something_but_never_the_eyeballs_or_the_border(head):
    size = np.abs(head.shapes).max((1, 2)) * MM
    assert size.min() > 0.9, dict(zip(head.shape_names, size, strict=True))
    eyes = np.concatenate([head.parts["eye_left"], head.parts["eye_right"]])
    assert not head.shapes[:, eyes].any()
    assert not head.shapes[:, head.parts["cap"]].any()


def test_left_and_right_mirror_each_other(head):
    from scipy.spatial import cKDTree

    flip = np.array([-1, 1, 1], np.float32)
    skin = head.parts["skin"]
    gap, twin = cKDTree(head.template[skin]).query(head.template[skin] * flip)
    assert gap.max() * MM < 0.01
    for k, name in enumerate(head.shape_names):
        other = head.shapes[head.shape_index[other_name(name)]][skin]
        assert np.abs(head.shapes[k][skin] * flip - other[twin]).max() * MM < 0.01, name


def test_the_bust_has_one_closed_border_and_a_cap(head):
    """Every edge of the skin has two faces but those of one loop, and the cap's rim lies along that loop."""
    skin = set(head.parts["skin"].tolist())
    edges: dict[tuple[int, int], int] = {}
    for face in head.faces.tolist():
        ids = [v for v in face if v >= 0]
        if ids[0] in skin:
            for a, b in zip(ids, ids[1:] + ids[:1], strict=True):
                edges[min(a, b), max(a, b)] = edges.get((min(a, b), max(a, b)), 0) + 1
    assert max(edges.values()) == 2
    border = [edge for edge, count in edges.items() if count == 1]
    after: dict[int, list[int]] = {}
    for a, b in border:
        after.setdefault(a, []).append(b)
        after.setdefault(b, []).append(a)
    assert all(len(n) == 2 for n in after.values())
    seen, here = set(), border[0][0]
    while here is not None:
        seen.add(here)
        here = next((n for n in after[here] if n not in seen), None)
    assert seen == set(after)  # one loop, not several
    from scipy.spatial import cKDTree

    rim = head.template[sorted(after)]
    assert cKDTree(head.template[head.parts["cap"]]).query(rim)[0].max() * MM < 1.0


def test_faces_are_counter_clockwise_seen_from_outside(head):
    from engine.head.mesh import vertex_normals

    normals = vertex_normals(head.template.astype(float), head.faces)
    for name in ("eye_left", "eye_right", "tongue", "cap"):
        rows = head.parts[name]
        outward = head.template[rows] - head.template[rows].mean(0)
        assert ((normals[rows] * outward).sum(1) > 0).mean() > 0.7, name
    for name in ("teeth_upper", "teeth_lower"):
        rows = head.parts[name]
        points = head.template[head.triangles[np.isin(head.triangles, rows).all(1)]].astype(float)
        points -= head.template[rows].mean(0)
        # Teeth are closed but for their roots: all signed volumes add up to something positive.
        assert np.einsum("nc,nc->n", points[:, 0], np.cross(points[:, 1], points[:, 2])).sum() > 0, name
        gum = head.parts[name.replace("teeth", "gums")]
        labial = gum[len(gum) // 8 + len(gum) // 16]  # second row, middle column
        assert normals[labial, 2] > 0.3
    assert normals[head.landmarks["nose_tip"][0], 2] > 0.8
    brow = normals[head.parts["brow_left"]]
    assert (brow[:, 2] > 0).mean() > 0.95


def test_materials_and_colours(head):
    names = [m.name for m in head.materials]
    assert {"skin", "lips", "teeth", "tongue", "iris", "sclera", "brow"} <= set(names)
    assert np.isfinite(head.albedo).all() and head.albedo.min() >= 0 and head.albedo.max() <= 1
    red = head.albedo[:, 0] / head.albedo[:, 1]
    assert red[head.masks["lips"] > 0.9].mean() > 1.3 * red[head.masks["skin"] > 0.9].mean()
    used = {names[k] for k in np.unique(head.face_material)}
    assert used == set(names)


def test_masks_lie_where_they_say(head):
    lips, upper = head.masks["lips"], head.masks["upper_face"]
    brow, chin = head.landmarks["brow_inner_left"][0], head.landmarks["chin"][0]
    assert upper[brow] == 1 and upper[chin] == 0 and 0 < upper.mean() < 1
    y = head.template[:, 1]
    mouth = y[head.lip_pairs].mean()
    assert np.abs(y[lips > 0.5] - mouth).max() * MM < 16
    assert not (lips * head.masks["mouth_inside"]).any()
    for name in ("teeth_upper", "teeth_lower", "tongue", "eye_left", "eye_right", "brows"):
        assert head.masks[name].any() and (head.masks[name] * head.masks["skin"]).max() == 0, name


def test_face68_is_ordered_from_the_subjects_right(head):
    points = head.template[head.landmarks["face68"]]
    x, y = points[:, 0], points[:, 1]
    assert (np.diff(x[:17]) > 0).all() and y[8] < min(y[:17]) + 2e-3
    assert (np.diff(x[17:27]) > 0).all() and (np.diff(y[27:31]) < 0).all() and (np.diff(x[31:36]) > 0).all()
    for corner, opposite, above, below in ((36, 39, 37, 41), (42, 45, 43, 47)):
        assert x[corner] < x[above] < x[opposite] and y[above] > y[below]
    assert x[48] == min(x[48:60]) and x[54] == max(x[48:60]) and y[51] > y[57]
    assert x[60] < x[62] < x[64] and abs(x[62]) < 1e-3
    assert np.allclose(x[:17], -x[16::-1], atol=2e-3) and np.allclose(x[48], -x[54], atol=1e-4)


def test_eyes_sit_in_their_sockets(head):
    """Upper lid over the iris' top, white on both sides, no lid vertex inside the visible ball."""
    points = head.template[head.landmarks["face68"]]
    eye = head.template[head.parts["eye_left"]]
    centre = evaluate.joints_of(head)[JOINTS.index("eye_left")]
    iris = 0.0154 * np.sin(0.415)
    assert centre[1] + 0.3 * iris < points[43:45, 1].mean() < centre[1] + iris
    assert points[45, 0] - points[42, 0] > 2.0 * iris
    assert eye[:, 2].max() < points[43:45, 2].max() + 0.004


def test_teeth_stand_behind_the_lips_and_show_in_a_smile(head):
    lips = head.template[head.lip_pairs[len(head.lip_pairs) // 2]]
    teeth = head.template[head.landmarks["incisors_upper"]]
    assert (teeth[:, 2] < lips[:, 2].min()).all()
    assert 1.5 < (lips[0, 1] - teeth[:, 1].min()) * MM < 4
    arkit, extra = weights_of(mouthSmile=0.8, mouthUpperUp=0.5, mouthLowerDown=0.4)
    smiling = evaluate.vertices(head, arkit, extra)[0]
    skin = head.parts["skin"]
    faces = head.faces[(head.faces < len(skin)).all(1)]
    surface = Surface(smiling[skin].astype(float), faces)
    front = smiling[head.parts["teeth_upper"]]
    front = front[np.abs(front[:, 0]) < 0.012]
    index, weight = surface.under(front[:, :2].astype(float))
    covered = np.einsum("nj,nj->n", weight, surface.rest[index][:, :, 2]) > front[:, 2]
    assert (~covered).any()


def test_identity_moves_the_whole_head_without_tearing_it(head):
    for k, name in enumerate(identity.NAMES):
        one = np.zeros(len(identity.NAMES))
        one[k] = 1
        verts = evaluate.vertices(head, *weights_of(), identity=one)[0]
        change = np.abs(verts - head.template).max() * MM
        assert change > 2, name
        joints = evaluate.joints_of(head, one)
        for eye in ("eye_left", "eye_right"):
            ball = verts[head.parts[eye]]
            centre = 0.5 * (ball.min(0) + ball.max(0))
            assert np.abs(joints[JOINTS.index(eye)][:2] - centre[:2]).max() * MM < 1.0, (name, eye)


def test_loading_is_quick_and_shared():
    load_head("default")
    start = time.perf_counter()
    first = load_head("default")
    assert time.perf_counter() - start < 0.05
    assert load_head() is first
