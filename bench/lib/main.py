"""The command line."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import machine, report, workloads
from .model import Restart, Scale, Session
from .results import Results, ResultsError
from .runner import Plan, Runner
from .servers import APACHE, APACHE_HEAP, APOGEE, COLD, DISK, FLOOR, ORACLE, REPOSITORY, TITLES, Place, is_free

#: What the sending of one start writes at most, in bytes.
FREE_BYTES = 14 << 30


class Usage(Exception):
    """Something that whoever called must change."""


def arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/compare", description="Measures Apogee and Apache RocketMQ in the same run on the same machine.",
        epilog="Results are written as they come: the same command goes on with an interrupted run.",
    )
    parser.add_argument("--list", action="store_true", help="name all workloads, and end")
    parser.add_argument("--report", type=Path, metavar="DIR", help="only write the report of a folder's results anew")
    parser.add_argument("--only", default="", metavar="NAME[,NAME]", help="these workloads or sessions (see --list)")
    parser.add_argument("--servers", default="", metavar="NAME[,NAME]",
                        help=f"these of {APOGEE}, {APACHE}, {COLD}, {FLOOR}, {DISK} (all)")
    parser.add_argument("--quick", action="store_true", help="tiny numbers, to see that everything works")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each server's turn comes (3; quick: 1)")
    parser.add_argument("--cold-rounds", type=int, metavar="N", help="the same of Apache's cold figures (1; quick: 0)")
    parser.add_argument("--seconds", type=int, metavar="S", help="of each measurement (10)")
    parser.add_argument("--warm-up", type=int, metavar="N", help="messages before measuring (1000000)")
    parser.add_argument("--catch-up", type=int, metavar="N", help="messages read from the beginning (5000000)")
    parser.add_argument("--gigabytes", type=float, metavar="G", help="of the log of the large starts (10)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the results (bench/results/DATE-MACHINE)")
    parser.add_argument("--data", type=Path, metavar="DIR",
                        help="where the servers' data goes, in a folder that is removed (target)")
    parser.add_argument("--namesrv-port", type=int, default=29876, metavar="PORT")
    parser.add_argument("--broker-port", type=int, default=30911, metavar="PORT",
                        help="Apache's broker also takes the ports 2 below and 1 above")
    parser.add_argument("--apogee", type=Path, metavar="FILE", help="this binary, and don't build it")
    options = parser.parse_args(given)
    for name, least in (("rounds", 1), ("cold_rounds", 0), ("seconds", 1), ("warm_up", 0), ("catch_up", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            parser.error(f"--{name.replace('_', '-')} is at least {least}, not {value}")
    if options.gigabytes is not None and options.gigabytes <= 0:
        parser.error("--gigabytes is more than 0")
    return options


def scale(options: argparse.Namespace) -> Scale:
    """How large everything is, by the options."""
    base = Scale.quick() if options.quick else Scale()
    given = {name: getattr(options, name) for name in ("seconds", "warm_up", "catch_up", "gigabytes")}
    return dataclasses.replace(base, **{name: value for name, value in given.items() if value is not None})


def select(sessions: list[Session], names: str) -> list[Session]:
    """Those workloads, or all."""
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    if not wanted:
        return sessions
    known = set(workloads.named(sessions)) | {session.name for session in sessions}
    if wanted - known:
        raise Usage(f"there is no workload {', '.join(sorted(wanted - known))}: --list names them")
    chosen = []
    for session in sessions:
        listed = [session.name in wanted or each.name in wanted for each in session.workloads]
        if session.chained:
            # With those before it.
            listed = [any(listed[index:]) for index in range(len(listed))]
        some = tuple(each for each, is_listed in zip(session.workloads, listed) if is_listed)
        if some:
            chosen.append(dataclasses.replace(session, workloads=some))
    return chosen


def show(sessions: list[Session]) -> None:
    """Prints what there is."""
    for session in sessions:
        print(f"{session.name}: {session.title}")
        for workload in session.workloads:
            print(f"  {workload.name:<18} {workload.title}  [{', '.join(workload.servers)}]")


def build(options: argparse.Namespace) -> Path:
    """The binary to measure, which also has the generator."""
    if options.apogee:
        binary = options.apogee.resolve()
    else:
        subprocess.run(["cargo", "build", "--release", "--locked", "-p", "apogee-server"], cwd=REPOSITORY, check=True)
        target = os.environ.get("CARGO_TARGET_DIR") or "target"
        binary = REPOSITORY / target / "release" / "apogee"
    if not os.access(binary, os.X_OK):
        raise Usage(f"there is no program {binary}")
    return binary


def check(place: Place, needed: int) -> None:
    """Finds out before the first measurement what would make a later one fail."""
    for tool in ("java", "mvn"):
        if not shutil.which(tool):
            raise Usage(f"Apache RocketMQ needs '{tool}', which is not on the PATH")
    for port in place.ports():
        if not is_free(port):
            raise Usage(f"port {port} is taken: give another --broker-port or --namesrv-port")
    free = shutil.disk_usage(place.data).free
    if free < needed:
        raise Usage(f"{place.data} has {free >> 30} GiB free, and {needed >> 30} GiB are needed: give another --data")


def about(options: argparse.Namespace, size: Scale, plan: Plan, place: Place) -> dict[str, Any]:
    """How and where is measured."""
    command = ["bench/compare"]
    for name in ("only", "servers", "rounds", "cold_rounds", "seconds", "warm_up", "catch_up", "gigabytes"):
        value = getattr(options, name)
        command += [f"--{name.replace('_', '-')}", str(value)] if value else []
    return {
        "date": datetime.date.today().isoformat(),
        "command": " ".join(command + (["--quick"] if options.quick else [])),
        "options": {"scale": dataclasses.asdict(size), "rounds": plan.rounds, "cold_rounds": plan.cold_rounds},
        "apogee": machine.apogee_version() | ({"binary": "given"} if options.apogee else {}),
        "apache": {"version": machine.apache_version(), "heap": APACHE_HEAP},
        "machine": machine.describe(place.data),
    }


def out(options: argparse.Namespace) -> Path:
    """The folder of the results."""
    if options.out:
        return Path(options.out)
    if options.quick:
        return REPOSITORY / "target" / "compare-quick"
    return REPOSITORY / "bench" / "results" / f"{datetime.date.today().isoformat()}-{machine.short_name()}"


def interrupted(*_: object) -> None:
    """The servers are stopped on the way out; a second signal must not keep them from it."""
    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, signal.SIG_IGN)
    raise KeyboardInterrupt


def compare(options: argparse.Namespace) -> None:
    size = scale(options)
    sessions = select(workloads.sessions(size), options.only)
    if options.list:
        show(sessions)
        return
    if options.report:
        print(report.write(Results.load(options.report)), file=sys.stderr)
        return
    folder = out(options)
    if options.quick and not options.out and folder.exists():
        shutil.rmtree(folder)
    default_rounds, default_cold = (1, 0) if options.quick else (3, 1)
    servers = {name.strip() for name in options.servers.split(",") if name.strip()}
    if servers - set(TITLES):
        raise Usage(f"there is no server {', '.join(sorted(servers - set(TITLES)))}: there are {', '.join(TITLES)}")
    plan = Plan(sessions, options.rounds or default_rounds,
                default_cold if options.cold_rounds is None else options.cold_rounds, size.warm_up, size.rest_seconds,
                size.seconds, frozenset(servers) if servers else None)
    machine.raise_file_limit()
    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, interrupted)
    binary = build(options)
    above = options.data or REPOSITORY / "target"
    above.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="compare-", dir=above) as data:
        place = Place(binary, Path(data), options.namesrv_port, options.broker_port)
        large = any(isinstance(each.step, Restart) for session in sessions for each in session.workloads)
        log = int(size.gigabytes * 1.5 * (1 << 30)) if large else 0
        check(place, max(log, 1 << 30 if options.quick else FREE_BYTES))
        # Copies the jars if they are not there yet, so that no start of a server pays for it.
        subprocess.run([str(ORACLE), "java", "-version"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
        results = Results.open(folder, about(options, size, plan, place))
        try:
            Runner(plan, place, results).run()
        finally:
            if results.measurements:
                print(report.write(results), file=sys.stderr)


def main(given: list[str]) -> int:
    options = arguments(given)
    try:
        compare(options)
    except (Usage, ResultsError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"compare: {error}\n{(error.stderr or b'').decode(errors='replace')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("compare: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0
