"""What holds for every test."""

import os
import shutil
from pathlib import Path

import pytest

# Whole files whose tests hold a process to deadlines of milliseconds.
ALONE = {"test_link_client.py", "test_link_live.py", "test_serve_live.py", "test_serve_process.py"}

# Debian's Blender asks the first python3 on the path where its modules are; another Python in front (a version
# manager puts its own there) and it has no numpy.
if blender := shutil.which("blender"):
    os.environ["PATH"] = os.pathsep.join([str(Path(blender).parent), os.environ["PATH"]])


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name in ALONE or item.get_closest_marker("gui"):
            item.add_marker(pytest.mark.alone)
