"""FLAME model files made by code, with FLAME's layout and none of its data.

`random_model`: seeded noise, for the skinning. `face_model`: another person with our default head's anatomy, meshed
anew with FLAME's counts (3931 skin vertices, two eyeballs of 546), an expression basis found by principal components
of mixed face shapes (no jaw, no blink, as in FLAME), and a jaw joint with partial correctives. Its true ARKit shapes
are known, so that transfer and projection can be measured.
"""

import hashlib
import pickle
import sys
import types
from pathlib import Path

import numpy as np
from scipy import sparse

V, F, SKIN, BALL = 5023, 9976, 3931, 546
PARENTS = np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32)


def random_model(seed=0):
    """Seeded noise with FLAME's fields and sizes."""
    rng = np.random.default_rng(seed)
    weights = rng.random((V, 5)) ** 4
    regressor = np.zeros((5, V))
    for row in regressor:
        row[rng.choice(V, 30, replace=False)] = rng.random(30)
    return {
        "v_template": rng.normal(0, 0.1, (V, 3)),
        "f": rng.integers(0, V, (F, 3)).astype(np.uint32),
        "shapedirs": rng.normal(0, 0.002, (V, 3, 400)),
        "posedirs": rng.normal(0, 0.001, (V, 3, 36)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "kintree_table": PARENTS,
        "weights": weights / weights.sum(1, keepdims=True),
    }


def write_npz(path, fields, **more):
    np.savez(path, **fields, **more)


def write_pickle(path, fields, chumpy=("v_template", "shapedirs"), protocol=2):
    """As FLAME's own files are: some arrays inside chumpy objects, a sparse regressor, texts beside them."""
    module = types.ModuleType("chumpy.ch")

    class Ch:
        def __init__(self, x):
            self.x = x

    Ch.__module__, Ch.__qualname__, module.Ch = "chumpy.ch", "Ch", Ch
    sys.modules["chumpy"], sys.modules["chumpy.ch"] = types.ModuleType("chumpy"), module
    try:
        made = {name: Ch(value) if name in chumpy else value for name, value in fields.items()}
        made["J_regressor"] = sparse.csc_matrix(fields["J_regressor"])
        made.update(bs_style="lbs", bs_type="lrotmin")
        with open(path, "wb") as file:
            pickle.dump(made, file, protocol=protocol)
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]


def face_model(head, seed=0):
    """(fields, truth): FLAME's fields and {"shapes": {name: offsets [5023, 3]}, "skin": rows, "blink": names}."""
    rng = np.random.default_rng(seed)
    rows, triangles = _outer_skin(head)
    carry, triangles = _meshed_anew(head.template[rows].astype(float), triangles, rng)
    person = _person(head, rows, rng)
    balls, ball_faces = _eyeballs(head, person)
    carry = sparse.csr_matrix(carry)
    skin = carry @ person(head.template[rows])
    template = np.concatenate([skin, *balls])
    faces = np.concatenate([triangles, ball_faces + SKIN, ball_faces + SKIN + BALL])
    assert template.shape == (V, 3) and faces.shape == (F, 3)

    shapes = {}
    for name, offsets in zip(head.shape_names, head.shapes, strict=True):
        moved = person(head.template[rows] + offsets[rows]) - person(head.template[rows])
        shapes[name] = np.concatenate([carry @ moved, np.zeros((2 * BALL, 3))])
    weights = np.zeros((V, 5))
    weights[:SKIN] = carry @ head.weights[rows]
    weights[:SKIN] /= weights[:SKIN].sum(1, keepdims=True)
    weights[SKIN : SKIN + BALL, 3] = weights[SKIN + BALL :, 4] = 1
    joints = person(head.joint_regressor @ head.template)
    posedirs = np.zeros((V, 3, 36))
    posedirs[:SKIN] = 0.8 * (carry @ head.posedirs[rows].reshape(len(rows), -1)).reshape(SKIN, 3, 36)
    posedirs[:SKIN] += 2e-4 * _smooth(template[:SKIN], rng, 36)
    expression = _expression(template, shapes, rng)
    identity = np.zeros((V, 3, 300))
    identity[:] = _smooth(template, rng, 300) * np.geomspace(4e-3, 1e-4, 300)
    fields = {
        "v_template": template, "f": faces.astype(np.uint32),
        "shapedirs": np.concatenate([identity, expression], 2), "posedirs": posedirs,
        "J_regressor": _regressor(template, joints), "kintree_table": PARENTS, "weights": weights,
    }  # fmt: skip
    return fields, {"shapes": shapes, "joints": joints}


def prepared():
    """(model file, truth file, head file) of `face_model`: made once, kept in the cache until a source changes."""
    from engine.assets.registry import user_cache
    from engine.core.files import replacing
    from engine.head.files import save_head
    from engine.head.flame.build import import_flame
    from engine.head.library import builder_digest, load_head

    engine = Path(__file__).resolve().parents[2] / "engine" / "head"
    digest = hashlib.sha256(builder_digest().encode() + Path(__file__).read_bytes())
    for source in sorted([*engine.glob("flame/*.py"), *engine.glob("transfer/*.py")]):
        digest.update(source.read_bytes())
    folder = user_cache() / "tests"
    files = [folder / f"flame-like-{digest.hexdigest()[:16]}{end}.npz" for end in ("", "-truth", "-head")]
    if not all(file.is_file() for file in files):
        folder.mkdir(exist_ok=True)
        for old in folder.glob("flame-like-*.npz"):
            old.unlink(missing_ok=True)
        fields, truth = face_model(load_head())
        with replacing(files[0]) as part:
            write_npz(part, fields, flame_version=np.array("2023-open"))
        with replacing(files[1]) as part:
            np.savez(part, names=list(truth["shapes"]), shapes=np.stack(list(truth["shapes"].values())))
        made, facts = import_flame(files[0], name="flame-like")
        save_head(files[2], made, compressed=False, notes={"facts": facts})
    return files


def _outer_skin(head):
    inside = np.ones(len(head.template), bool)
    inside[head.parts["skin"]] = head.masks["mouth_inside"][head.parts["skin"]] > 0.5
    triangles = head.triangles[~inside[head.triangles].any(1)]
    rows = np.unique(triangles)
    number = np.full(len(head.template), -1)
    number[rows] = np.arange(len(rows))
    return rows, number[triangles]


def _person(head, rows, rng):
    """A smooth warp of space: other proportions, another place."""
    scale = np.array([1.05, 0.96, 1.03])
    waves = rng.normal(0, 12, (6, 3))
    phase, push = rng.random(6) * 6.3, rng.normal(0, 6e-4, (6, 3))

    def warp(points):
        points = np.asarray(points, float)
        return points * scale + (0.0, -0.021, 0.006) + np.sin(points @ waves.T + phase) @ push

    return warp


def _meshed_anew(points, triangles, rng):
    """(carry [3931, n], triangles [7800, 3]): edges collapsed to FLAME's counts, every vertex moved on the surface."""
    faces = {i: list(t) for i, t in enumerate(triangles.tolist())}
    around = {}
    for i, t in faces.items():
        for v in t:
            around.setdefault(v, set()).add(i)
    place = np.eye(len(points))

    def border(v):
        return any(sum(n in faces[i] for i in around[v]) == 1 for n in ring(v))

    def ring(v):
        return {n for i in around[v] for n in faces[i]} - {v}

    def collapse(a, b):
        """b into a, if the mesh stays one surface."""
        shared = around[a] & around[b]
        edge = len(shared) == 1
        if len(ring(a) & ring(b)) != len(shared) or (not edge and (border(a) or border(b))):
            return False
        place[a] = 0.5 * (place[a] + place[b])
        for i in shared:
            for v in faces.pop(i):
                around[v].discard(i)
        for i in around.pop(b):
            faces[i] = [a if v == b else v for v in faces[i]]
            around[a].add(i)
        return True

    low = points[:, 1] < np.quantile(points[:, 1], 0.25)
    count = {True: 2 * SKIN - 7800, False: len(points) - SKIN}  # not used as limits, only documented by the asserts
    assert count[True] == 62
    rims = len({v for v in around if border(v)})
    for v in rng.permutation(len(points)).tolist():  # the neck's rim first
        if rims == 62:
            break
        if v in around and low[v] and border(v):
            others = [n for n in ring(v) if border(n) and len(around[v] & around[n]) == 1]
            if others and collapse(v, others[0]):
                rims -= 1
    for v in rng.permutation(len(points)).tolist():
        if len(around) == SKIN:
            break
        if v in around and not border(v):
            others = sorted(ring(v), key=lambda n: np.linalg.norm(points[n] - points[v]))
            any(collapse(v, n) for n in others[:2])
    kept = sorted(around)
    number = {v: k for k, v in enumerate(kept)}
    out = np.array([[number[v] for v in t] for t in faces.values()])
    assert len(kept) == SKIN and len(out) == 7800, (len(kept), len(out))
    carry = place[kept]
    rim = np.array([border(v) for v in kept])
    moved = carry.copy()
    for k, v in enumerate(kept):
        if not rim[k]:  # a random place in one of its triangles
            t = sorted(around[v])[int(rng.integers(len(around[v])))]
            others = [number[n] for n in faces[t] if n != v]
            share = rng.random(2) * 0.22
            moved[k] = (1 - share.sum()) * carry[k] + share @ carry[others]
    return moved, out


def _eyeballs(head, person):
    """Two spheres of 17 rings of 32 and two poles, and the faces [1088, 3] of one."""
    centres = person(head.joint_regressor @ head.template)[3:]
    radius = 1.0 * np.median(
        np.linalg.norm(head.template[head.parts["eye_left"]] - head.joint_regressor[3] @ head.template, axis=1)
    )
    lat = np.pi * np.arange(1, 18) / 18
    lon = 2 * np.pi * np.arange(32) / 32
    ring = np.stack(
        [np.outer(np.sin(lat), np.cos(lon)), np.outer(np.sin(lat), np.sin(lon)), np.outer(np.cos(lat), np.ones(32))], -1
    )
    ball = np.concatenate([[[0, 0, 1]], ring.reshape(-1, 3), [[0, 0, -1]]]) * radius
    faces = []
    for c in range(32):
        d = (c + 1) % 32
        faces.append([0, 1 + c, 1 + d])
        for r in range(16):
            a, b = 1 + 32 * r + c, 1 + 32 * r + d
            faces += [[a, a + 32, b], [b, a + 32, b + 32]]
        faces.append([BALL - 1, 1 + 32 * 16 + d, 1 + 32 * 16 + c])
    return [ball + c for c in centres], np.array(faces)


def _smooth(points, rng, count, rate=25.0):
    """[n, 3, count] smooth vector fields of about unit size."""
    waves, phase = rng.normal(0, rate, (count, 3)), rng.random(count) * 6.3
    return np.sin(points @ waves.T + phase)[:, None, :] * rng.normal(0, 1, (3, count))[None] / 1.3


def _expression(template, shapes, rng, samples=260):
    """[5023, 3, 100] principal components (times their deviation) of mixed, locally varied face shapes."""
    names = [n for n in shapes if n != "jawOpen" and not n.startswith(("eye", "tongue"))]
    data = np.stack([shapes[n].ravel() for n in names])
    rows = []
    for _ in range(samples):
        weights = rng.random(len(names)) * (rng.random(len(names)) < 0.12)
        vary = 1 + 0.25 * _smooth(template, rng, 1)[:, :1, 0]
        rows.append(((weights @ data).reshape(-1, 3) * vary).ravel())
    rows = np.array(rows) - np.mean(rows, 0)
    _, s, vt = np.linalg.svd(rows, full_matrices=False)
    return (vt[:100].T * (s[:100] / np.sqrt(samples))).reshape(V, 3, 100)


def _regressor(template, joints):
    """Rows summing to 1 that give the joints from vertices near them."""
    out = np.zeros((5, V))
    for j, place in enumerate(joints):
        rows = (
            np.arange(SKIN + BALL * (j - 3), SKIN + BALL * (j - 2))
            if j > 2
            else np.argsort(np.linalg.norm(template[:SKIN] - place, axis=1))[:200]
        )
        system = np.c_[template[rows], np.ones(len(rows))].T
        equal = np.full(len(rows), 1 / len(rows))
        out[j, rows] = equal + np.linalg.pinv(system) @ (np.r_[place, 1] - system @ equal)
    return out
