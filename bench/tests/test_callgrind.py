"""Callgrind's dumps: costs, names that are told once, calls, chains of callers."""

import unittest

from lib import callgrind

DUMP = """\
# callgrind format
positions: line
events: Ir

fl=(1) serve.rs
fn=(1) serve
10 100
+2 20
cfn=(2) encode
calls=4 30
12 44
cfn=(3) malloc'grow'alloc::raw_vec::finish_grow'apogee_wire::encode'serve
calls=3 7
12 30
fn=(2)
30 40
* 4
cfn=(2)
calls=9 30
* 99

fn=(3)
7 25
cfn=(4) calloc
calls=8 1
7 5
fn=(4)
1 5

totals: 999
"""


class Reading(unittest.TestCase):
    def setUp(self) -> None:
        self.profile = callgrind.read(DUMP.splitlines(keepends=True))

    def test_costs_of_functions(self) -> None:
        self.assertEqual([self.profile.own["serve"], self.profile.own["encode"]], [120, 44])
        self.assertEqual(self.profile.inclusive["serve"], 194)

    def test_what_calls_itself_counts_once(self) -> None:
        self.assertEqual(self.profile.inclusive["encode"], 44)

    def test_all_instructions_are_those_of_functions_themselves(self) -> None:
        self.assertEqual(self.profile.instructions, 120 + 44 + 25 + 5)

    def test_allocations_are_calls_from_outside_the_allocator(self) -> None:
        (chain, calls), = self.profile.allocations.items()
        self.assertEqual(calls, 3)
        self.assertEqual(callgrind.shorten(chain), "malloc < grow < wire::encode < serve")

    def test_an_allocator_that_calls_itself_counts_once(self) -> None:
        dump = "fn=(1) mi_malloc_aligned'serve\ncfn=(2) mi_malloc_generic\ncalls=2 1\n1 9\nfn=(2)\n" \
               "cfn=(3) malloc'mi_malloc_generic\ncalls=2 1\n1 4\nfn=(4) serve\ncfn=(1)\ncalls=2 1\n1 20\n"
        self.assertEqual(callgrind.read(dump.splitlines()).allocations, {"mi_malloc_aligned'serve": 2})

    def test_a_difference_has_what_came_later(self) -> None:
        later = callgrind.read((DUMP + "fn=(2)\n30 6\n").splitlines())
        self.assertEqual(+later.minus(self.profile).own, {"encode": 6})


if __name__ == "__main__":
    unittest.main()
