"""Where hm08's lips are: the ring on which they touch, its upper and lower halves, and who faces whom.

The vertex numbers are hm08's own (the mesh is pinned by its digest). Round the mouth lie concentric closed loops of 38
vertices; index 0 is the middle of the upper lip and 19 the middle of the lower one, first along the subject's left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.head.mesh import Topology

# Middle of the upper lip on each loop, from the red border inwards; the lips touch on CONTACT.
LIP_LOOPS = (455, 466, 467, 509, 468, 474, 520)
CONTACT = 520
INNER_LOOPS = (537, 554, 571)  # behind the contact, the start of the mouth bag
BAG_SEED = 554
CORNER = 12  # index of the left corner on every loop; the right one is 38 - 12
SIZE = 38
# Facing indices (upper, lower) on the contact loop, from the middle to the corner: nearest in width.
_FACING = ((0, 19), (2, 18), (4, 17), (6, 16), (8, 15), (10, 14), (11, 13), (12, 12))


@dataclass(frozen=True)
class Mouth:
    """hm08 vertex numbers. loops [n, 38] in the order LIP_LOOPS + INNER_LOOPS; pairs [15, 2] (upper, lower) from the
    subject's right corner to the left one; bag: every vertex behind the contact loop."""

    loops: np.ndarray
    pairs: np.ndarray
    bag: np.ndarray

    @property
    def contact(self) -> np.ndarray:
        return self.loops[LIP_LOOPS.index(CONTACT)]


def mirror_index(k: int) -> int:
    """Index on a loop of the vertex on the other side of the face."""
    return (SIZE - k) % SIZE


def find_mouth(topology: Topology, base: np.ndarray) -> Mouth:
    """base [19158, 3]: any face of this topology (it only says which way is left)."""
    loops = []
    for middle in LIP_LOOPS + INNER_LOOPS:
        left = [v for v in topology.neighbours[middle] if base[v, 0] > base[middle, 0] + 5e-4]
        loop = topology.loop(middle, left[0])
        if len(loop) != SIZE:  # 554, 571 end in poles of the bag: they are walked only as far as they are rings
            loop = (loop + [loop[-1]] * SIZE)[:SIZE]
        loops.append(loop)
    contact = loops[LIP_LOOPS.index(CONTACT)]
    left_pairs = [(contact[u], contact[d]) for u, d in _FACING]
    right_pairs = [(contact[mirror_index(u)], contact[mirror_index(d)]) for u, d in _FACING[1:]]
    bag = topology.flood(BAG_SEED, set(contact))
    return Mouth(np.array(loops), np.array(right_pairs[::-1] + left_pairs), np.array(sorted(bag)))
