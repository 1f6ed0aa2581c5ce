"""How long a small audit takes from the command to its end: `python -m tests.benchmarks.start`.

`influence-audit run` on 100 digits whose embeddings are cached, beside what its largest packages take to import by
themselves, each in a process of its own, in turns. Processor seconds are those of the process and its children, and of
the database that FiftyOne starts only what it takes until the command ends.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from sklearn.datasets import load_digits

from tests.benchmarks.influence import described, machine

HERE = Path(__file__).parent
STORED, TABLE = HERE / "start.json", HERE / "start.md"
TURNS = 5
PICTURES = 100

IMPORTS = {
    "import torch": "import torch",
    "import fiftyone": "import fiftyone",
    "import sklearn, scipy.stats": "import sklearn.neighbors, sklearn.linear_model, scipy.stats",
    "all of these": "import torch, fiftyone, sklearn.neighbors, sklearn.linear_model, scipy.stats",
}


def measured() -> dict[str, dict[str, float]]:
    """Medians of seconds and processor seconds of each job."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = _pictures(Path(folder) / "digits")
        command = str(Path(sys.executable).with_name("influence-audit"))
        audit = [command, "run", pictures, "-q", "-o", "result"]
        jobs = {
            "run, 100 cached pictures": audit,
            "run --no-fiftyone": [*audit[:-1], "without", "--no-fiftyone"],
            **{name: [sys.executable, "-c", code] for name, code in IMPORTS.items()},
        }
        own = {
            "FIFTYONE_DATABASE_NAME": "influence_audit_start",
            "INFLUENCE_AUDIT_CACHE": str(Path(folder) / "cache"),
            "FIFTYONE_DO_NOT_TRACK": "true",
        }
        for job in jobs.values():
            _clocked(job, folder, own)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
        for _ in range(TURNS):
            for name, job in jobs.items():
                found[name].append(_clocked(job, folder, own))
    return {
        name: {"seconds": statistics.median(s for s, _ in turns), "cpu": statistics.median(cpu for _, cpu in turns)}
        for name, turns in found.items()
    }


def _pictures(folder: Path) -> str:
    """A folder of 100 digits in ten classes."""
    digits = load_digits()
    for number in range(PICTURES):
        place = folder / str(digits.target[number]) / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[number] * 15).astype("uint8")).resize((64, 64)).save(place)
    return str(folder)


def _clocked(command: list[str], folder: str, own: dict[str, str]) -> tuple[float, float]:
    """Seconds and processor seconds of a command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, env=os.environ | own, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, sum(after[:2]) - sum(before[:2])


def table(rows: dict[str, dict[str, float]], where: dict[str, Any]) -> str:
    """Markdown of all jobs."""
    lines = [
        "# From the command to its end",
        "",
        "Made by `python -m tests.benchmarks.start`: `influence-audit run` on a folder of 100 pictures whose",
        "embeddings are cached, and the imports of its largest packages, each in a process of its own. Medians of",
        "turns.",
        "",
        "| job | seconds | processor seconds |",
        "|---|---|---|",
        *(f"| {name} | {row['seconds']:.1f} | {row['cpu']:.1f} |" for name, row in rows.items()),
        "",
        f"{TURNS} turns; {described(where)}",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write start.json and start.md."""
    rows, where = measured(), machine()
    STORED.write_text(json.dumps({"rows": rows, "machine": where}, indent=1) + "\n")
    TABLE.write_text(table(rows, where))
    print(TABLE.read_text())


if __name__ == "__main__":
    main()
