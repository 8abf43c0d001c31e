"""What is run, in which order, what is kept, and what the report says about it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import tempfile
import unittest
from pathlib import Path
from typing import Any

from lib import main, report, workloads
from lib.model import Run, Scale
from lib.results import Results, ResultsError
from lib.runner import Plan
from lib.servers import APACHE, APOGEE, COLD, FLOOR

from .test_figures import measured, result

ABOUT: dict[str, Any] = {
    "date": "2026-11-21", "command": "bench/compare", "apache": {"version": "5.5.0", "heap": "4g"},
    "options": {"scale": dataclasses.asdict(Scale()), "rounds": 3, "cold_rounds": 1},
    "apogee": {"commit": "0123456789ab", "changed": False},
    "machine": {
        "cpu": "a CPU", "cores": 2, "memory_bytes": 24 << 30, "kernel": "Linux", "filesystem": "ext4",
        "disk": {"fdatasync_p50_us": 200.0, "fdatasync_p99_us": 900.0}, "load_average": 0.1,
        "java": "17", "rust": "1", "python": "3",
    },
}


class Table(unittest.TestCase):
    def test_both_flush_alike(self) -> None:
        for session in workloads.sessions(Scale()):
            flush = "SYNC_FLUSH" if session.name == "flush" else "ASYNC_FLUSH"
            self.assertEqual(session.settings.get("flushDiskType"), flush, session.name)

    def test_names_are_unique_and_targets_can_be_told(self) -> None:
        sessions = workloads.sessions(Scale())
        names = [workload.name for session in sessions for workload in session.workloads]
        self.assertEqual(len(names), len(set(names)))
        for session in sessions:
            for workload in session.workloads:
                self.assertEqual(workload.servers[0], APOGEE)
                for server in (APOGEE, APACHE):
                    self.assertTrue(server in workload.servers or server in workload.absent, workload.name)
                for target in workload.targets:
                    self.assertIn(target.figure, report.UNITS)
                    other = target.of.partition("workload:")[2]
                    self.assertTrue(not target.of or other in names or target.of in workload.servers, workload.name)

    def test_the_quick_one_has_the_same_workloads(self) -> None:
        names = [list(workloads.named(workloads.sessions(scale))) for scale in (Scale(), Scale.quick())]
        self.assertEqual(names[0], names[1])

    def test_no_send_fills_the_disk(self) -> None:
        for workload in workloads.named(workloads.sessions(Scale())).values():
            if isinstance(workload.step, Run) and workload.step.workload == "send":
                given = workload.step.arguments
                size, count = (int(given[given.index(name) + 1]) for name in ("--size", "--messages"))
                self.assertTrue(0 < size * count <= workloads.MOST_BYTES, workload.name)


class Order(unittest.TestCase):
    def turns(self, **more: Any) -> list[tuple[int, str, list[str]]]:
        sessions = main.select(workloads.sessions(Scale()), "send-1,send-16")
        plan = Plan(sessions, rounds=2, cold_rounds=1, warm_up=0, **more)
        return [(turn, server, [each.name for each in some]) for _, turn, server, some in plan.turns()]

    def test_servers_alternate_and_cold_ones_are_started_for_each_workload(self) -> None:
        both = ["send-1", "send-16"]
        self.assertEqual(self.turns(), [
            (1, APOGEE, both), (1, APACHE, both), (1, COLD, ["send-1"]), (1, COLD, ["send-16"]), (1, FLOOR, both),
            (2, APOGEE, both), (2, APACHE, both), (2, FLOOR, both),
        ])

    def test_only_some_servers(self) -> None:
        self.assertEqual([server for _, server, _ in self.turns(servers=frozenset({APOGEE}))], [APOGEE, APOGEE])

    def test_an_unknown_workload_is_an_error(self) -> None:
        with self.assertRaisesRegex(main.Usage, "no workload nonsense"):
            main.select(workloads.sessions(Scale()), "send-1,nonsense")


class Kept(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_a_run_goes_on_where_it_ended(self) -> None:
        first = Results.open(self.folder, ABOUT)
        first.add(measured(APOGEE, result())[0])
        first.add({"workload": "send-16", "server": APOGEE, "round": 1, "failed": "it ended"})
        again = Results.open(self.folder, ABOUT)
        self.assertTrue(again.has("send-1", APOGEE, 1))
        self.assertFalse(again.has("send-1", APOGEE, 2))
        self.assertFalse(again.has("send-16", APOGEE, 1), "what failed is tried again")
        again.add({"workload": "send-16", "server": APOGEE, "round": 1, "result": result()})
        self.assertEqual(len(Results.load(self.folder).measurements), 2)

    def test_results_of_other_options_or_versions_are_not_mixed(self) -> None:
        Results.open(self.folder, ABOUT).add(measured(APOGEE, result())[0])
        shorter = {"scale": dataclasses.asdict(Scale(seconds=1)), "rounds": 3, "cold_rounds": 1}
        with self.assertRaisesRegex(ResultsError, r"other options \(seconds was 10, now 1\)"):
            Results.open(self.folder, ABOUT | {"options": shorter})
        with self.assertRaisesRegex(ResultsError, "another version"):
            Results.open(self.folder, ABOUT | {"apogee": {"commit": "other"}})

    def test_rounds_can_be_added(self) -> None:
        Results.open(self.folder, ABOUT).add(measured(APOGEE, result())[0])
        more = ABOUT | {"options": ABOUT["options"] | {"rounds": 5}, "command": "bench/compare --rounds 5"}
        again = Results.open(self.folder, more)
        self.assertEqual(len(again.measurements), 1)
        self.assertEqual(again.about["command"], "bench/compare; bench/compare --rounds 5")

    def test_damaged_results_are_an_error(self) -> None:
        (self.folder / "results.json").write_text("{")
        with self.assertRaises(ResultsError), contextlib.redirect_stderr(io.StringIO()):
            Results.load(self.folder)

    def report(self, *measurements: dict[str, Any]) -> str:
        report.write(Results(self.folder, ABOUT, list(measurements)))
        return (self.folder / "README.md").read_text()

    def line(self, text: str, *words: str) -> str:
        return next(line for line in text.splitlines() if all(word in line for word in words))

    def test_the_report_says_what_was_met(self) -> None:
        text = self.report(*measured(APOGEE, result(15)), *measured(APACHE, result(100)), *measured(FLOOR, result(10)))
        self.assertRegex(self.line(text, "send-1 ", "Apache's", "CPU"), r"15 µs .*100 µs .*1/6\.67 .*1\.5 × .* met")
        self.assertIn("**not met**", self.line(text, "send-1 ", "the floor's"))
        self.assertIn("![cpu-ratio](cpu-ratio.svg)", text)
        self.assertTrue((self.folder / "send-cpu.svg").exists())

    def test_the_report_gives_medians_and_how_far_rounds_are_apart(self) -> None:
        text = self.report(*measured(APOGEE, result(15), result(12), result(40)))
        self.assertIn("| 15 (12–40) |", text)

    def test_the_report_tells_what_the_host_gave_to_others(self) -> None:
        text = self.report(*measured(APOGEE, result(15) | {"stolen": 0.24}))
        self.assertIn("stolen by the host, %", text)
        self.assertRegex(self.line(text, "`send-1`", "Apogee"), r"\| 24 \|")

    def test_the_report_gives_no_figure_where_the_generator_was_the_bottleneck(self) -> None:
        text = self.report(*measured(APOGEE, result(15, cores=0.9)), *measured(APACHE, result(100)))
        self.assertRegex(self.line(text, "send-1 ", "CPU"), r"\| not valid \| 100 µs \| – .* not told")
        self.assertIn("- send-1, Apogee: not valid: the generator was the bottleneck (90% of a core)", text)
        self.assertIn("none, of 0 workloads", text)

    def test_the_report_names_what_was_not_run(self) -> None:
        text = self.report(*measured(APOGEE, result(15)))
        self.assertIn("- send-16, Apogee, Apache RocketMQ", text)
        self.assertIn("- start-empty: not run", text)
        self.assertIn("- send-1, Apache RocketMQ", text)

    def test_the_report_names_who_is_slower(self) -> None:
        text = self.report(*measured(APOGEE, result(rate=9)), *measured(APACHE, result(rate=10)))
        self.assertIn("Behind Apache RocketMQ: send-1, of 1 workloads compared.", text)


if __name__ == "__main__":
    unittest.main()
