"""Charts."""

from __future__ import annotations

import unittest
from xml.etree import ElementTree

from lib import chart

SVG = "{http://www.w3.org/2000/svg}"


class Charts(unittest.TestCase):
    def draw(self, *rows: chart.Row) -> ElementTree.Element:
        return ElementTree.fromstring(chart.bars("A < B & C", "µs", ("ours", "theirs"), list(rows)))

    def bars(self, drawing: ElementTree.Element) -> list[float]:
        shapes = [shape for shape in drawing.iter(f"{SVG}rect") if shape.get("x") == str(chart.LABELS)]
        return [float(shape.get("width") or 0) for shape in shapes]

    def test_bars_are_as_long_as_their_values(self) -> None:
        first, second = self.bars(self.draw(chart.Row("one", (10.0, 40.0))))
        self.assertAlmostEqual(second / first, 4, places=1)

    def test_all_of_it_is_within_the_picture(self) -> None:
        drawing = self.draw(chart.Row("one", (1e7, 0.001), target=2e7), chart.Row("two", (None, 3.0), notes=("none",)))
        for shape in drawing.iter(f"{SVG}rect"):
            right = float(shape.get("x") or 0) + float(shape.get("width") or 0)
            self.assertLessEqual(right, chart.WIDTH)
            self.assertLessEqual(float(shape.get("y") or 0), float(drawing.get("height") or 0))

    def test_texts_are_escaped_and_nothing_runs(self) -> None:
        drawing = self.draw(chart.Row("<script>", (1.0, 2.0)))
        texts = [text.text for text in drawing.iter(f"{SVG}text")]
        self.assertIn("A < B & C", texts)
        self.assertIn("<script>", texts)
        self.assertFalse(list(drawing.iter(f"{SVG}script")))

    def test_a_missing_value_is_told_not_drawn_as_zero(self) -> None:
        drawing = self.draw(chart.Row("one", (None, 2.0), notes=("not valid", "")))
        self.assertEqual(len(self.bars(drawing)), 1)
        self.assertIn("not valid", [text.text for text in drawing.iter(f"{SVG}text")])

    def test_numbers_have_three_digits_that_count(self) -> None:
        numbers = (0, 0.0123456, 15.62, 999.8, 1234.4, 12_345, 999_900, 5_740_000)
        said = ["0", "0.0123", "15.6", "1,000", "1,234", "12.3 k", "1 M", "5.74 M"]
        self.assertEqual([chart.short(number) for number in numbers], said)

    def test_ticks_are_round_and_reach_the_highest_value(self) -> None:
        for most in (0.0, 0.03, 1.0, 7.3, 99.0, 574_000.0):
            marks = chart.ticks(most)
            self.assertGreaterEqual(marks[-1], most)
            self.assertLessEqual(len(marks), 8)


if __name__ == "__main__":
    unittest.main()
