"""What a benchmark ran on: the first line that each of them prints."""

import os
import platform
import subprocess
import time
from pathlib import Path


def describe_machine() -> str:
    """Return the processor, its cores, memory, a GPU where there is one, the system, commit and time."""
    asked = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
    parts = [_processor(), f"{os.cpu_count()} cores, {_memory_gb():.0f} GB", *_gpus(), platform.platform()]
    when = f"{time.strftime('%Y-%m-%d %H:%M')}, load {os.getloadavg()[0]:.1f} before"
    return ", ".join([*parts, f"Python {platform.python_version()}", f"commit {commit}", when])


def _memory_gb() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


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
