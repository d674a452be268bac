import os
import subprocess
import sys

# In a process of its own: the test runner has its own idea of the descriptors 1 and 2.
SCRIPT = """
import os, sys
from pathlib import Path
from kos_ray.worker.output import Output
output = Output(Path(sys.argv[1]))
print("one")
first = output.position()
os.system("echo two; echo three >&2")
second = output.position()
print("four, half a line", end="")
third = output.position()
sys.stdout = None
fourth = output.position()
sys.stdout = sys.__stdout__
sys.stderr.close()
print(" and the rest", end="")
fifth = output.position()
sys.stderr = sys.__stderr__
output.close()
print(first, second, third, fourth, fifth)
"""


def test_everything_goes_to_the_file_until_it_is_closed(tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", SCRIPT, str(log)]
    env = {**os.environ, "PYTHONUNBUFFERED": ""}  # with it Python holds nothing back
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert log.read_text() == "one\ntwo\nthree\nfour, half a line and the rest"
    assert done.stdout == "4 14 31 31 44\n"
    assert done.stderr == ""
