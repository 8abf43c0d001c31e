"""What a message costs the clients: the same work by the Rust client and by the official Java client, with one server,
in turns."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .machine import describe
from .servers import APOGEE, REPOSITORY, Place, Server, ServerError

RUST, JAVA = "rust", "java"
#: Messages that are measured, and those before them, which the JVM needs to compile what it runs.
MODES = {"sync": (100_000, 40_000), "async": (512_000, 512_000), "consume": (1_000_000, 500_000)}
INTEROP = REPOSITORY / "tests" / "interop" / "java"
TIMEOUT_SECONDS = 600


def build(binary: Path | None) -> tuple[Path, Path]:
    """The server and the Rust program; the Java program is in its folder."""
    run(["cargo", "build", "--release", "--locked", "-p", "apogee-client", "--example", "speed"], REPOSITORY)
    if binary is None:
        run(["cargo", "build", "--release", "--locked", "--bin", "apogee"], REPOSITORY)
    run(["mvn", "-q", "-B", "compile", "dependency:copy-dependencies", "-DoutputDirectory=target/lib"], INTEROP)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release"
    return binary or target / "apogee", target / "examples" / "speed"


def run(command: list[str], folder: Path) -> None:
    if subprocess.run(command, cwd=folder, stdout=sys.stderr).returncode != 0:
        sys.exit(f"clients: failed: {' '.join(command)}")


def measure(command: list[str]) -> dict[str, Any]:
    """One run of a program, which prints what it used."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_SECONDS)
    if done.returncode != 0:
        sys.exit(f"clients: failed with {done.returncode}: {' '.join(command)}")
    return json.loads(done.stdout.splitlines()[-1])


def per_message(figures: list[dict[str, Any]]) -> float:
    """Microseconds of CPU time for a message, the median of the rounds."""
    return statistics.median(each["cpu_seconds"] / each["messages"] for each in figures) * 1e6


def rate(figures: list[dict[str, Any]]) -> float:
    """Messages in a second, the median of the rounds."""
    return statistics.median(each["messages"] / each["seconds"] for each in figures)


def report(results: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """A table for people."""
    lines = ["| | Rust: CPU, rate, memory | Java: CPU, rate, memory | messages per CPU second |", "|---|---|---|---|"]
    for mode, of_mode in results.items():
        cells = []
        for client in (RUST, JAVA):
            figures = of_mode[client]
            memory = max(each["memory"] for each in figures) / (1 << 20)
            cells.append(f"{per_message(figures):.1f} us, {rate(figures):,.0f}/s, {memory:.0f} MiB")
        ratio = per_message(of_mode[JAVA]) / per_message(of_mode[RUST])
        lines.append(f"| {mode} | {cells[0]} | {cells[1]} | {ratio:.1f} x |")
    return "\n".join(lines)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench/clients", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3); figures are medians")
    parser.add_argument("--mode", action="append", choices=MODES, help="only these (all)")
    parser.add_argument("--binary", type=Path, help="an apogee binary instead of building one")
    parser.add_argument("--port", type=int, default=29876, help="of the name server; the broker has one 100 higher (29876)")
    parser.add_argument("--json", action="store_true", help="all figures, and the machine")
    arguments = parser.parse_args(words)
    binary, rust = build(arguments.binary and arguments.binary.resolve())
    heap = ["-Xms1g", "-Xmx1g"]
    with tempfile.TemporaryDirectory(prefix="apogee-clients-") as folder:
        place = Place(binary, Path(folder), arguments.port, arguments.port + 100)
        namesrv = f"127.0.0.1:{arguments.port}"
        programs = {
            RUST: [str(rust)],
            JAVA: ["java", *heap, f"-Duser.home={folder}", f"-Drocketmq.client.logRoot={folder}/logs",
                   "-cp", f"{INTEROP}/target/classes:{INTEROP}/target/lib/*", "interop.Speed"],
        }
        modes = arguments.mode or list(MODES)
        results: dict[str, dict[str, list[dict[str, Any]]]] = {mode: {RUST: [], JAVA: []} for mode in modes}
        try:
            # The disk is not what is measured.
            with Server(APOGEE, place, {"flushDiskType": "ASYNC_FLUSH"}):
                fill(programs[RUST], namesrv, modes)
                for round_number in range(arguments.rounds):
                    for mode in modes:
                        messages, warm_up = MODES[mode]
                        for client, program in programs.items():
                            topic = "SpeedRead" if mode == "consume" else "SpeedWritten"
                            figures = measure([*program, namesrv, topic, mode, str(messages), str(warm_up)])
                            results[mode][client].append(figures)
                            print(f"{round_number + 1} {mode} {client}: {figures}", file=sys.stderr)
        except ServerError as error:
            sys.exit(f"clients: {error}")
        print(json.dumps({"machine": describe(Path(folder)), "results": results}) if arguments.json else report(results))
    return 0


def fill(rust: list[str], namesrv: str, modes: list[str]) -> None:
    """Sends what is to be consumed."""
    if "consume" in modes:
        messages, warm_up = MODES["consume"]
        # They are shared among the senders, and what is left over is not sent: some more, so that nobody waits for those.
        measure([*rust, namesrv, "SpeedRead", "async", str(messages + warm_up + 10_000), "0"])
