"""The table of workloads."""

from __future__ import annotations

from typing import Union

from .model import BROKERS, Idle, Restart, Run, Scale, Session, Start, Target, Workload
from .servers import APACHE, APOGEE, COLD, DISK, FLOOR

#: Most that a measured send writes, so that a long run does not fill the disk.
MOST_BYTES = 2 << 30

#: Of a message beside its body: in the log, in queue and index.
RECORD_BYTES = 256

#: Of the log of the large starts.
LARGE_SIZE = 4096

Value = Union[int, float, str]


def cpu(share: float, of: str = APACHE) -> Target:
    return Target("cpu_us", share, of)


def run(workload: str, **options: Value) -> Run:
    """One run of the generator, by its options."""
    given: dict[str, Value] = {"topic": "Compare", **options}
    # What is a switch has no value.
    words = ((f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])) for name, value in given.items())
    return Run(workload, tuple(word for pair in words for word in pair))


def send(scale: Scale, size: int = 1024, **options: Value) -> Run:
    """The generator's `send`, bounded in bytes."""
    common: dict[str, Value] = {"connections": 16, "in_flight": 1, "queues": 8, "seconds": scale.seconds}
    return run("send", size=size, **{"messages": MOST_BYTES // (size + RECORD_BYTES), **common, **options})


def warming(workload: str, messages: int) -> Run:
    """What makes a server ready to be measured."""
    common: dict[str, Value] = {"topic": "WarmUp", "queues": 8, "messages": messages, "seconds": 0}
    if workload == "send":
        # Few in flight: Apache's broker refuses what waits for 200 ms, and at first it is slow.
        return run("send", connections=16, in_flight=4, size=1024, **common)
    if workload == "pop":
        return run("pop", connections=8, in_flight=8, **common)
    return run(workload, connections=8, pull_batch=32, **{"from": "first"}, **common)


def flat_out(
    name: str, title: str, step: Run, *targets: Target, servers: tuple[str, ...] = (*BROKERS, COLD, FLOOR)
) -> Workload:
    return Workload(name, title, step, targets, servers, speed="rate")


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
    ), warm=("send",))


def flushing(scale: Scale) -> Session:
    def with_ours(other: str) -> Target:
        return Target("rate", 0.85, f"workload:{other}", at_least=True)

    return Session("flush", "Sending, SYNC_FLUSH", (
        flat_out("flush-1", "SYNC_FLUSH, 1 KB, 1 connection", send(scale, connections=1),
                 Target("rate", 1 / 1.15, DISK, at_least=True), servers=(*BROKERS, COLD, FLOOR, DISK)),
        flat_out("flush-64", "SYNC_FLUSH, 1 KB, 64 connections", send(scale, connections=64), cpu(1 / 5),
                 with_ours("send-64"), servers=(*BROKERS, COLD)),
        flat_out("flush-256", "SYNC_FLUSH, 1 KB, 256 connections", send(scale, connections=256), cpu(1 / 5),
                 with_ours("send-256"), servers=(*BROKERS, COLD)),
    ), settings={"flushDiskType": "SYNC_FLUSH"}, warm=("send",))


def reading(scale: Scale) -> Session:
    count = scale.catch_up
    every = 100

    def read(name: str, title: str, messages: int, share: float, **options: Value) -> Workload:
        step = run("consume", mode="pull", pull_batch=32, connections=8, queues=8, **{"from": "first"}, **options)
        return Workload(name, title, step, (cpu(share),), messages=messages, speed="rate")

    return Session("catch-up", f"Reading {count:,} messages from the beginning, 8 queues, 32 a pull", (
        read("catch-up-first", "catch-up, the first time", count, 1 / 5),
        read("catch-up-again", "catch-up, again", count, 1 / 5),
        read("filter-tag", f"tag that 1 in {every} has", count // every, 1 / 8, tag="rare"),
        read("filter-sql", f"SQL filter that 1 in {every} matches", count // every, 1 / 8, sql="TAGS = 'rare'"),
    ), prepare=(
        send(scale, in_flight=8, messages=count, seconds=0, tag="rare", tag_every=every),
    ), chained=True, charts=("cpu_us", "rate"))


def popping(scale: Scale) -> Session:
    def pop(name: str, title: str, *targets: Target, messages: int, **options: Value) -> Workload:
        step = run("pop", connections=8, queues=8, invisible=600, **options)
        return Workload(name, title, step, targets, messages=messages, speed="cpu_us")

    count = scale.one_million
    return Session("pop", f"Popping {count:,} messages, each acknowledged by a request of its own", (
        pop("pop-8", "8 connections, 1 in flight", cpu(1 / 6), messages=count),
        pop("pop-8x8", "8 connections, 8 in flight", cpu(1 / 6), messages=count, in_flight=8),
        Workload("pop-kept", f"{count:,} messages popped and not acknowledged",
                 run("pop", connections=8, queues=8, invisible=600, in_flight=8, keep=True),
                 (Target("added_bytes", 200e6, of=""),), messages=count),
    ), warm=("send", "pop"), prepare=(send(scale, in_flight=4, messages=count, seconds=0),), chained=True, charts=("cpu_us", "rate"))


def live(scale: Scale) -> Session:
    def end_to_end(name: str, rate: int, *targets: Target, way: str = "", **options: Value) -> Workload:
        step = run("e2e", rate=rate, connections=8, in_flight=64, queues=8, size=1024, seconds=scale.seconds, **options)
        return Workload(name, f"end to end at {rate:,}/s{way}", step, targets, speed="p99_us")

    def bounds() -> tuple[Target, ...]:
        return cpu(1 / 10), Target("p50_us", 1 / 8), Target("p999_us", 1 / 5)

    most = scale.live_rate
    return Session("live", "End to end, at a given rate", (
        end_to_end("e2e-1000", most // 20, *bounds()),
        end_to_end("e2e-4000", most // 5, *bounds()),
        end_to_end("e2e-20000", most),
        end_to_end("e2e-pop-1000", most // 20, Target("p50_us", 1.25, "workload:e2e-1000"), way=", by POP", pop=True),
    ), charts=("cpu_us", "p50_us", "p99_us", "p999_us"))


def later(scale: Scale) -> Session:
    most = scale.live_rate
    return Session("later", "Delayed, timed, in transactions", (
        Workload("delay", f"delay level 1 (1 s), {most // 10:,}/s",
                 send(scale, rate=most // 10, in_flight=64, delay_level=1, topic="Delayed"), speed="cpu_us"),
        Workload("timer", f"messages with a time of their own, {most // 20:,}/s",
                 run("timer", rate=most // 20, delay_ms=5000, connections=8, in_flight=64, queues=8, size=1024,
                     topic="Timed", seconds=scale.seconds),
                 (Target("p99_us", 10_000, of=""), cpu(1 / 8)), speed="p99_us"),
        Workload("transaction", "transactions, 16 connections",
                 run("transaction", connections=16, queues=8, size=1024, topic="Decided", seconds=scale.seconds),
                 (cpu(1 / 6),), speed="rate"),
    ), charts=("cpu_us",))


def groups(scale: Scale) -> Session:
    def polling(name: str, count: int) -> Workload:
        # A connection's heartbeat names all of its groups, and has a limit.
        step = run("consume", mode="push", groups=count, connections=max(count // 100, 1), queues=8, topic="Polled",
                   seconds=scale.idle_seconds)
        return Workload(name, f"{count:,} groups that poll", step, speed="cores")

    return Session("groups", "Consumer groups that poll", (
        polling("groups-1000", scale.few_groups),
        polling("groups-10000", scale.many_groups),
    ), charts=("cores", "anonymous_bytes"), prepare=(send(scale, messages=100, seconds=0, topic="Polled"),))


def memory(scale: Scale) -> Session:
    held = run("connections", connections=scale.connections, seconds=scale.idle_seconds)
    return Session("memory", "Memory, and doing nothing", (
        Workload("idle", "idle after the start, no clients", Idle(scale.idle_seconds, scale.idle_rest),
                 (Target("resident_bytes", 15e6, of=""), Target("cores", 0.001, of="")), speed="cores"),
        Workload("memory-messages", f"after {scale.one_million:,} messages of 1 KB",
                 send(scale, messages=scale.one_million, seconds=0, in_flight=4),
                 (Target("resident_bytes", 120e6, of=""),), speed="anonymous_bytes"),
        Workload("connections", f"{scale.connections:,} idle connections", held,
                 (Target("added_bytes", 40e6, of=""),), speed="added_bytes"),
    ), warm=(), chained=True, charts=("anonymous_bytes", "cores"))


def topics(scale: Scale) -> Session:
    # Four queues each: with eight, Apache's broker would need more maps than a process may have by default.
    used = run("topics", topics=scale.topics, queues=4, connections=16, in_flight=16, size=200, topic="Many",
               seconds=scale.seconds)
    return Session("topics", f"{scale.topics:,} topics of 4 queues", (
        Workload("topics-10000", f"{scale.topics:,} topics in use", used, speed="rate"),
        Workload("topics-idle", f"idle beside {scale.topics:,} topics",
                 Idle(scale.idle_seconds, scale.idle_rest), speed="cores"),
    ), chained=True)


def most_topics(scale: Scale) -> Session:
    why = {APACHE: "Apogee is compared with itself: 100,000 topics of 8 queues are 800,000 mapped files of Apache's "
                   "broker, and a process may have 65,530 on a stock kernel"}

    def used(name: str, count: int, *targets: Target) -> Workload:
        step = run("topics", topics=count, queues=8, connections=16, in_flight=16, size=200, topic=f"Of{count}",
                   seconds=scale.seconds)
        return Workload(name, f"{count:,} topics of 8 queues in use", step, targets, (APOGEE,), why)

    share = Target("rate", 0.9, "workload:topics-10", at_least=True)
    return Session("most-topics", f"{scale.most_topics:,} topics of 8 queues", (
        used("topics-10", 10),
        used("topics-100000", scale.most_topics, share, Target("resident_bytes", 250e6, of="")),
    ))


def start(_: Scale) -> Session:
    return Session("start", "Start with an empty store", (
        Workload("start-empty", "until a message is answered, empty store", Start(),
                 (Target("start_s", 0.030, of=""),), speed="start_s"),
    ), warm=(), charts=("start_s",))


def restart(scale: Scale) -> Session:
    def large(name: str, title: str, step: Restart, seconds: float) -> Workload:
        return Workload(name, title, step, (Target("start_s", seconds, of=""),), BROKERS, speed="start_s")

    def filled(count: int) -> Run:
        return send(scale, LARGE_SIZE, in_flight=4, messages=count, seconds=0)

    last = filled((scale.last_megabytes << 20) // LARGE_SIZE)
    size = f"{scale.gigabytes:g} GB"
    return Session("restart", f"Start with {size} of 4 KB messages, none of it in memory", (
        large("start-stopped", f"{size}, after a clean stop", Restart(), 0.2),
        large("start-killed", f"{size}, after kill -9, {scale.last_megabytes} MiB since", Restart(last), 1.5),
    ), warm=(), chained=True, charts=("start_s",), prepare=(filled(int(scale.gigabytes * (1 << 30)) // LARGE_SIZE),))


def sessions(scale: Scale) -> list[Session]:
    """All of them, in the order in which they run."""
    parts = (sending, flushing, reading, popping, live, later, groups, memory, topics, most_topics, start, restart)
    return [part(scale) for part in parts]


def named(all_sessions: list[Session]) -> dict[str, Workload]:
    """All workloads by name."""
    return {workload.name: workload for session in all_sessions for workload in session.workloads}
