"""The machine that is measured on."""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from .servers import REPOSITORY

DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def describe(data: Path) -> dict[str, Any]:
    """What figures depend on; the data folder tells the disk."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count() or 0,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {platform.release()}",
        "filesystem": filesystem(data),
        "disk": probe(data),
        "load_average": os.getloadavg()[0],
        "java": output("java", "-version"),
        "rust": output("rustc", "--version"),
        "python": platform.python_version(),
    }


def cpu_model() -> str:
    """Name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def short_name() -> str:
    """The machine in a folder's name: its processor and cores, not how it is called."""
    words = re.sub(r"\(R\)|\(TM\)|@.*|\bCPU\b|\bProcessor\b", " ", cpu_model())
    model = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    return f"{model}-{os.cpu_count()}-cores"


def filesystem(folder: Path) -> str:
    """Type and options of the file system of a folder."""
    found = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        inside = str(folder.resolve()).startswith(place if place.endswith("/") else place + "/")
        if inside and len(place) >= len(found[0]):
            found = (place, f"{kind} ({options})")
    return found[1]


def probe(folder: Path, seconds: float = 2.0) -> dict[str, float]:
    """How long 4 KB take to the disk: write and fdatasync in a loop, into a file that has its blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    path, block, blocks = folder / "probe", os.urandom(4096), 1024
    took: list[float] = []
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        for _ in range(blocks):
            os.write(handle, block)
        os.fsync(handle)
        end = time.monotonic() + seconds
        while time.monotonic() < end or not took:
            began = time.monotonic()
            os.pwrite(handle, block, len(took) % blocks * 4096)
            os.fdatasync(handle)
            took.append(time.monotonic() - began)
    finally:
        os.close(handle)
        path.unlink()
    took.sort()
    return {
        "fdatasync_p50_us": statistics.median(took) * 1e6,
        "fdatasync_p99_us": took[int(len(took) * 0.99)] * 1e6,
    }


def output(*command: str) -> str:
    """First line of what a command prints; empty when there is no such command."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines and done.returncode == 0 else ""


def apogee_version() -> dict[str, Any]:
    """Which Apogee is measured."""
    return {
        "commit": output("git", "rev-parse", "--short=12", "HEAD"),
        "changed": bool(output("git", "status", "--porcelain", "--untracked-files=no", "--", "crates", "Cargo.lock")),
    }


def apache_version() -> str:
    """Version of the jars that the oracle uses."""
    text = (REPOSITORY / "tests" / "oracle" / "pom.xml").read_text()
    found = re.search(r"<artifactId>rocketmq-[a-z]+</artifactId>\s*<version>([^<]+)</version>", text)
    version = found.group(1) if found else ""
    if version.startswith("${"):
        value = re.search(f"<{re.escape(version[2:-1])}>([^<]+)<", text)
        version = value.group(1) if value else ""
    return version or "unknown"


def drop_caches() -> bool:
    """Empties the system's cache of files; false without the right to."""
    subprocess.run(["sync"], check=False)
    try:
        DROP_CACHES.write_text("3\n")
        return True
    except OSError:
        return False


def raise_file_limit() -> int:
    """Lets servers and generator open as many files as the system allows; returns how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
