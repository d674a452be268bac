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
sys.stdout = None
third = output.position()
sys.stdout = sys.__stdout__
output.close()
print(first, second, third)
"""


def test_everything_goes_to_the_file_until_it_is_closed(tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", SCRIPT, str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert log.read_text() == "one\ntwo\nthree\n"
    assert done.stdout == "4 14 14\n"
    assert done.stderr == ""
