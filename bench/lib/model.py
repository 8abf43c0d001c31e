"""What a workload is: what is done to which servers, and what the comparison is to show.

A session is a list of workloads that one start of a server goes through, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional, Union

from .servers import APACHE, APOGEE

BROKERS = (APOGEE, APACHE)


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
    idle_rest: int = 20
    gigabytes: float = 10.0
    #: Before a kill, what is not in a checkpoint yet.
    last_megabytes: int = 100
    rest_seconds: float = 1.0
    #: Highest rate of the end-to-end workloads; the others are parts of it.
    live_rate: int = 20_000

    @staticmethod
    def quick() -> Scale:
        """Just enough to see that everything works."""
        return Scale(
            seconds=1, warm_up=5_000, catch_up=50_000, one_million=20_000, few_groups=20, many_groups=100,
            connections=200, topics=100, most_topics=200, idle_seconds=1, idle_rest=1, gigabytes=0.05, live_rate=2_000,
            last_megabytes=5, rest_seconds=0.2,
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
    #: Before it: servers have things to do after a start, or after load.
    rest: int


@dataclass(frozen=True)
class Start:
    """A start with an empty folder."""


@dataclass(frozen=True)
class Restart:
    """A start with a large log, nothing of which is in memory."""

    #: What is sent right before it is ended by a kill; none: it is stopped cleanly.
    before_kill: Optional[Run] = None


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
    #: How many messages it must come to; none: as many as go.
    messages: Optional[int] = None
    #: The figure in which Apogee may not be behind Apache RocketMQ; empty: none.
    speed: str = ""


@dataclass(frozen=True)
class Session:
    """Workloads that share a start of a server."""

    name: str
    title: str
    workloads: tuple[Workload, ...]
    #: Of both brokers. Their own defaults differ in when a message is flushed: so it is always said.
    settings: dict[str, str] = field(default_factory=lambda: {"flushDiskType": "ASYNC_FLUSH"})
    #: What warms the server up, by as many messages each; cold figures are of a server of their own.
    warm: tuple[str, ...] = ("send", "consume")
    #: Whether each workload needs what those before it did.
    chained: bool = False
    #: Which figures are drawn.
    charts: tuple[str, ...] = ("cpu_us", "rate", "p99_us")
    #: What must be there before, not measured.
    prepare: tuple[Run, ...] = ()
