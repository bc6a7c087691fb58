"""What holds for every test."""

import pytest

# Whole files whose tests hold a process to deadlines of milliseconds.
ALONE = {"test_link_client.py", "test_link_live.py", "test_serve_live.py", "test_serve_process.py"}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name in ALONE or item.get_closest_marker("gui"):
            item.add_marker(pytest.mark.alone)
