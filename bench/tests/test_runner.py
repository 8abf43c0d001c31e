"""The run itself, with servers and a generator that are none."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from lib import main, processes, workloads
from lib.generator import GeneratorError
from lib.model import Scale
from lib.results import Results
from lib.runner import Plan, Runner
from lib.servers import APACHE, APOGEE, Place

from .test_figures import measured, result
from .test_runs import ABOUT


class FakeServer:
    """Counts its starts; what it is asked for is the same each time."""

    started: list[str] = []

    def __init__(self, name: str, *_: object) -> None:
        self.name = name

    def __enter__(self) -> FakeServer:
        FakeServer.started.append(self.name)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def usage(self) -> processes.Usage:
        return processes.Usage(0.0, 2_000, 1_000)

    def is_up(self) -> bool:
        return True


class Runs(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.results = Results(Path(folder.name), ABOUT)
        self.asked: list[str] = []
        FakeServer.started = []

    def run_plan(self, names: str, failing: str = "", **more: Any) -> None:
        """Runs these workloads; the generator fails at the workload of this kind."""
        def generate(_place: Place, _server: FakeServer, workload: str, arguments: list[str]) -> dict[str, Any]:
            self.asked.append(workload)
            if workload == failing:
                raise GeneratorError("it broke")
            return result(server={"cpu_us_per_message": 10, "cpu_seconds": 5, "anonymous_bytes": 1_500}, seconds=10)

        sessions = main.select(workloads.sessions(Scale()), names)
        plan = Plan(sessions, 1, 0, warm_up=more.pop("warm_up", 0), rest_seconds=0, **more)
        runner = Runner(plan, Place(Path("apogee"), Path("data"), 1, 2), self.results)
        with mock.patch("lib.runner.Server", FakeServer), mock.patch("lib.generator.run", generate), \
                mock.patch("os.sync"), contextlib.redirect_stderr(io.StringIO()):
            runner.run()

    def outcomes(self) -> dict[tuple[str, str], Any]:
        return {(each["workload"], each["server"]): each for each in self.results.measurements}

    def test_memory_that_a_workload_adds_and_its_share_of_the_cores_are_told(self) -> None:
        self.run_plan("send-1", servers=frozenset({APOGEE}))
        server = self.outcomes()["send-1", APOGEE]["result"]["server"]
        self.assertEqual((server["added_bytes"], server["cores"]), (500, 0.5))

    def test_brokers_are_warmed_up_and_the_floor_needs_it_not(self) -> None:
        self.run_plan("send-1", warm_up=5)
        self.assertEqual(FakeServer.started, [APOGEE, APACHE, "floor"])
        self.assertEqual(len(self.asked), 5)

    def test_a_failure_ends_a_turn_and_is_told_with_what_it_kept_from_running(self) -> None:
        self.run_plan("e2e-1000,e2e-4000", failing="e2e")
        found = self.outcomes()
        self.assertEqual(found["e2e-1000", APOGEE]["failed"], "it broke")
        self.assertEqual(found["e2e-4000", APOGEE]["failed"], "not run: e2e-1000 before it failed")
        self.assertEqual(found["e2e-1000", APACHE]["failed"], "it broke", "the other server has its turn")

    def test_what_was_measured_is_not_measured_again(self) -> None:
        for each in measured(APOGEE, result()):
            self.results.add(each)
        self.run_plan("send-1,send-16", servers=frozenset({APOGEE}))
        self.assertEqual(len(self.asked), 1)

    def test_reading_again_comes_after_reading_first(self) -> None:
        for each in measured(APOGEE, result(), workload="catch-up-first"):
            self.results.add(each)
        self.run_plan("catch-up-again", servers=frozenset({APOGEE}))
        self.assertEqual(self.asked, ["send", "consume", "consume"])


class Processes(unittest.TestCase):
    def test_what_this_process_uses(self) -> None:
        before, end = processes.usage(os.getpid()), time.process_time() + 0.1
        while time.process_time() < end:
            pass
        after = processes.usage(os.getpid())
        self.assertGreater(after.cpu_seconds - before.cpu_seconds, 0.05)
        self.assertGreater(after.resident_bytes, after.anonymous_bytes)
        self.assertGreater(after.anonymous_bytes, 1_000_000)


if __name__ == "__main__":
    unittest.main()
