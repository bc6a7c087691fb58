"""A take on its head: frames -> vertices."""

from __future__ import annotations

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.take import Take
from engine.head import lbs

BLOCK = 64  # frames that callers evaluate at a time: bounded memory on long takes


def check_topology(take: Take, head: Head) -> None:
    """Raises BadInput if the take was made for another head's topology."""
    made_for = take.meta.get("topology_sha256")
    if made_for and made_for != head.topology_sha256:
        raise BadInput(
            f"this take was made for another mesh (head '{take.meta.get('head')}', topology {made_for[:8]}) than "
            f"'{head.name}' (topology {head.topology_sha256[:8]}): generate it again on this head"
        )
    check_version(take, head)


def check_version(take: Take, head: Head) -> None:
    """Raises BadInput if the take's truth is FLAME parameters of another FLAME version than the head's: the meshes
    agree, but the same numbers mean other faces."""
    if take.authority == "flame" and take.flame.version != head.flame_version:
        raise BadInput(
            f"this take holds parameters of FLAME {take.flame.version}, the head '{head.name}' is FLAME "
            f"{head.flame_version}: use a head of the same version, or generate the take again on this one"
        )


def take_vertices(take: Take, head: Head, rows: np.ndarray) -> np.ndarray:
    """Vertices of the take's frames `rows`, in its authority's form. [n, v, 3] float32 metres, engine axes."""
    from engine.head.evaluate import flame_vertices, vertices

    if take.authority == "flame":
        flame = take.flame
        check_version(take, head)
        points = flame_vertices(head, flame.shape, flame.expression[rows], flame.pose[rows])
        return (points + flame.translation[rows][:, None]).astype(np.float32)
    pose = take.flame.pose[rows].copy()
    pose[:, 6:9] = 0.0  # ARKit form: the jaw is a shape
    out = vertices(head, take.arkit[rows], take.extra[rows], pose, take.flame.translation[rows])
    if take.authority == "vertices":
        out = out + left_over(take, head, rows, pose)
    return out


def left_over(take: Take, head: Head, rows: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """[n, v, 3] float32 metres: what the truth of a take of authority "vertices" adds to its posed shapes in frames
    `rows`, which stand at pose [n, 15]. Raises BadInput if it is made for another mesh."""
    out = np.zeros((len(pose), *head.template.shape), np.float32)
    for part in (take.offsets, take.residual_shapes):
        if part is not None and part.shape[1:] != head.template.shape:
            raise BadInput(
                f"this take moves a mesh of {part.shape[1]} vertices, the head '{head.name}' has {len(head.template)}: "
                "use the head that it was made for"
            )
    if take.residual_shapes is not None and take.residual_weights is not None:
        moved = np.tensordot(take.residual_weights[rows], take.residual_shapes, 1).astype(np.float32)
        if pose.any():
            joints = head.joint_regressor.astype(np.float64) @ head.template
            turns = lbs.joint_transforms(joints[None], pose, head.parents)[..., :3].astype(np.float32)
            moved = np.einsum("vj,tjab,tvb->tva", head.weights, turns, moved, optimize=True)
        out += moved
    if take.offsets is not None:
        out += take.offsets[rows]
    return out
