"""The virtual environment that the engine runs in: made, mended, filled by pip. Standard library only.

install.py imports this on whatever Python it is started with, so it must be readable by Python 3.8 (a test).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.core.errors import Missing

ROOT = Path(__file__).resolve().parents[1]


def say(line: str) -> None:
    """Print a line of progress at once."""
    print(line, flush=True)


def capture(command: Sequence[str]) -> str:
    """A command's trimmed output, or "" if it cannot be run or fails."""
    try:
        done = subprocess.run(list(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace").strip()


def has_nvidia() -> bool:
    """Whether an NVIDIA driver answers."""
    return bool(shutil.which("nvidia-smi") and capture(["nvidia-smi", "-L"]))


def get_python_words() -> str:
    """How to get Python 3.11 on this system."""
    linux = "'apt install python3.11 python3.11-venv' (Debian, Ubuntu) or 'dnf install python3.11' (Fedora)"
    how = {"Darwin": "'brew install python@3.11'", "Windows": "'winget install Python.Python.3.11'"}
    return f"{how.get(platform.system(), linux)}; with uv: 'uv python install 3.11'"


def clean_environ() -> dict[str, str]:
    """This process's environment without what would lead another Python astray."""
    return {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__"}}


class Environment:
    """The virtual environment that the engine runs in: <prefix>/.venv."""

    def __init__(self, prefix: Path):
        self.folder = prefix / ".venv"
        self.scripts = self.folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.scripts / ("python.exe" if os.name == "nt" else "python")
        self.stamp = self.folder / "soliloquy.json"
        self.log = self.folder / "install.log"
        self.version, self.site_packages = "", Path()

    def works(self) -> bool:
        """Whether its interpreter starts and is a 3.11 with pip; reads its version and site-packages folder."""
        ask = "import sys, sysconfig, pip._internal.cli.main as m; print(sys.version.split()[0])\n"
        ask += "print(sysconfig.get_path('purelib'))"
        lines = capture([str(self.python), "-I", "-c", ask]).splitlines() if self.python.exists() else []
        if len(lines) != 2 or not lines[0].startswith("3.11."):
            return False
        self.version, self.site_packages = lines[0], Path(lines[1])
        return True

    def ensure(self) -> None:
        """Make it if it is not there, make it anew if it does not work."""
        if self.works():
            return
        if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / "pyvenv.cfg").exists():
            raise Missing(f"{self.folder} is no virtual environment; move it away or choose another --prefix")
        mend = (self.folder / "pyvenv.cfg").exists()
        say(f"{'mending' if mend else 'making'} {self.folder}")
        for pattern in ("**/site-packages/pip", "**/site-packages/pip-*.dist-info"):
            for old in self.folder.glob(pattern):  # venv brings pip again only where there is none at all
                shutil.rmtree(str(old), ignore_errors=True)
        words = self._make()  # over an old one: gives it its interpreter and pip back, keeps the packages
        if mend and not self.works():
            words = self._make("--clear")
        if not self.works():
            if "ensurepip" in words:
                raise Missing(f"this Python cannot make virtual environments; {get_python_words()}")
            raise Missing(f"could not make {self.folder}: {(words.splitlines() or ['its Python does not start'])[-1]}")

    def _make(self, *flags: str) -> str:
        base = getattr(sys, "_base_executable", None) or sys.executable
        done = subprocess.run(
            [base, "-m", "venv", *flags, str(self.folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=clean_environ(), check=False,
        )  # fmt: skip
        return done.stdout.decode("utf-8", "replace").strip()

    def run(self, *arguments: str, **options: Any) -> int:
        """Run its Python from the project's folder; returns the exit code."""
        return subprocess.call([str(self.python), *arguments], cwd=str(ROOT), env=clean_environ(), **options)

    def pip(self, *arguments: str) -> None:
        """Run pip, telling each package as it comes; the whole output goes to the log. Raises Missing."""
        command = [str(self.python), "-I", "-m", "pip", *arguments, "--no-input", "--disable-pip-version-check"]
        coming = re.compile(r"\s*(?:Downloading|Using cached|Processing) (\S+\.whl)(?:\S*)?(?: \(([^)]+)\))?")
        lines = []
        with open(self.log, "a", encoding="utf-8") as log:
            print("$", *command, file=log)
            with subprocess.Popen(
                [*command, "--progress-bar", "off"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                encoding="utf-8", errors="replace", env={**clean_environ(), "PYTHONUTF8": "1"},
            ) as process:  # fmt: skip
                assert process.stdout is not None
                for line in process.stdout:
                    log.write(line)
                    lines.append(line)
                    if match := coming.match(line):
                        name = re.split(r"[/\\]", match.group(1))[-1].split("-")
                        say(f"  {name[0]} {name[1]}" + (f" ({match.group(2)})" if match.group(2) else ""))
        if process.returncode:
            raise Missing(f"{explain_pip(''.join(lines), '--no-index' in arguments)} (pip's own words: {self.log})")


def explain_pip(output: str, offline: bool) -> str:
    """What went wrong in pip's output and what to do about it, in one sentence."""
    missing = re.search(r"No matching distribution found for (\S+)", output)
    if "No space left" in output or "Errno 28" in output:
        return "the disk is full; free 5 GB and run this again"
    if "DO NOT MATCH THE HASHES" in output:
        return "a package is not the file that was checked (its sha256 differs) and was not installed; run this again"
    if missing and offline:
        return (
            f"--offline: {missing.group(1)} is in none of the local folders; where there is a network run "
            "'python install.py download --wheels DIR', bring DIR here and add '--wheels DIR'"
        )
    if re.search(r"Connection|Max retries|Timeout|timed out|ProxyError|CERTIFICATE", output):
        return "pip cannot reach its package index; check the network and pip's proxy settings, then run this again"
    if missing and missing.group(1).startswith("bpy"):
        return f"there is no {missing.group(1)} wheel for this system ({platform.platform()}); add --no-blender"
    if missing:
        return f"there is no wheel of {missing.group(1)} for this system ({platform.platform()}) in pip's package index"
    errors = [line.strip() for line in output.splitlines() if line.startswith("ERROR")]
    return errors[-1][7:] if errors else "pip failed"
