"""The registry: lookup order, damaged and missing files, the user's folder."""

import json

import pytest

from engine.assets import registry
from engine.core.errors import BadFile, BadInput


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SOLILOQUY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_every_bundled_file_is_the_registered_one(home):
    entries = registry.list_assets()
    assert ("head", "default") in {(e.kind, e.name) for e in entries}
    for entry in entries:
        assert entry.licence and entry.recipe
        if entry.file:
            assert entry.sha256 and entry.bytes
            registry.verify(entry)


def test_users_file_comes_before_the_bundled_one(home):
    (home / "head").mkdir(parents=True)
    mine = home / "head" / "default.npz"
    mine.write_bytes(b"x")
    assert registry.resolve("default", "head") == mine
    assert sum(e.name == "default" for e in registry.list_assets("head")) == 1


def test_registered_file_is_checked(home):
    (home / "speech").mkdir(parents=True)
    path = home / "speech" / "net.safetensors"
    path.write_bytes(b"weights")
    registry.register(registry.describe(path, "net", "speech", interface="1", licence="mine", supports=("labels",)))
    entry = registry.find("net", "speech")
    assert entry.supports == ("labels",) and registry.resolve("net", "speech") == path
    path.write_bytes(b"weightz")
    with pytest.raises(BadFile, match="damaged"):
        registry.resolve("net", "speech")
    path.write_bytes(b"weights and more")
    with pytest.raises(BadFile, match=r"damaged .*bytes instead of 7"):
        registry.resolve("net", "speech")
    path.unlink()
    with pytest.raises(BadFile, match="missing"):
        registry.resolve("net", "speech")


def test_registering_twice_replaces(home):
    (home / "a").mkdir(parents=True)
    (home / "a" / "x.npz").write_bytes(b"1")
    for licence in ("first", "second"):
        registry.register(registry.describe(home / "a" / "x.npz", "x", "a", licence=licence))
    rows = json.loads((home / "registry.json").read_text())["entries"]
    assert [row["licence"] for row in rows] == ["second"]


def test_unknown_name_lists_the_known(home):
    with pytest.raises(BadInput, match=r"no head called 'nobody'.*default"):
        registry.resolve("nobody", "head")


def test_built_asset_has_no_path(home):
    with pytest.raises(BadInput, match="built on first use"):
        registry.resolve("default", "head")


@pytest.mark.parametrize(
    "text, says",
    [
        ("{", "JSON"),
        ("[]", "not an asset registry"),
        ('{"kind": "registry", "format": 99, "entries": []}', "newer"),
        ('{"kind": "registry", "format": 1, "entries": [{"name": "a", "kind": "b", "file": "../c"}]}', "outside"),
    ],
)
def test_damaged_registry_is_one_sentence(home, text, says):
    home.mkdir()
    (home / "registry.json").write_text(text)
    with pytest.raises(BadFile, match=says):
        registry.list_assets()


def test_registering_a_file_elsewhere_is_refused(home, tmp_path):
    (tmp_path / "x.npz").write_bytes(b"1")
    with pytest.raises(BadInput, match="copy it first"):
        registry.register(registry.describe(tmp_path / "x.npz", "x", "head"))


def test_cache_folder_is_made_and_can_be_moved(home):
    assert registry.user_cache() == home / "cache" and (home / "cache").is_dir()
