"""Name servers, controllers and brokers of either kind as processes, and the Java client that a scenario directs."""
import os
import pathlib
import queue
import signal
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
ORACLE = ROOT / "tests" / "oracle" / "apache"
START_TIMEOUT_S = 240
STOP_TIMEOUT_S = 120
# How long a condition is waited for that is there within seconds on a quick machine.
LIMIT_S = 180
APACHE = {
    "namesrv": "org.apache.rocketmq.namesrv.NamesrvStartup",
    "controller": "org.apache.rocketmq.controller.ControllerStartup",
    "broker": "org.apache.rocketmq.broker.BrokerStartup",
}
HEAP = {"namesrv": "64m", "controller": "96m", "broker": "256m"}


class Failed(Exception):
    """What a scenario says when it is not as it must be."""


def check(holds, text):
    if not holds:
        raise Failed(text)


def until(what, condition, seconds=LIMIT_S):
    """Waits until a condition holds, and returns what it gave. One that fails may hold later: a server may be about to start."""
    end = time.monotonic() + seconds
    while True:
        cause = ""
        try:
            value = condition()
            if value:
                return value
        except Failed as failure:
            cause = f": {failure}"
        check(time.monotonic() < end, f"waited {seconds} s for {what}{cause}")
        time.sleep(0.1)


class Ports:
    """Ports that nobody else uses, in steps of ten: a broker takes some beside its own."""

    def __init__(self, first):
        self.next = first

    def take(self):
        while True:
            base, self.next = self.next, self.next + 10
            if all(map(free, range(base - 2, base + 4))):
                return base


def free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


class Node:
    """One server. Its folder, port and settings stay when it is started again, as the same kind or as the other."""

    def __init__(self, part, name, folder, port, settings, binary):
        self.part, self.name, self.folder, self.port, self.binary = part, name, folder, port, binary
        self.settings = settings
        self.address = f"127.0.0.1:{port}"
        self.kind = self.process = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self.output = self.folder / "output.log"

    def start(self, kind, **changes):
        """Starts it as 'apache' or 'apogee', and waits until it is ready. Both read the same file."""
        self.kind = kind
        self.settings = self.settings | changes
        conf = self.folder / f"{self.part}.conf"
        conf.write_text("".join(f"{key}={value}\n" for key, value in self.settings.items()))
        if kind == "apache":
            command = [ORACLE, "java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UseG1GC", f"-Duser.home={self.folder}", APACHE[self.part], "-c", conf]
        else:
            command = [self.binary, self.part, "-c", conf]
        environment = os.environ | {"HOME": str(self.folder), "ROCKETMQ_HOME": str(self.folder), "HEAP": HEAP[self.part]}
        environment |= {"ORACLE_LIB": os.environ.get("ORACLE_LIB", str(ORACLE.parent / "target" / "lib"))}
        said = self.output.stat().st_size if self.output.exists() else 0
        with open(self.output, "ab") as log:
            log.write(f"---- {self.name} starts as {kind}\n".encode())
            log.flush()
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, cwd=self.folder,
                                            start_new_session=True)
        ready = b"boot success" if kind == "apache" else b" ready"
        end = time.monotonic() + START_TIMEOUT_S
        while ready not in self.output.read_bytes()[said:]:
            if self.process.poll() is not None or time.monotonic() > end:
                said = self.output.read_text(errors="replace")[said:][-2000:]
                raise Failed(f"{self.name} did not start as {kind}; it said:\n{said}")
            time.sleep(0.05)
        return self

    def stop(self):
        """Stops it as an operator does."""
        if not self.running():
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"{self.name} ({self.kind}) was there {STOP_TIMEOUT_S} s after SIGTERM") from None
        # A Java process that is asked to stop says so in its code.
        check(code in (0, 128 + signal.SIGTERM, -signal.SIGTERM), f"{self.name} ({self.kind}) stopped with code {code}")

    def pause(self):
        """Has it stand still, each of its threads, until `resume`."""
        self.process.send_signal(signal.SIGSTOP)
        threads = pathlib.Path(f"/proc/{self.process.pid}/task")
        until("all threads to stand still", lambda: all(") T " in (thread / "stat").read_text() for thread in threads.iterdir()))

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        """Ends it as a crash does."""
        if self.running():
            self.process.kill()
            self.process.wait()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        """The files of its commit log by their first offset."""
        return {int(path.name): path for path in sorted((self.folder / "store" / "commitlog").glob("[0-9]*"))}

    def record(self, offset):
        """The bytes of the record at an offset of its log; empty if there is nothing."""
        first = max((begin for begin in self.log() if begin <= offset), default=0)
        with open(self.log()[first], "rb") as log:
            log.seek(offset - first)
            size = log.read(4)
            return size + log.read(int.from_bytes(size, "big") - 4) if any(size) else b""

    def epochs(self):
        """Where in the log each master's part begins, by epoch, where a controller elects them; both kinds write the same file."""
        lines = (self.folder / "store" / "epochFileCheckpoint").read_text().split()
        return {int(epoch): int(begin) for epoch, begin in (line.split("-") for line in lines[2:])}


class Client:
    """The official Java client: tests/interop/java's program Replication."""

    def __init__(self, java, namesrv, folder):
        self.answers = queue.Queue()
        self.log = folder / "client.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*java(folder, "-XX:TieredStopAtLevel=1"), "interop.Replication", namesrv], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            if line.startswith(("done", "failed")):
                self.answers.put(line.rstrip("\n"))
        self.answers.put("failed the client ended")

    def do(self, *words, timeout=120):
        """Has it run a command; returns what it answered."""
        command = " ".join(map(str, words))
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        try:
            word, _, rest = self.answers.get(timeout=timeout).partition(" ")
        except queue.Empty:
            raise Failed(f"no answer of the client to '{command}' within {timeout} s") from None
        check(word == "done", f"{command}: {rest}")
        return rest

    def end(self):
        self.process.kill()
        self.process.wait()
