"""The servers that are compared: each starts fresh on a folder of its own and leaves nothing behind."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from . import processes, remoting

REPOSITORY = Path(__file__).resolve().parents[2]
ORACLE = REPOSITORY / "tests" / "oracle" / "apache"
APACHE_HEAP = "4g"

#: Longest time for a start; one after a kill reads gigabytes.
START_SECONDS = 600.0
#: Longest time for a clean stop before it becomes a kill.
STOP_SECONDS = 120.0

#: The last is no server: the loop of writes and syncs that one sender with SYNC_FLUSH cannot be faster than.
APOGEE, APACHE, COLD, FLOOR, DISK = "apogee", "apache", "apache-cold", "floor", "disk"
TITLES = {
    APOGEE: "Apogee", APACHE: "Apache RocketMQ", COLD: "Apache RocketMQ, cold", FLOOR: "floor",
    DISK: "write and fdatasync",
}


class ServerError(Exception):
    """A server did not do what it must for a measurement."""


@dataclass(frozen=True)
class Place:
    """Where servers run: the host is this one."""

    binary: Path
    data: Path
    namesrv_port: int
    broker_port: int

    @property
    def broker(self) -> str:
        return f"127.0.0.1:{self.broker_port}"

    def ports(self) -> list[int]:
        """All that servers listen on: Apache's broker also takes the ports beside its own."""
        return [self.namesrv_port, self.broker_port - 2, self.broker_port, self.broker_port + 1]


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


class Server:
    """One server. As a context: it is stopped and its folder removed at the end, whatever happens."""

    def __init__(self, name: str, place: Place, settings: dict[str, str]) -> None:
        self.name, self.place, self.settings = name, place, settings
        self.folder = place.data / name
        self.process: subprocess.Popen[str] | None = None
        self.log: IO[bytes] | None = None
        #: The line that it said when it was ready.
        self.greeting = ""

    def __enter__(self) -> Server:
        self.empty()
        self.wait_for_ports()
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.kill()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def wait_for_ports(self) -> None:
        """The system may need a moment to take back those of the server before."""
        deadline = time.monotonic() + 10
        while taken := [port for port in self.place.ports() if not is_free(port)]:
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} cannot be started: port {taken[0]} is taken")
            time.sleep(0.05)

    def empty(self) -> None:
        """Makes its folder an empty one."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def command(self) -> list[str]:
        """How it is started; it prints a line when it is ready."""
        place, data = self.place, self.folder / "data"
        ports = ["--namesrv-port", str(place.namesrv_port), "--broker-port", str(place.broker_port)]
        pairs = [f"{key}={value}" for key, value in self.settings.items()]
        if self.name == APOGEE:
            given = [word for pair in pairs for word in ("--set", pair)]
            network = ["--host", "127.0.0.1", "--bind", "127.0.0.1"]
            return [str(place.binary), "server", "--data", str(data), *network, *ports, *given]
        if self.name in (APACHE, COLD):
            return [str(ORACLE), "server", "--data", str(data), *ports, *pairs]
        if self.name == FLOOR:
            syncs = self.settings.get("flushDiskType") == "SYNC_FLUSH"
            flush = ["--flush", str(self.folder / "floor")] if syncs else []
            return [str(place.binary), "bench", "floor", "--listen", place.broker, *flush]
        raise ServerError(f"there is no server '{self.name}'")

    def start(self) -> None:
        """Starts it on its folder as that is, and waits until it says that it is ready."""
        self.spawn()
        self.greeting = self.first_line()

    def time_start(self, topic: str) -> float:
        """Starts it; returns the seconds until it had answered a message."""
        began = time.monotonic()
        self.spawn()
        while not remoting.send_one("127.0.0.1", self.place.broker_port, topic, timeout=10):
            if time.monotonic() - began > START_SECONDS or not self.is_up():
                raise ServerError(f"{self.name} answered no message after its start:\n{self.last_words()}")
            time.sleep(0.001)
        took = time.monotonic() - began
        self.greeting = self.first_line()
        return took

    def spawn(self) -> None:
        environment = os.environ | {"HEAP": APACHE_HEAP}
        self.log = open(self.folder / "log", "ab")
        # A session of its own: Ctrl-C reaches the comparison, which then stops it.
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True,
            env=environment, start_new_session=True,
        )

    def first_line(self) -> str:
        """Waits for it. Nothing more is read: no server says more than fits into the pipe."""
        assert self.process is not None and self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(START_SECONDS):
                raise ServerError(f"{self.name} was not ready after {START_SECONDS:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise ServerError(f"{self.name} ended before it was ready:\n{self.last_words()}")
        return line.strip()

    def last_words(self) -> str:
        """The end of its log."""
        lines = processes.read(self.folder / "log").splitlines()
        return "\n".join(lines[-10:])

    @property
    def pid(self) -> int:
        if self.process is None:
            raise ServerError(f"{self.name} does not run")
        return self.process.pid

    def is_up(self) -> bool:
        return self.process is not None and processes.is_running(self.process.pid)

    def usage(self) -> processes.Usage:
        return processes.usage(self.pid)

    def stop(self) -> float:
        """Ends it cleanly; returns the seconds that it took."""
        pids, began = processes.tree(self.pid), time.monotonic()
        processes.send_signal(self.pid, signal.SIGTERM)
        if not processes.wait_for_end(pids, STOP_SECONDS):
            self.kill()
            raise ServerError(f"{self.name} had not stopped after {STOP_SECONDS:.0f} s")
        self.forget()
        return time.monotonic() - began

    def kill(self) -> None:
        """Ends it as a crash does, if it runs."""
        if self.process is None:
            return
        pids = processes.tree(self.process.pid)
        for pid in pids:
            processes.send_signal(pid, signal.SIGKILL)
        processes.wait_for_end(pids[1:], 30)
        self.forget()

    def forget(self) -> None:
        assert self.process is not None
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        if self.log:
            self.log.close()
        self.process, self.log = None, None
