"""What of the default head will not change within a version: other work (avatars, nets, takes) is tied to it.

The registry (engine/assets/registry.json) holds the digests of version 1. A change of topology, of the action units or
of the channel list is another version: such assets must be made again.
"""

from __future__ import annotations

import hashlib

from engine.core.anatomy import Head
from engine.core.names import ARKIT, AUS, EXTRA, SIDES

VERSION = 1


def _of(names: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def digests(head: Head) -> dict[str, str]:
    """{"topology", "action_units", "channels"}: sha256 of the faces and vertex count, of the AUs with their sides, and
    of the ARKit and extra channels in their order."""
    return {
        "topology": head.topology_sha256,
        "action_units": _of((*AUS, *SIDES)),
        "channels": _of((*ARKIT, *EXTRA)),
    }
