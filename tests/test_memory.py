"""Memory that networks free is kept for what they compute next."""

import platform
import subprocess
import sys

import pytest

# how often the system must hand out memory while a page is looked at, once the first ones have been
COUNT = """
import resource, sys
import torch
from models.detector import DetectorConfig, DigitDetector
from models.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
network, page = DigitDetector(DetectorConfig()).eval(), torch.zeros(1, 1, 1024, 1024)
with torch.inference_mode():
    for n in range(6):
        network(page.contiguous(memory_format=torch.channels_last))
        if n == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_blocks_that_were_freed_are_used_again() -> None:
    faults = {}
    for how in ("kept", "given back"):
        command = [sys.executable, "-c", COUNT, how]
        faults[how] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert faults["kept"] < faults["given back"] / 2, faults
