"""The workloads: what is done to which servers, and what the comparison is to show.

A session is a list of workloads that one start of a server goes through, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Union

from .servers import APACHE, APOGEE, COLD, FLOOR

#: Most that a workload writes, so that a long run does not fill the disk.
MOST_BYTES = 2 << 30

BROKERS = (APOGEE, APACHE)
SENDERS = (APOGEE, APACHE, COLD, FLOOR)


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    seconds: int = 10
    warm_up: int = 1_000_000
    catch_up: int = 5_000_000
    one_million: int = 1_000_000
    few_groups: int = 1_000
    many_groups: int = 10_000
    connections: int = 10_000
    topics: int = 10_000
    most_topics: int = 100_000
    idle_seconds: int = 30
    gigabytes: float = 10.0
    #: Highest rate of the end-to-end workloads; the others are parts of it.
    live_rate: int = 20_000

    @staticmethod
    def quick() -> Scale:
        """Just enough to see that everything works."""
        return Scale(
            seconds=2, warm_up=5_000, catch_up=50_000, one_million=20_000, few_groups=20, many_groups=100,
            connections=200, topics=100, most_topics=200, idle_seconds=2, gigabytes=0.05, live_rate=2_000,
        )


# What is done.


@dataclass(frozen=True)
class Run:
    """The generator runs a workload of its own."""

    workload: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Idle:
    """Nothing is done: how much CPU time and memory that takes."""

    seconds: int


@dataclass(frozen=True)
class Start:
    """A start with an empty folder."""


@dataclass(frozen=True)
class Restart:
    """A start with a large log, nothing of which is in memory."""

    gigabytes: float
    killed: bool


Step = Union[Run, Idle, Start, Restart]


# What it is to show.


@dataclass(frozen=True)
class Target:
    """A bound of a figure of Apogee's: a share of the same figure of another server or workload, or a value."""

    figure: str
    bound: float
    #: A server's name, "workload:NAME" for Apogee's own figure there, or empty for a value.
    of: str = APACHE
    at_least: bool = False


@dataclass(frozen=True)
class Workload:
    """One line of the report."""

    name: str
    title: str
    step: Step
    targets: tuple[Target, ...] = ()
    servers: tuple[str, ...] = BROKERS
    #: Why a server is left out.
    absent: dict[str, str] = field(default_factory=dict)
    #: The figure by which nobody may be slower than Apache RocketMQ; empty: none.
    speed: str = ""


@dataclass(frozen=True)
class Session:
    """Workloads that share a start of a server."""

    name: str
    title: str
    workloads: tuple[Workload, ...]
    settings: dict[str, str] = field(default_factory=dict)
    #: Whether the server is warmed up; cold figures are of a server of their own.
    warm: bool = True
    #: What must be there before, not measured.
    prepare: tuple[Run, ...] = ()


def cpu(share: float, of: str = APACHE) -> Target:
    return Target("cpu_us", share, of)


def send(scale: Scale, size: int = 1024, **options: Union[int, str]) -> Run:
    """The generator's `send`, bounded in bytes."""
    given = {"connections": 16, "in-flight": 1, "size": size, "topic": "Compare", "queues": 8, "seconds": scale.seconds}
    given.update({name.replace("_", "-"): value for name, value in options.items()})
    given.setdefault("messages", MOST_BYTES // size)
    return Run("send", tuple(word for name, value in given.items() for word in (f"--{name}", str(value))))


def flat_out(name: str, title: str, run: Run, *targets: Target) -> Workload:
    return Workload(name, title, run, targets, SENDERS, speed="rate")


def sending(scale: Scale) -> Session:
    return Session("send", "Sending, ASYNC_FLUSH", (
        flat_out("send-1", "1 KB, 1 connection, 1 in flight", send(scale, connections=1),
                 cpu(1 / 5), cpu(1.4, FLOOR), Target("p99_us", 1 / 3)),
        flat_out("send-16", "1 KB, 16 connections, 1 in flight", send(scale), cpu(1 / 5), cpu(1.0, FLOOR)),
        flat_out("send-64", "1 KB, 64 connections, 1 in flight", send(scale, connections=64), cpu(1 / 5)),
        flat_out("send-256", "1 KB, 256 connections, 1 in flight", send(scale, connections=256), cpu(1 / 5)),
        flat_out("send-16x64", "1 KB, 16 connections, 64 in flight", send(scale, in_flight=64),
                 cpu(1 / 12), Target("rate", 7, at_least=True)),
        flat_out("send-128b", "128 B, 16 connections, 64 in flight", send(scale, 128, in_flight=64), cpu(1 / 15)),
        flat_out("send-batch", "1 KB in batches of 32, 16 connections", send(scale, batch=32), cpu(1 / 6)),
        flat_out("send-16k", "16 KB, 16 connections, 1 in flight", send(scale, 16384), cpu(1 / 3)),
    ))


def flushing(scale: Scale) -> Session:
    def with_ours(other: str) -> Target:
        return Target("rate", 0.85, f"workload:{other}", at_least=True)

    return Session("flush", "Sending, SYNC_FLUSH", (
        flat_out("flush-1", "SYNC_FLUSH, 1 KB, 1 connection", send(scale, connections=1),
                 Target("rate", 1 / 1.15, FLOOR, at_least=True)),
        flat_out("flush-64", "SYNC_FLUSH, 1 KB, 64 connections", send(scale, connections=64), cpu(1 / 5), with_ours("send-64")),
        flat_out("flush-256", "SYNC_FLUSH, 1 KB, 256 connections", send(scale, connections=256), cpu(1 / 5),
                 with_ours("send-256")),
    ), settings={"flushDiskType": "SYNC_FLUSH"})


def sessions(scale: Scale) -> list[Session]:
    """All of them, in the order in which they run."""
    parts: list[Callable[[Scale], Session]] = [sending, flushing]
    return [part(scale) for part in parts]


def named(all_sessions: list[Session]) -> dict[str, Workload]:
    """All workloads by name."""
    return {workload.name: workload for session in all_sessions for workload in session.workloads}
