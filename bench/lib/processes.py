"""What a server and everything it started use, as the system tells it in /proc."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Usage:
    """What some processes use together."""

    cpu_seconds: float
    resident_bytes: int
    anonymous_bytes: int


def read(path: Path) -> str:
    """The file's text; empty when its process has ended meanwhile."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


@dataclass(frozen=True)
class Processors:
    """What the processors did since the machine started, in ticks."""

    all: int
    #: Wanted here, and given to other guests of the host.
    stolen: int

    def stolen_since(self, before: Processors) -> float:
        """Share of the time since then that was stolen."""
        return (self.stolen - before.stolen) / max(self.all - before.all, 1)


def processors() -> Processors:
    """As /proc/stat tells them."""
    ticks = [int(word) for word in read(PROC / "stat").partition("\n")[0].split()[1:9]]
    return Processors(sum(ticks), ticks[7] if len(ticks) > 7 else 0)


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may contain anything: state, parent, ..."""
    return read(PROC / str(pid) / "stat").rpartition(")")[2].split()


def tree(root: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(PROC):
        if entry.isdigit():
            fields = stat_fields(int(entry))
            if len(fields) > 1:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def is_running(pid: int) -> bool:
    """Whether there is such a process, and not just its exit code."""
    fields = stat_fields(pid)
    # When the first thread has ended and others have not, it already looks like one that is dead.
    return len(fields) > 17 and (fields[0] != "Z" or int(fields[17]) > 1)


def usage(root: int) -> Usage:
    """What a process and all below it use. CPU time is that of threads that still run: in nanoseconds, where
    the figures of a whole process come in steps of 10 ms, too coarse for an idle server."""
    cpu, resident, anonymous = 0.0, 0, 0
    for pid in tree(root):
        folder = PROC / str(pid)
        try:
            threads = list((folder / "task").iterdir())
        except OSError:
            continue
        cpu += sum(thread_seconds(thread) for thread in threads)
        for line in read(folder / "status").splitlines():
            if line.startswith("VmRSS:"):
                resident += int(line.split()[1]) * 1024
            elif line.startswith("RssAnon:"):
                anonymous += int(line.split()[1]) * 1024
    return Usage(cpu, resident, anonymous)


def thread_seconds(folder: Path) -> float:
    """CPU time of a thread, exact where the kernel tells it."""
    spent = read(folder / "schedstat").split()
    if spent:
        return int(spent[0]) / 1e9
    fields = read(folder / "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if len(fields) > 12 else 0.0


def send_signal(pid: int, which: signal.Signals) -> None:
    """Signals a process that may have ended by itself."""
    try:
        os.kill(pid, which)
    except ProcessLookupError:
        pass


def wait_for_end(pids: list[int], seconds: float) -> bool:
    """Waits until none of them runs; false when one still does after that time."""
    deadline = time.monotonic() + seconds
    while any(is_running(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
