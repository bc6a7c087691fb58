"""Version 1 of the default head: what other work is tied to does not change unnoticed."""

import dataclasses

from engine.assets import registry
from engine.core.files import read_archive
from engine.head import frozen
from engine.head.library import load_head


def entry():
    return registry.find("default", "head")


def test_topology_units_and_channels_are_those_of_the_registered_version():
    """A failure means that avatars, nets and takes no longer fit: raise frozen.VERSION and register new digests."""
    head = load_head("default")
    assert entry().version == frozen.VERSION == 1
    assert frozen.digests(head) == entry().frozen
    assert entry().topology_sha == head.topology_sha256


def test_every_digest_notices_a_change(monkeypatch):
    head = load_head("default")
    faces = head.faces.copy()
    faces[0] = faces[0, [1, 2, 3, 0]]
    assert frozen.digests(dataclasses.replace(head, faces=faces))["topology"] != entry().frozen["topology"]
    monkeypatch.setattr(frozen, "AUS", frozen.AUS[::-1])
    monkeypatch.setattr(frozen, "EXTRA", frozen.EXTRA[:-1])
    found = frozen.digests(head)
    assert found["action_units"] != entry().frozen["action_units"] and found["channels"] != entry().frozen["channels"]


def test_the_cached_head_says_its_version():
    from engine.head.library import _built_default

    _, meta = read_archive(_built_default(), "head", 1)
    assert meta["notes"]["version"] == frozen.VERSION and meta["notes"]["frozen"] == entry().frozen
