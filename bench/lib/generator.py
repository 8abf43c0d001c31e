"""Runs the load generator, `apogee bench`, and reads what it measured."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

from . import processes
from .servers import Place, Server

#: Time that a run may take beyond what it was asked to take, before it counts as stuck.
PATIENCE_SECONDS = 900.0

#: Size of the file that syncs are measured on.
DISK_MEBIBYTES = 256


class GeneratorError(Exception):
    """The generator could not do its work."""


def run(place: Place, server: Server, workload: str, arguments: list[str]) -> dict[str, Any]:
    """One run against a server; returns its result (docs/compare.md names the fields)."""
    return finish(begin(place, server, workload, arguments))


def disk(place: Place, seconds: int) -> dict[str, Any]:
    """Writes and syncs, one after the other, as many bytes as a message of 1 KB takes; no server. The file has its
    blocks before, as a log file may have them: on many file systems syncing new ones takes several times as long."""
    file = place.data / "disk"
    file.unlink(missing_ok=True)
    command = [str(place.binary), "bench", "floor", "--flush", str(file), "--seconds", str(seconds)]
    command += ["--allocated", str(DISK_MEBIBYTES), "--json"]
    result = finish(spawn(command))
    # Results are published, and where this one's folder was says nothing.
    result.get("options", {})["flush"] = file.name
    return result


def begin(place: Place, server: Server, workload: str, arguments: list[str]) -> subprocess.Popen[str]:
    """Starts one run."""
    command = [str(place.binary), "bench", workload, "--broker", place.broker, "--json"]
    command += ["--server-pid", str(server.pid)]
    return spawn([*command, *arguments])


def spawn(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Waits for its end and reads the result."""
    try:
        output, complaints = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        raise GeneratorError(f"the generator had not ended after {PATIENCE_SECONDS:.0f} s") from None
    finally:
        if process.poll() is None:
            processes.send_signal(process.pid, signal.SIGKILL)
            process.wait()
    try:
        result = json.loads(output)
    except ValueError:
        result = None
    # It also fails when a result shows that something is wrong; the result then says what.
    if not isinstance(result, dict):
        said = complaints.strip().splitlines()[-3:] or ["nothing"]
        raise GeneratorError(f"the generator ended with {process.returncode}, without a result: {' '.join(said)}")
    return result
