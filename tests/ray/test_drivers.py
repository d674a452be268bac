"""Drivers with code of their own: each job runs its driver's code, as it is at the submit."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.ray.conftest import KosCluster

pytestmark = pytest.mark.ray

MAIN = """
import importlib, sys
from pathlib import Path
import kos_ray
import helper

with kos_ray.connect(sys.argv[1], start=False) as client:
    for turn in range(5):
        results = client.map(helper.who, range(20)).results(120)
        assert results == [("OWN", item) for item in range(20)], results
    by_value = client.map(lambda item: helper.who(item), range(5)).results(120)
    assert by_value == [("OWN", item) for item in range(5)], by_value
    Path("helper.py").write_text(Path("helper.py").read_text().replace("OWN", "CHANGED"))
    importlib.reload(helper)
    results = client.map(helper.who, range(20)).results(120)
    assert results == [("CHANGED", item) for item in range(20)], results
print("done")
"""


def test_two_drivers_with_modules_of_one_name(kos: KosCluster, tmp_path: Path) -> None:
    """Two folders, one module name, interleaved on three nodes; changed code in the same session is the new code."""
    drivers = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "helper.py").write_text(f"def who(item):\n    return ('{name}', item)\n")
        (folder / "main.py").write_text(MAIN.replace("OWN", name))
        command = [sys.executable, "main.py", kos.client.address]
        drivers.append(
            subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    for driver in drivers:
        output, _ = driver.communicate(timeout=200)
        assert driver.returncode == 0, output
        assert "done" in output
