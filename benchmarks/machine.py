"""What a benchmark ran on: the first line that each of them prints."""

import os
import platform
import subprocess
from pathlib import Path


def describe_machine() -> str:
    """Return the processor, its cores, a GPU where there is one, the system, and the commit."""
    asked = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
    parts = [_processor(), f"{os.cpu_count()} cores", *_gpus(), platform.platform()]
    return ", ".join([*parts, f"Python {platform.python_version()}", f"commit {commit}"])


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    for line in file.read_text().splitlines() if file.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []
