"""How the add-on finds its engine."""

import json
import sys
from pathlib import Path

import pytest

from blender_addon.link import config
from blender_addon.link.config import EngineError

ROOT = Path(__file__).resolve().parents[2]


def write(path, **changes):
    value = {
        "kind": "soliloquy-config", "format": 1, "python": sys.executable, "root": str(ROOT), "version": "0.1.0",
        **changes,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({k: v for k, v in value.items() if v is not None}))
    return path


def test_the_environment_names_the_file(tmp_path):
    path = write(tmp_path / "elsewhere.json")
    found = config.find({"SOLILOQUY_CONFIG": str(path)})
    assert (found.python, found.root, found.version) == (sys.executable, str(ROOT), "0.1.0")


def test_the_users_folder_is_searched(tmp_path):
    write(tmp_path / "soliloquy" / "config.json")
    assert config.find({"XDG_CONFIG_HOME": str(tmp_path)}).root == str(ROOT) if sys.platform == "linux" else True


@pytest.mark.parametrize(
    "system, environ, folder",
    [
        ("linux", {"HOME": "/h"}, "/h/.config/soliloquy"),
        ("linux", {"HOME": "/h", "XDG_CONFIG_HOME": "/x"}, "/x/soliloquy"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Application Support/soliloquy"),
        ("win32", {"USERPROFILE": "/u", "APPDATA": "/a"}, "/a/soliloquy"),
    ],
)
def test_the_folder_of_each_system(system, environ, folder):
    assert config.user_config_dir(environ, system).as_posix() == folder


def test_nothing_set_up_says_what_to_do(tmp_path):
    with pytest.raises(EngineError, match=r"install\.py"):
        config.find({"SOLILOQUY_CONFIG": str(tmp_path / "none.json")})


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"kind": "other"}, "damaged"),
        ({"format": 2}, "newer"),
        ({"python": "/no/such/python"}, "gone"),
        ({"root": "/no/such/root"}, "holds no engine"),
        ({"version": None}, "damaged"),
    ],
)
def test_bad_files_say_what_to_do(tmp_path, changes, words):
    with pytest.raises(EngineError, match=words):
        config.read(write(tmp_path / "config.json", **changes))


def test_text_that_is_not_json(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(EngineError, match="damaged"):
        config.read(tmp_path / "config.json")
