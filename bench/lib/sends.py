"""What one send of 1 KB costs the server, counted: instructions, heap allocations, system calls."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from . import callgrind, generator
from .generator import GeneratorError
from .processes import send_signal
from .servers import APOGEE, REPOSITORY, Place, Server, ServerError, is_free

#: Longest time for a tool to attach, to write, or to end.
TOOL_SECONDS = 60
SETTINGS = {"flushDiskType": "ASYNC_FLUSH"}


@dataclass(frozen=True)
class Load:
    """How messages come, and how many are counted with each tool."""

    name: str
    connections: int
    in_flight: int
    warm_up: int
    under_callgrind: int
    under_strace: int


ALONE = Load("alone", 1, 1, 1_000, 5_000, 10_000)
PIPELINED = Load("pipelined", 16, 64, 20_000, 20_000, 200_000)
#: Name, what it is, and most of it a send. A buffer that serves many messages costs a fraction of an allocation.
TARGETS = [
    ("allocations_alone", "heap allocations, alone", 0.05),
    ("allocations_pipelined", "heap allocations, pipelined", 0.05),
    ("instructions_alone", "instructions in user space, alone", 12_000),
    ("instructions_pipelined", "instructions in user space, pipelined", 12_000),
    ("system_calls_alone", "system calls, alone", 3.1),
    ("system_calls_pipelined", "system calls, pipelined", 0.2),
]


class Wrapped(Server):
    """A server that runs within a tool."""

    def __init__(self, place: Place, tool: list[str]) -> None:
        super().__init__(APOGEE, place, SETTINGS)
        self.tool = tool

    def command(self) -> list[str]:
        return [*self.tool, *super().command()]


def send(place: Place, server: Server, load: Load, messages: int) -> None:
    """Sends so many messages on new connections."""
    how = ["--connections", str(load.connections), "--in-flight", str(load.in_flight), "--messages", str(messages)]
    what = ["--size", "1024", "--topic", "count-send", "--queues", "4", "--seconds", "0", "--warm-up", "0"]
    result = generator.run(place, server, "send", [*how, *what])
    if result.get("errors"):
        raise GeneratorError(f"not all sends were answered well: {result['errors']}")
    if result.get("messages") != messages:
        raise GeneratorError(f"{result.get('messages')} messages were sent instead of {messages}")


def runs(messages: int) -> tuple[int, int]:
    """Two runs; what the second has more is that of so many sends, without connecting and the first ones' costs."""
    return messages // 4, messages // 4 + messages


def profile(place: Place, load: Load) -> callgrind.Profile:
    """What callgrind counts of the sends."""
    out = place.data / "callgrind"
    options = [f"--callgrind-out-file={out}", "-q", *callgrind.separate_callers()]
    with Wrapped(place, ["valgrind", "--tool=callgrind", *options]) as server:
        send(place, server, load, load.warm_up)
        dumps = []
        for part, messages in enumerate([0, *runs(load.under_callgrind)], start=1):
            if messages:
                send(place, server, load, messages)
            done = subprocess.run(["callgrind_control", "--dump", str(server.pid)], capture_output=True, text=True,
                                  timeout=TOOL_SECONDS)
            file = Path(f"{out}.{part}")
            if done.returncode != 0 or not file.exists():
                raise ServerError(f"callgrind wrote no dump: {done.stderr.strip() or done.stdout.strip()}")
            with open(file, errors="replace") as lines:
                dumps.append(callgrind.read(lines))
            file.unlink()
    return dumps[2].minus(dumps[1])


def system_calls(place: Place, load: Load) -> Counter[str]:
    """System calls of the sends, by thread and name."""
    out = place.data / "strace"
    counts = []
    with Wrapped(place, []) as server:
        send(place, server, load, load.warm_up)
        for messages in runs(load.under_strace):
            tracer = subprocess.Popen(["strace", "-f", "-o", str(out), "-p", str(server.pid)],
                                      stderr=subprocess.PIPE, text=True, start_new_session=True)
            try:
                # It says so once it has attached.
                assert tracer.stderr is not None
                said = tracer.stderr.readline()
                if "attached" not in said:
                    raise ServerError(f"strace could not attach to the server: {said.strip()}")
                send(place, server, load, messages)
                threads = names_of_threads(server.pid)
            finally:
                send_signal(tracer.pid, signal.SIGINT)
                tracer.communicate(timeout=TOOL_SECONDS)
            calls: Counter[str] = Counter()
            with open(out) as lines:
                for line in lines:
                    if begun := re.match(r"(\d+) +(\w+)\(", line):
                        calls[f"{threads.get(begun[1], 'ended')}: {begun[2]}"] += 1
            out.unlink()
            counts.append(calls)
    counts[1].subtract(counts[0])
    return counts[1]


def names_of_threads(pid: int) -> dict[str, str]:
    return {task.name: (task / "comm").read_text().strip() for task in Path(f"/proc/{pid}/task").iterdir()}


def count(binary: Path, folder: Path) -> tuple[dict[str, float], dict[str, dict[str, list[tuple[str, float]]]]]:
    """The figures, and lists of what they are made of by load."""
    figures: dict[str, float] = {}
    lists: dict[str, dict[str, list[tuple[str, float]]]] = {}
    for load in (ALONE, PIPELINED):
        place = Place(binary, folder, *ports())
        sends = load.under_callgrind
        counted = profile(place, load)
        figures[f"instructions_{load.name}"] = counted.instructions / sends
        figures[f"allocations_{load.name}"] = sum(counted.allocations.values()) / sends
        calls = system_calls(place, load)
        figures[f"system_calls_{load.name}"] = sum(calls.values()) / load.under_strace

        def each(counts: Counter[str], of: int, most: int) -> list[tuple[str, float]]:
            return [(name, number / of) for name, number in counts.most_common(most) if number > 0]

        lists[load.name] = {
            "system calls, by thread": each(calls, load.under_strace, 15),
            "heap allocations, by caller": each(short_chains(counted), sends, 25),
            "instructions of functions themselves": each(counted.own, sends, 50),
            "instructions of functions with what they call": each(counted.inclusive, sends, 60),
        }
    return figures, lists


def short_chains(counted: callgrind.Profile) -> Counter[str]:
    chains: Counter[str] = Counter()
    for chain, calls in counted.allocations.items():
        chains[callgrind.shorten(chain)] += calls
    return chains


def ports() -> tuple[int, int]:
    """Two that are free, with those beside the second."""
    for base in range(23_100, 32_000, 20):
        if all(is_free(base + more) for more in range(5)):
            return base, base + 3
    raise ServerError("there are no free ports between 23100 and 32000")


def table(figures: dict[str, float]) -> str:
    lines = [f"{'one send of 1 KB, ASYNC_FLUSH':<40}{'counted':>10}{'target':>10}"]
    for name, title, most in TARGETS:
        figure = figures[name]
        met = "met" if figure <= most else "not met"
        digits = 0 if most > 100 else 2
        lines.append(f"{title:<40}{figure:>10,.{digits}f}{most:>10,.{digits}f}  {met}")
    return "\n".join(lines)


def describe(lists: dict[str, dict[str, list[tuple[str, float]]]]) -> str:
    """The lists as a text."""
    lines = []
    for load, of_load in lists.items():
        for title, entries in of_load.items():
            lines += ["", f"{load}: {title}, a send"]
            lines += [f"{number:>12,.3f}  {name}" for name, number in entries]
    return "\n".join(lines)


def main(given: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="bench/count-send",
        description="Counts what one send of 1 KB costs the server: instructions in user space and heap allocations "
        "(callgrind), system calls (strace). Alone: 1 connection, 1 in flight; pipelined: 16 connections, 64 each.",
        epilog="What the server does in the background meanwhile counts, too. Needs valgrind and strace.",
    )
    parser.add_argument("--binary", type=Path, metavar="FILE", help="this release binary, and don't build it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="write there which functions, callers and threads it was")
    options = parser.parse_args(given)
    missing = [tool for tool in ("valgrind", "callgrind_control", "strace") if not shutil.which(tool)]
    if missing:
        print(f"count-send: {', '.join(missing)} missing (Debian: apt-get install valgrind strace)", file=sys.stderr)
        return 2
    binary = options.binary
    if binary is None:
        build = ["cargo", "build", "--release", "--locked", "--bin", "apogee"]
        if subprocess.run(build, cwd=REPOSITORY, stdout=sys.stderr).returncode != 0:
            return 2
        binary = REPOSITORY / "target" / "release" / "apogee"
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="count-send-") as folder:
            figures, lists = count(binary, Path(folder))
    except (ServerError, GeneratorError, OSError, subprocess.SubprocessError) as error:
        print(f"count-send: {error}", file=sys.stderr)
        return 1
    if options.profile:
        options.profile.write_text(table(figures) + "\n" + describe(lists) + "\n")
    if options.json:
        targets = {name: most for name, _, most in TARGETS}
        met = {name: figures[name] <= most for name, most in targets.items()}
        print(json.dumps({"a_send": figures, "targets": targets, "met": met, "seconds": time.monotonic() - began}))
    else:
        print(table(figures))
    return 0
