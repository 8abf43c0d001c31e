"""Figures of measurements: reading them from results, medians, ratios and verdicts. No input or output."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any, Optional

from .servers import APOGEE
from .model import Target, Workload

#: Share of a core from which on the generator, not the server, may be what is measured.
GENERATOR_LIMIT = 0.8

#: Share by which a number of messages may differ from what it should be: some may have been refused before.
MESSAGES_TOLERANCE = 0.01

#: A measurement: {"workload", "server", "round", "result": {...}} or {..., "failed": "why"}.
Measurement = dict[str, Any]

_PATHS = {
    "rate": ("rate",),
    "p50_us": ("latency_us", "p50"),
    "p99_us": ("latency_us", "p99"),
    "p999_us": ("latency_us", "p999"),
    "cpu_us": ("server", "cpu_us_per_message"),
    "cores": ("server", "cores"),
    "resident_bytes": ("server", "resident_bytes"),
    "anonymous_bytes": ("server", "anonymous_bytes"),
    "added_bytes": ("server", "added_bytes"),
    "created_rate": ("create", "rate"),
    "start_s": ("start_s",),
    "stolen": ("stolen",),
}


def figure(result: dict[str, Any], name: str) -> Optional[float]:
    """A figure of one result, if it has it."""
    if name == "cpu_us" and not result.get("messages"):
        return None
    value: Any = result
    for key in _PATHS[name]:
        value = value.get(key) if isinstance(value, dict) else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def generator_cores(result: dict[str, Any]) -> float:
    """How much of a core each of the generator's threads used; they share the work evenly."""
    cores = (result.get("generator") or {}).get("cores", 0.0)
    return float(cores) / max(int((result.get("options") or {}).get("threads", 1)), 1)


def objection(result: dict[str, Any], messages: Optional[int] = None) -> Optional[str]:
    """Why a result is no figure; none if it is one. It must have come to so many messages, if that is told."""
    errors = result.get("errors") or {}
    if errors:
        text, count = max(errors.items(), key=lambda item: item[1])
        return f"not valid: {sum(errors.values())} errors, most of them: {text} ({count})"
    verified = result.get("verified") or {}
    wrong = {key: verified[key] for key in ("missing", "duplicates", "damaged") if verified.get(key)}
    if wrong:
        return "not valid: " + ", ".join(f"{count} {what}" for what, count in wrong.items())
    if messages is not None and abs(result.get("messages", 0) - messages) > messages * MESSAGES_TOLERANCE:
        return f"not valid: {result.get('messages')} messages, and it should be {messages}"
    cores = generator_cores(result)
    if cores > GENERATOR_LIMIT:
        return f"not valid: the generator was the bottleneck ({cores:.0%} of a core)"
    return None


@dataclass(frozen=True)
class Summary:
    """All rounds of a workload on a server."""

    #: Median of each figure over the rounds that are valid.
    medians: dict[str, float]
    rounds: int
    #: Lowest and highest of those rounds.
    ranges: dict[str, tuple[float, float]]
    #: Why rounds were left out, or all of them.
    objections: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """What stands in the place of its figures when there are none."""
        return self.objections[0].partition(":")[0] if self.objections else "–"

    def get(self, name: str) -> Optional[float]:
        return self.medians.get(name)


Summaries = dict[tuple[str, str], Summary]


def summarize(measurements: list[Measurement], messages: Optional[int] = None) -> Summary:
    """Medians over the valid rounds, of one workload on one server."""
    values: dict[str, list[float]] = {}
    objections: list[str] = []
    rounds = 0
    for measurement in measurements:
        result = measurement.get("result")
        reason = f"failed: {measurement.get('failed')}" if result is None else objection(result, messages)
        if reason or result is None:
            objections.append(reason or "failed")
            continue
        rounds += 1
        for name in _PATHS:
            value = figure(result, name)
            if value is not None:
                values.setdefault(name, []).append(value)
    medians = {name: statistics.median(found) for name, found in values.items()}
    ranges = {name: (min(found), max(found)) for name, found in values.items()}
    return Summary(medians, rounds, ranges, tuple(objections))


def summarize_all(workloads: dict[str, Workload], measurements: list[Measurement]) -> Summaries:
    """By workload and server."""
    grouped: dict[tuple[str, str], list[Measurement]] = {}
    for measurement in measurements:
        if measurement["workload"] in workloads:
            grouped.setdefault((measurement["workload"], measurement["server"]), []).append(measurement)
    return {key: summarize(found, workloads[key[0]].messages) for key, found in grouped.items()}


def ratio(ours: Optional[float], other: Optional[float]) -> Optional[float]:
    """Ours divided by the other's; none where there is nothing to divide."""
    return ours / other if ours is not None and other else None


def reference(target: Target, workload: str, summaries: Summaries) -> Optional[float]:
    """What a target's bound is a share of."""
    if not target.of:
        return 1.0
    ours = target.of.startswith("workload:")
    summary = summaries.get((target.of[len("workload:"):], APOGEE) if ours else (workload, target.of))
    return summary.get(target.figure) if summary else None


@dataclass(frozen=True)
class Verdict:
    """Whether a target is met."""

    target: Target
    ours: Optional[float]
    #: Ours as a share of what the target is measured by; none: it cannot be told.
    share: Optional[float]

    @property
    def met(self) -> Optional[bool]:
        if self.share is None:
            return None
        return self.share >= self.target.bound if self.target.at_least else self.share <= self.target.bound


def verdict(target: Target, workload: str, summaries: Summaries) -> Verdict:
    """Looks at one target of a workload."""
    summary = summaries.get((workload, APOGEE))
    ours = summary.get(target.figure) if summary else None
    return Verdict(target, ours, ratio(ours, reference(target, workload, summaries)))


#: Figures of which more is better.
MORE_IS_BETTER = frozenset({"rate"})


def is_behind(workload: Workload, ours: Optional[Summary], theirs: Optional[Summary]) -> Optional[bool]:
    """Whether Apogee does worse than Apache RocketMQ; none where it cannot be told."""
    if not workload.speed or ours is None or theirs is None:
        return None
    share = ratio(ours.get(workload.speed), theirs.get(workload.speed))
    if share is None:
        return None
    return share < 1 if workload.speed in MORE_IS_BETTER else share > 1
