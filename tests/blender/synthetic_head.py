"""A small made-up head in the form of the engine's `head` answer: quads and triangles, all shapes, five joints.

Its numbers are seeded noise, so that a swapped axis, column or joint shows as a large error.
"""

import numpy as np


def answer(arkit, extra, seed=0, side=12):
    """(info, arrays) as `blender_addon.scene.head.build` takes them; engine axes, metres."""
    rng = np.random.default_rng(seed)
    u, v = np.meshgrid(np.linspace(-0.08, 0.08, side), np.linspace(0.0, 0.25, side))
    template = np.stack([u, v, 0.08 - 4 * u**2], -1).reshape(-1, 3).astype(np.float32)
    i = np.arange(side * side).reshape(side, side)
    faces = np.stack([i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]], -1).reshape(-1, 4).astype(np.int32)
    faces[::7, 3] = -1  # some triangles
    names = [*arkit, *extra]
    n = len(template)
    weights = rng.random((n, 5)).astype(np.float32) ** 4
    weights /= weights.sum(1, keepdims=True)
    joints = np.array([[0, 0, 0], [0, 0.05, -0.02], [0, 0.1, 0.0], [0.03, 0.17, 0.05], [-0.03, 0.17, 0.05]], np.float32)
    info = {
        "name": "synthetic",
        "topology_sha256": "0" * 64,
        "shape_names": names,
        "joint_names": ["root", "neck", "jaw", "eye_left", "eye_right"],
        "parents": [-1, 0, 1, 1, 1],
        "materials": [
            {"name": "skin", "base_color": [0.8, 0.5, 0.4], "roughness": 0.5, "subsurface": 0.1, "alpha": 1.0,
             "specular": 0.5},
            {"name": "cornea", "base_color": [1, 1, 1], "roughness": 0.0, "subsurface": 0.0, "alpha": 0.1,
             "specular": 0.5},
        ],
    }  # fmt: skip
    arrays = {
        "template": template,
        "faces": faces,
        "uv": rng.random((n, 2)).astype(np.float32),
        "uv_faces": faces,
        "face_material": (np.arange(len(faces)) % 2).astype(np.uint8),
        "albedo": rng.random((n, 3)).astype(np.float32),
        "shapes": rng.normal(0, 0.004, (len(names), n, 3)).astype(np.float32),
        "joints": joints,
        "weights": weights,
    }
    return info, arrays


def rodrigues(r):
    """Axis-angle [3] -> rotation [3, 3]."""
    angle = np.linalg.norm(r)
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = r / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def posed(info, arrays, weights, pose, translation):
    """Template + shapes, then FLAME's linear blend skinning (Li et al. 2017, eq. 2-5), float64. [v, 3]."""
    shaped = arrays["template"].astype(np.float64) + np.tensordot(weights.astype(np.float64), arrays["shapes"], 1)
    joints = arrays["joints"].astype(np.float64)
    world, out = [], np.zeros_like(shaped)
    for j, parent in enumerate(info["parents"]):
        local = np.eye(4)
        local[:3, :3] = rodrigues(np.asarray(pose, np.float64)[3 * j : 3 * j + 3])
        local[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
        world.append(world[parent] @ local if parent >= 0 else local)
        turned = (shaped - joints[j]) @ world[j][:3, :3].T + world[j][:3, 3]
        out += arrays["weights"][:, j : j + 1].astype(np.float64) * turned
    return out + translation
