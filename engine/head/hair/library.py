"""The hair of a head, grown once in a process: half a second, and the same every time."""

from __future__ import annotations

import functools

import numpy as np

from engine.core.anatomy import Head
from engine.head.hair.grow import grow
from engine.head.hair.strands import Hair, fitted
from engine.head.library import load_head


def hair_of(head: Head) -> Hair | None:
    """The default crop for the default head and every identity of it (they share its triangles); None for others."""
    default = load_head()
    if head.topology_sha256 != default.topology_sha256:
        return None
    return _default() if np.array_equal(head.template, default.template) else fitted(_default(), head)


@functools.cache
def _default() -> Hair:
    # Grown on the neutral person whoever asks, so that all identities have the same roots.
    return grow(load_head())
