"""Medians, ratios, verdicts, and what is refused."""

from __future__ import annotations

import unittest
from typing import Any

from lib import figures
from lib.model import Idle, Target, Workload
from lib.servers import APACHE, APOGEE, FLOOR


def result(cpu_us: float = 10.0, rate: float = 1000.0, cores: float = 0.5, **more: Any) -> dict[str, Any]:
    return {
        "messages": 10_000, "rate": rate, "errors": {}, "latency_us": {"p50": 100, "p99": 200, "p999": 300},
        "generator": {"cpu_seconds": 1, "cores": cores}, "server": {"cpu_us_per_message": cpu_us}, **more,
    }


def measured(server: str, *results: dict[str, Any], workload: str = "send-1") -> list[figures.Measurement]:
    return [
        {"workload": workload, "server": server, "round": index, "result": each}
        for index, each in enumerate(results, 1)
    ]


def workload(*targets: Target, speed: str = "") -> Workload:
    return Workload("send-1", "one", Idle(1, 0), targets, speed=speed)


class Objections(unittest.TestCase):
    def test_a_good_result_has_none(self) -> None:
        self.assertIsNone(figures.objection(result()))

    def test_a_generator_at_its_limit_is_no_figure(self) -> None:
        self.assertIn("bottleneck (81% of a core)", figures.objection(result(cores=0.81)) or "")

    def test_a_core_is_counted_for_each_thread(self) -> None:
        self.assertIsNone(figures.objection(result(cores=1.2, options={"threads": 2})))
        self.assertIn("bottleneck", figures.objection(result(cores=1.7, options={"threads": 2})) or "")

    def test_errors_are_counted_and_named(self) -> None:
        reason = figures.objection(result(errors={"busy": 3, "refused": 1})) or ""
        self.assertIn("4 errors", reason)
        self.assertIn("busy (3)", reason)

    def test_all_messages_must_be_read(self) -> None:
        self.assertIsNone(figures.objection(result(), 10_001))
        self.assertIn("10000 messages, and it should be 20000", figures.objection(result(), 20_000) or "")

    def test_what_was_lost_is_told(self) -> None:
        reason = figures.objection(result(verified={"sent": 9, "missing": 2, "duplicates": 0, "damaged": 0}))
        self.assertEqual(reason, "not valid: 2 missing")


class Summaries(unittest.TestCase):
    def test_median_of_the_valid_rounds(self) -> None:
        summary = figures.summarize(measured(APOGEE, result(1), result(9), result(2), result(99, cores=0.95)))
        self.assertEqual(summary.get("cpu_us"), 2)
        self.assertEqual(summary.rounds, 3)
        self.assertEqual(len(summary.objections), 1)

    def test_a_failure_is_no_figure(self) -> None:
        summary = figures.summarize([{"workload": "send-1", "server": APOGEE, "round": 1, "failed": "it ended"}])
        self.assertEqual((summary.rounds, summary.medians), (0, {}))
        self.assertEqual(summary.objections, ("failed: it ended",))

    def test_a_missing_figure_is_missing_not_zero(self) -> None:
        self.assertIsNone(figures.summarize(measured(APOGEE, {"rate": 5})).get("cpu_us"))
        self.assertIsNone(figures.summarize(measured(APOGEE, result(messages=0))).get("cpu_us"))


class Verdicts(unittest.TestCase):
    def summaries(self, ours: float, theirs: float, floor: float) -> figures.Summaries:
        found = measured(APOGEE, result(ours)) + measured(APACHE, result(theirs)) + measured(FLOOR, result(floor))
        return figures.summarize_all({"send-1": workload()}, found)

    def test_a_share_of_apaches(self) -> None:
        target = Target("cpu_us", 1 / 5)
        self.assertTrue(figures.verdict(target, "send-1", self.summaries(20, 100, 15)).met)
        self.assertFalse(figures.verdict(target, "send-1", self.summaries(21, 100, 15)).met)

    def test_a_share_of_the_floors(self) -> None:
        target = Target("cpu_us", 1.4, FLOOR)
        self.assertTrue(figures.verdict(target, "send-1", self.summaries(20, 100, 15)).met)
        self.assertFalse(figures.verdict(target, "send-1", self.summaries(22, 100, 15)).met)

    def test_a_value(self) -> None:
        self.assertTrue(figures.verdict(Target("cpu_us", 20, of=""), "send-1", self.summaries(20, 1, 1)).met)
        self.assertFalse(figures.verdict(Target("cpu_us", 19, of=""), "send-1", self.summaries(20, 1, 1)).met)

    def test_at_least(self) -> None:
        found = measured(APOGEE, result(rate=700)) + measured(APACHE, result(rate=100))
        summaries = figures.summarize_all({"send-1": workload()}, found)
        self.assertTrue(figures.verdict(Target("rate", 7, at_least=True), "send-1", summaries).met)
        self.assertFalse(figures.verdict(Target("rate", 7.1, at_least=True), "send-1", summaries).met)

    def test_another_workload_of_our_own(self) -> None:
        found = measured(APOGEE, result(rate=80)) + measured(APOGEE, result(rate=100), workload="other")
        summaries = figures.summarize_all({"send-1": workload(), "other": workload()}, found)
        target = Target("rate", 0.85, "workload:other", at_least=True)
        self.assertFalse(figures.verdict(target, "send-1", summaries).met)

    def test_nothing_is_said_without_both(self) -> None:
        summaries = figures.summarize_all({"send-1": workload()}, measured(APOGEE, result()))
        self.assertIsNone(figures.verdict(Target("cpu_us", 1 / 5), "send-1", summaries).met)


class Behind(unittest.TestCase):
    def told(self, speed: str, ours: dict[str, Any], theirs: dict[str, Any]) -> object:
        mine, other = figures.summarize(measured(APOGEE, ours)), figures.summarize(measured(APACHE, theirs))
        return figures.is_behind(workload(speed=speed), mine, other)

    def test_a_lower_rate_is_behind(self) -> None:
        self.assertIs(self.told("rate", result(rate=9), result(rate=10)), True)
        self.assertIs(self.told("rate", result(rate=11), result(rate=10)), False)

    def test_a_higher_latency_is_behind(self) -> None:
        late = result(latency_us={"p99": 201})
        self.assertIs(self.told("p99_us", late, result()), True)
        self.assertIs(self.told("p99_us", result(), late), False)

    def test_what_is_not_valid_is_not_compared(self) -> None:
        self.assertIsNone(self.told("rate", result(cores=0.9), result()))


if __name__ == "__main__":
    unittest.main()
