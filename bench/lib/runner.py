"""Runs the workloads: server by server, round by round, A B A B."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import Any, Iterator, Optional

from . import figures, generator, machine, processes, workloads
from .generator import GeneratorError
from .model import BROKERS, Idle, Restart, Run, Session, Start, Step, Workload
from .results import Results
from .servers import COLD, DISK, Place, Server, ServerError


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    sessions: list[Session]
    rounds: int
    cold_rounds: int
    warm_up: int
    #: Before each workload, so that one does not pay for the other.
    rest_seconds: float = 1.0
    disk_seconds: int = 5
    servers: Optional[frozenset[str]] = None

    def turns(self) -> Iterator[tuple[Session, int, str, list[Workload]]]:
        """Session, round, server, and what it runs without being started anew; in order."""
        for session in self.sessions:
            names = dict.fromkeys(server for workload in session.workloads for server in workload.servers)
            for round_number in range(1, self.rounds + 1):
                for server in names:
                    if self.servers is not None and server not in self.servers:
                        continue
                    ours = [workload for workload in session.workloads if server in workload.servers]
                    if server != COLD:
                        yield session, round_number, server, ours
                    elif round_number <= self.cold_rounds:
                        # After its first workload it would not be cold any more.
                        for workload in ours:
                            yield session, round_number, server, [workload]


class Progress:
    """Tells on standard error how far a run is."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.began = total, 0, time.monotonic()

    def say(self, text: str) -> None:
        print(f"{self.done:>4}/{self.total} {text}", file=sys.stderr, flush=True)

    def finished(self, text: str) -> None:
        """One more is done."""
        self.done += 1
        left = (time.monotonic() - self.began) / self.done * (self.total - self.done)
        self.say(f"{text}; about {left / 60:.0f} min left" if self.done < self.total else text)


class Runner:
    """Carries a plan out, and adds each measurement to the results at once."""

    def __init__(self, plan: Plan, place: Place, results: Results) -> None:
        self.plan, self.place, self.results = plan, place, results
        self.progress = Progress(sum(len(self.missing(*turn)) for turn in plan.turns()))

    def run(self) -> None:
        """All that is not in the results yet."""
        for turn in self.plan.turns():
            session, round_number, server, _ = turn
            missing = self.missing(*turn)
            if missing:
                self.turn(session, round_number, server, missing)

    def missing(self, session: Session, round_number: int, server: str, todo: list[Workload]) -> list[Workload]:
        """What of a turn is to be run: if each needs those before it, all up to the last that was not measured."""
        open_ones = [
            index for index, each in enumerate(todo) if not self.results.has(each.name, server, round_number)
        ]
        if session.chained:
            return todo[: open_ones[-1] + 1] if open_ones else []
        return [todo[index] for index in open_ones]

    def turn(self, session: Session, round_number: int, name: str, todo: list[Workload]) -> None:
        """One start of a server, and what it goes through."""
        waiting = list(todo)
        try:
            if name == DISK:
                while waiting:
                    result = generator.disk(self.place, self.plan.disk_seconds)
                    self.keep(waiting.pop(0), name, round_number, {"result": result})
                return
            with Server(name, self.place, session.settings) as server:
                self.prepare(session, server)
                while waiting:
                    self.progress.say(f"{waiting[0].name}, {name}, round {round_number} of {self.plan.rounds} ...")
                    result = self.measure(waiting[0], server)
                    self.keep(waiting.pop(0), name, round_number, {"result": result})
        except (ServerError, GeneratorError) as error:
            # What the failure kept from running is told, too.
            for index, workload in enumerate(waiting):
                why = str(error) if index == 0 else f"not run: {waiting[0].name} before it failed"
                self.keep(workload, name, round_number, {"failed": why})

    def keep(self, workload: Workload, server: str, round_number: int, outcome: dict[str, Any]) -> None:
        """Writes a measurement down and tells it."""
        self.results.add({"workload": workload.name, "server": server, "round": round_number, **outcome})
        told = f"failed: {outcome['failed']}" if "failed" in outcome else brief(workload, outcome["result"])
        self.progress.finished(f"{workload.name}, {server}, round {round_number}: {told}")

    def prepare(self, session: Session, server: Server) -> None:
        """Warms the server up and makes what the session needs."""
        for name in session.warm if server.name in BROKERS and self.plan.warm_up else ():
            self.progress.say(f"{session.name}: warming up {server.name} ...")
            warming = workloads.warming(name, self.plan.warm_up)
            generator.run(self.place, server, warming.workload, list(warming.arguments))
        for run in session.prepare:
            self.progress.say(f"{session.name}: preparing {server.name}: {run.workload} ...")
            fill(self.place, server, run)

    def measure(self, workload: Workload, server: Server) -> dict[str, Any]:
        """Does a workload's step."""
        # What the last one left to be written is not this one's.
        os.sync()
        time.sleep(self.plan.rest_seconds)
        before = processes.processors()
        result = self.do(workload.step, server)
        result["stolen"] = processes.processors().stolen_since(before)
        if not server.is_up():
            raise ServerError(f"{server.name} ended meanwhile:\n{server.last_words()}")
        return result

    def do(self, step: Step, server: Server) -> dict[str, Any]:
        if isinstance(step, Run):
            before = server.usage()
            result = generator.run(self.place, server, step.workload, list(step.arguments))
            used = result.get("server")
            if isinstance(used, dict) and "anonymous_bytes" in used:
                used["added_bytes"] = used["anonymous_bytes"] - before.anonymous_bytes
            if isinstance(used, dict) and "cpu_seconds" in used and result.get("seconds"):
                used["cores"] = used["cpu_seconds"] / result["seconds"]
            return result
        if isinstance(step, Idle):
            return idle(server, step)
        if isinstance(step, Start):
            server.kill()
            server.empty()
            return {"start_s": server.time_start("Started")}
        return restart(server, step)


def fill(place: Place, server: Server, run: Run) -> None:
    """Sends what is not measured itself. Apache's broker refuses some when it is slow; a hundredth does not matter."""
    result = generator.run(place, server, run.workload, list(run.arguments))
    errors = result.get("errors") or {}
    if sum(errors.values()) > result.get("messages", 0) * figures.MESSAGES_TOLERANCE:
        raise GeneratorError(f"`{run.workload}` before measuring had errors: {errors}")


def idle(server: Server, step: Idle) -> dict[str, Any]:
    """What a server uses when nobody asks it for anything."""
    time.sleep(step.rest)
    before, began = server.usage(), time.monotonic()
    time.sleep(step.seconds)
    after, took = server.usage(), time.monotonic() - began
    spent = after.cpu_seconds - before.cpu_seconds
    return {
        "seconds": took,
        "server": {
            "cpu_seconds": spent, "cores": spent / took,
            "resident_bytes": after.resident_bytes, "anonymous_bytes": after.anonymous_bytes,
        },
    }


def restart(server: Server, step: Restart) -> dict[str, Any]:
    """Ends a server, cleanly or not, has the system forget its files, and starts it."""
    if step.before_kill:
        # What came since the last checkpoint, half a minute ago at most, is to be recovered.
        fill(server.place, server, step.before_kill)
        server.kill()
    else:
        server.stop()
    dropped = machine.drop_caches()
    return {"start_s": server.time_start("Started"), "caches_dropped": dropped}


def brief(workload: Workload, result: dict[str, Any]) -> str:
    """A result in a few words."""
    reason = figures.objection(result, workload.messages)
    if reason:
        return reason
    said = []
    for name, unit, factor in (
        ("cpu_us", "µs CPU", 1.0), ("rate", "/s", 1.0), ("p99_us", "µs p99", 1.0), ("cores", "cores", 1.0),
        ("anonymous_bytes", "MB", 1e-6), ("start_s", "s", 1.0),
    ):
        value = figures.figure(result, name)
        if value is not None:
            said.append(f"{value * factor:,.4g} {unit}")
    return ", ".join(said)
