"""Six places on a head that can be found again in a picture (numpy only: Blender's side imports it too)."""

import numpy as np

COLOURS = np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]])
# Metres from the middle of the head's bounding points, engine axes: brow, cheeks, nose, shoulder, chest.
TARGETS = np.float32(
    [[0, 0.12, 0.1], [0.06, 0.05, 0.1], [-0.06, 0.05, 0.1], [0, 0.02, 0.12], [0.05, -0.08, 0.05], [-0.1, -0.1, 0]]
)


def places(template, faces):
    """(row of each place in the head's triangles [6], its corners [6, 3]); triangles as `Head.triangles` makes them."""
    quad = faces[:, 3] >= 0
    both = np.stack([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]], 1)
    triangles = both[np.stack([np.ones(len(quad), bool), quad], 1)]
    middles = template[triangles].mean(1) - template.mean(0)
    rows = np.array([np.argmin(np.linalg.norm(middles - t, axis=1)) for t in TARGETS], np.int32)
    return rows, triangles[rows]


def centroids(rgba):
    """Centre of each colour's spot in pixels from the left and the bottom; rgba [h, w, 4], bottom row first. [6, 2].

    A pixel counts by how much it holds of its colour and of nothing else. AssertionError if a spot is not seen.
    """
    values = np.clip(rgba[..., :3], 0, 1)
    y, x = np.mgrid[: rgba.shape[0], : rgba.shape[1]] + 0.5
    out = []
    for colour in COLOURS:
        on, off = values[..., colour > 0], values[..., colour == 0].max(-1)
        weight = np.where((off < 0.1 * on.min(-1)) & (np.ptp(on, axis=-1) < 0.2), on.min(-1), 0)
        weight[weight < 0.02] = 0
        assert weight.sum() > 1, f"the spot of colour {colour} is not to be seen"
        out.append([(x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()])
    return np.array(out)
