"""The report of a folder's results: tables of medians, ratios and verdicts, and charts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Optional

from . import chart, figures, workloads
from .figures import Summaries, Summary
from .model import Scale, Session, Target, Workload
from .results import Results
from .servers import APACHE, APOGEE, COLD, DISK, FLOOR, TITLES

RATIOS = "cpu-ratio.svg"

#: Columns of the detailed tables: figure, head, factor.
COLUMNS = (
    ("cpu_us", "CPU, µs a message", 1.0),
    ("cores", "CPU, cores", 1.0),
    ("rate", "messages/s", 1.0),
    ("p50_us", "p50, ms", 1e-3),
    ("p99_us", "p99, ms", 1e-3),
    ("p999_us", "p99.9, ms", 1e-3),
    ("anonymous_bytes", "memory, MB", 1e-6),
    ("resident_bytes", "with mapped files, MB", 1e-6),
    ("added_bytes", "added memory, MB", 1e-6),
    ("created_rate", "topics created/s", 1.0),
    ("start_s", "until a message is answered, ms", 1e3),
    ("stolen", "stolen by the host, %", 100.0),
)
FIGURES = {
    "cpu_us": "CPU", "cores": "CPU, cores", "rate": "rate", "p50_us": "p50", "p99_us": "p99", "p999_us": "p99.9",
    "anonymous_bytes": "memory", "resident_bytes": "memory", "added_bytes": "added memory", "start_s": "start",
}
UNITS = {
    "resident_bytes": (1e-6, " MB"), "anonymous_bytes": (1e-6, " MB"), "added_bytes": (1e-6, " MB"),
    "start_s": (1e3, " ms"), "p50_us": (1e-3, " ms"), "p99_us": (1e-3, " ms"), "p999_us": (1e-3, " ms"),
    "cpu_us": (1.0, " µs"), "rate": (1.0, "/s"), "cores": (100.0, "% of a core"),
}


def write(results: Results) -> str:
    """Writes README.md and the charts into the results' folder; returns a line that says so."""
    sessions = workloads.sessions(Scale(**results.about["options"]["scale"]))
    summaries = figures.summarize_all(workloads.named(sessions), results.measurements)
    drawings = charts(sessions, summaries)
    for old in results.folder.glob("*.svg"):
        old.unlink()
    for name, drawing in drawings.items():
        (results.folder / name).write_text(drawing)
    (results.folder / "README.md").write_text(text(results.about, sessions, summaries, list(drawings)))
    results.save()
    return f"compare: the report is in {results.folder}"


def text(about: dict[str, Any], sessions: list[Session], summaries: Summaries, drawings: list[str]) -> str:
    """The report in Markdown."""
    parts = [
        f"# Apogee and Apache RocketMQ, {about['date']}\n",
        "Medians of all rounds, in brackets the lowest and the highest. How it is measured and how to read it: [docs/compare.md](../../../docs/compare.md). "
        "Every single measurement: [results.json](results.json).\n",
        "**A trial with tiny numbers: the figures mean nothing.**\n" if "--quick" in about["command"] else "",
        description(about), "## Targets\n", targets(sessions, summaries), behind(sessions, summaries),
    ]
    parts += [image(name) for name in drawings if name == RATIOS]
    for session in sessions:
        figures_of = details(session, summaries)
        if figures_of:
            parts += [f"## {session.title}\n", settings(session), figures_of]
            parts += [image(name) for name in drawings if name.rpartition("-")[0] == session.name]
    refused = objections(summaries)
    if refused:
        parts += ["## Not valid, or failed\n", refused]
    left_out = absent(sessions, summaries)
    if left_out:
        parts += ["## Left out\n", left_out]
    return "\n".join(part for part in parts if part)


def image(name: str) -> str:
    return f"![{name.removesuffix('.svg')}]({name})\n"


def description(about: dict[str, Any]) -> str:
    """Machine, versions and command."""
    machine, apogee, apache = about["machine"], about["apogee"], about["apache"]
    options, disk = about["options"], machine["disk"]
    changed = ", with changes" if apogee.get("changed") else ""
    changed += ", not built by this command" if "binary" in apogee else ""
    rows = [
        ("command", f"`{about['command']}`"),
        ("rounds", f"{options['rounds']}; of Apache's cold figures {options['cold_rounds']}"),
        ("Apogee", f"commit {apogee['commit']}{changed}; {machine['rust']}"),
        ("Apache RocketMQ", f"{apache['version']}, heap {apache['heap']}; {machine['java']}"),
        ("CPU", f"{machine['cpu']}, {machine['cores']} cores"),
        ("memory", f"{machine['memory_bytes'] / (1 << 30):.0f} GiB"),
        ("kernel", machine["kernel"]),
        ("file system", machine["filesystem"]),
        ("4 KB write and fdatasync", f"p50 {disk['fdatasync_p50_us']:.0f} µs, p99 {disk['fdatasync_p99_us']:.0f} µs"),
        ("load before the start", f"{machine['load_average']:.2f}"),
    ]
    return table(("", ""), rows)


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def value(name: str, number: Optional[float]) -> str:
    """A figure with its unit."""
    if number is None:
        return "–"
    factor, unit = UNITS[name]
    scaled = number * factor
    return f"{scaled:,.0f}{unit}" if scaled >= 10_000 and unit.strip() in ("µs", "ms") else chart.short(scaled) + unit


def cell(name: str, summary: Optional[Summary]) -> str:
    """A figure, or why there is none."""
    if summary is None:
        return "not run"
    found = summary.get(name)
    if found is None and summary.rounds == 0:
        return summary.word
    return value(name, found)


def fraction(share: Optional[float]) -> str:
    """A ratio as people say it."""
    if share is None:
        return "–"
    if 0 < share < 0.8:
        return f"1/{1 / share:.3g}"
    return f"{share:.3g} ×"


def bound(target: Target) -> str:
    """A target in words."""
    sign = "≥" if target.at_least else "≤"
    if not target.of:
        return f"{sign} {value(target.figure, target.bound)}"
    if target.of.startswith("workload:"):
        return f"{sign} {target.bound:.0%} of {target.of[len('workload:'):]}"
    of = {APACHE: "Apache's", FLOOR: "the floor's", DISK: "the disk's"}[target.of]
    return f"{sign} {fraction(target.bound)} {of}"


def targets(sessions: list[Session], summaries: Summaries) -> str:
    """One row for each target of what was run."""
    rows = []
    for session in sessions:
        for workload in session.workloads:
            if not any((workload.name, server) in summaries for server in workload.servers):
                continue
            for target in workload.targets:
                found = figures.verdict(target, workload.name, summaries)
                met = {True: "met", False: "**not met**", None: "not told"}[found.met]
                ours, theirs = (
                    cell(target.figure, summaries.get((workload.name, name))) if name in workload.servers else "–"
                    for name in (APOGEE, APACHE)
                )
                share = figures.ratio(found.ours, figure_of(summaries, workload, APACHE, target.figure))
                lowest = DISK if DISK in workload.servers else FLOOR
                floor = figures.ratio(found.ours, figure_of(summaries, workload, lowest, target.figure))
                rows.append((
                    workload.name, workload.title, FIGURES[target.figure], ours, theirs, fraction(share),
                    fraction(floor), bound(target), met,
                ))
    return table(("name", "workload", "", "Apogee", "Apache", "ratio", "to the floor", "target", ""), rows)


def figure_of(summaries: Summaries, workload: Workload, server: str, name: str) -> Optional[float]:
    summary = summaries.get((workload.name, server))
    return summary.get(name) if summary else None


def behind(sessions: list[Session], summaries: Summaries) -> str:
    """The workloads in which Apogee does worse than Apache RocketMQ."""
    all_workloads = [workload for session in sessions for workload in session.workloads]
    told = {
        workload.name: figures.is_behind(
            workload, summaries.get((workload.name, APOGEE)), summaries.get((workload.name, APACHE)))
        for workload in all_workloads
    }
    names = [name for name, worse in told.items() if worse]
    compared = sum(worse is not None for worse in told.values())
    return f"Behind Apache RocketMQ: {', '.join(names) or 'none'}, of {compared} workloads compared.\n"


def settings(session: Session) -> str:
    if not session.settings:
        return ""
    return "Both with " + ", ".join(f"`{key}={value}`" for key, value in session.settings.items()) + ".\n"


def details(session: Session, summaries: Summaries) -> str:
    """All figures of a session."""
    found = [
        (workload, server, summaries[(workload.name, server)])
        for workload in session.workloads for server in workload.servers if (workload.name, server) in summaries
    ]
    columns = [each for each in COLUMNS if any(summary.get(each[0]) is not None for _, _, summary in found)]
    rows, before = [], ""
    for workload, server, summary in found:
        title = f"{workload.title} (`{workload.name}`)" if workload.name != before else ""
        before = workload.name
        cells = [with_range(summary, name, factor) for name, _, factor in columns]
        rounds = str(summary.rounds)
        if summary.objections:
            rounds += f"; {len(summary.objections)} {summary.word}"
        rows.append((title, TITLES[server], *cells, rounds))
    if not rows:
        return ""
    return table(("workload", "server", *(head for _, head, _ in columns), "rounds"), rows)


def with_range(summary: Summary, name: str, factor: float) -> str:
    """A median; of the figures that matter most with the lowest and the highest of several rounds."""
    median = summary.get(name)
    if median is None:
        return ""
    text = chart.short(median * factor)
    if summary.rounds > 1 and name in ("cpu_us", "rate"):
        text += " (" + "–".join(chart.short(each * factor) for each in summary.ranges[name]) + ")"
    return text


def objections(summaries: Summaries) -> str:
    """Why results are no figures."""
    lines = []
    for (workload, server), summary in summaries.items():
        for reason, count in Counter(summary.objections).items():
            times = f", {count} times" if count > 1 else ""
            lines.append(f"- {workload}, {TITLES[server]}{times}: {' '.join(reason.split())}\n")
    return "".join(lines)


def absent(sessions: list[Session], summaries: Summaries) -> str:
    """What was not run, and why."""
    lines = []
    for session in sessions:
        names = {workload.name for workload in session.workloads}
        if not any(workload in names for workload, _ in summaries):
            lines.append(f"- {', '.join(sorted(names))}: not run this time.\n")
            continue
        for workload in session.workloads:
            for server, why in workload.absent.items():
                lines.append(f"- {workload.name}, {TITLES[server]}: {why}.\n")
            missing = [TITLES[server] for server in workload.servers if (workload.name, server) not in summaries]
            if missing:
                lines.append(f"- {workload.name}, {', '.join(missing)}: not run this time.\n")
    return "".join(lines)


def charts(sessions: list[Session], summaries: Summaries) -> dict[str, str]:
    """All charts by file name."""
    drawn = {RATIOS: cpu_ratios(sessions, summaries)}
    for session in sessions:
        for name in session.charts:
            drawn[f"{session.name}-{name.partition('_')[0]}.svg"] = grouped(session, summaries, name)
    return {name: drawing for name, drawing in drawn.items() if drawing}


def cpu_ratios(sessions: list[Session], summaries: Summaries) -> str:
    """How much less CPU time Apogee takes, with the targets."""
    rows = []
    for session in sessions:
        for workload in session.workloads if "cpu_us" in session.charts else ():
            ours, theirs = (figure_of(summaries, workload, name, "cpu_us") for name in (APOGEE, APACHE))
            share = figures.ratio(theirs, ours)
            if share is not None:
                wanted = [each for each in workload.targets if each.figure == "cpu_us" and each.of == APACHE]
                rows.append(chart.Row(workload.title, (share,), 1 / wanted[0].bound if wanted else None))
    if not rows:
        return ""
    return chart.bars(
        "CPU time of Apache RocketMQ as a multiple of Apogee's", "times Apogee's CPU time a message (longer is better)",
        ("ratio",), rows, " ×")


def grouped(session: Session, summaries: Summaries, name: str) -> str:
    """One figure of all workloads and servers of a session."""
    axis, factor = next((head, factor) for column, head, factor in COLUMNS if column == name)
    servers = [each for each in TITLES
               if any(figure_of(summaries, workload, each, name) is not None for workload in session.workloads)]
    rows = []
    for workload in session.workloads:
        found = [figure_of(summaries, workload, server, name) for server in servers]
        if any(number is not None for number in found):
            values = tuple(None if number is None else number * factor for number in found)
            all_found = [summaries.get((workload.name, server)) for server in servers]
            notes = tuple(each.word if each and each.rounds == 0 else "" for each in all_found)
            rows.append(chart.Row(workload.title, values, None, notes))
    if not rows or APOGEE not in servers:
        return ""
    return chart.bars(f"{session.title}: {axis}", axis, tuple(TITLES[server] for server in servers), rows)
