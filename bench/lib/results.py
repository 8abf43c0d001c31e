"""What was measured, in one file that is written anew after each measurement."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Optional

from .figures import Measurement


class ResultsError(Exception):
    """A folder's results cannot be read, or are not of this run."""


class Results:
    """The file results.json of a folder: how and where was measured, and every measurement."""

    def __init__(self, folder: Path, about: dict[str, Any], measurements: Optional[list[Measurement]] = None) -> None:
        self.folder, self.about, self.measurements = folder, about, measurements or []

    @staticmethod
    def path(folder: Path) -> Path:
        return folder / "results.json"

    @staticmethod
    def load(folder: Path) -> Results:
        """What an earlier run left there."""
        path = Results.path(folder)
        try:
            content = json.loads(path.read_text())
            return Results(folder, content["about"], content["measurements"])
        except FileNotFoundError:
            raise ResultsError(f"there are no results in {folder}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ResultsError(f"{path} is not a file of results: {error}") from None

    @staticmethod
    def open(folder: Path, about: dict[str, Any]) -> Results:
        """Those of an earlier run with the same options, to go on with; otherwise none."""
        if not Results.path(folder).exists():
            return Results(folder, about)
        found = Results.load(folder)
        before, now = found.about["options"]["scale"], about["options"]["scale"]
        differing = [f"{name} was {before.get(name)}, now {now[name]}" for name in now if before.get(name) != now[name]]
        if differing:
            raise ResultsError(
                f"{folder} has results of a run with other options ({', '.join(differing)}): "
                f"give another --out, or the same options to go on with it"
            )
        if found.about.get("apogee") != about["apogee"]:
            raise ResultsError(f"{folder} has results of another version of Apogee: give another --out")
        commands = found.about["command"].split("; ")
        found.about["command"] = "; ".join(dict.fromkeys([*commands, about["command"]]))
        found.about["options"] = about["options"]
        return found

    def has(self, workload: str, server: str, round_number: int) -> bool:
        """Whether that was measured."""
        return any("result" in found for found in self.measurements if key(found) == (workload, server, round_number))

    def add(self, measurement: Measurement) -> None:
        """Adds one, in the place of an earlier attempt, and writes the file."""
        self.measurements = [found for found in self.measurements if key(found) != key(measurement)]
        self.measurements.append(measurement)
        self.save()

    def save(self) -> None:
        """Writes the file, as a whole or not at all; one line a measurement."""
        self.folder.mkdir(parents=True, exist_ok=True)
        about = json.dumps(self.about, indent=1)
        lines = ",\n".join(json.dumps(found) for found in self.measurements)
        path = self.path(self.folder)
        new = path.with_suffix(".new")
        new.write_text(f'{{"about": {about},\n"measurements": [\n{lines}\n]}}\n')
        os.replace(new, path)


def key(measurement: Measurement) -> tuple[str, str, int]:
    """What a measurement is of."""
    return measurement["workload"], measurement["server"], measurement["round"]
