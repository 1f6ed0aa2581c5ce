"""What `run --dry-run` predicts beside what the run takes.

    INFLUENCE_AUDIT_DATA=FOLDER python -m tests.benchmarks.dry_run

For each source, with and without FiftyOne: the prediction, then the run itself, as processes of their own, one after
the other on the same machine and with an empty cache. `dry_run.md` has the table, and `dry_run_wall.md` that by the
wall's clock.

Seconds are those of the processor, of one thread for arithmetic: other work on the machine makes both slower, and
changes the table little. `--clock wall` measures what a user waits for, which says something on an idle machine only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tests.benchmarks.data import data_set

HERE = Path(__file__).parent
ALLOWED = 1.5
COMMAND = "from integrations.cli import main; main()"
BY_PROCESSOR = """
import time
time.perf_counter = time.process_time
import integrations.cli.dry_run as dry_run
dry_run._process_began = lambda: time.time() - time.process_time()
"""
"""Makes the command measure itself by the processor's clock; what it imports early, it would import a little later."""
ALWAYS = ("--weights", "bundled", "--json", "-q")
CLOCKS = {"cpu": "seconds of the processor", "wall": "seconds on the wall's clock"}


@dataclass(frozen=True)
class Measured:
    """One prediction and the run after it.

    Attributes:
        name: of the source.
        fiftyone: whether scores were written into FiftyOne.
        samples: that were audited.
        predicted: seconds of the whole call.
        parts: the parts of the prediction, in seconds.
        took: seconds of the whole call, from the start of its process to its end.
        timings: seconds of each stage of the run.
    """

    name: str
    fiftyone: bool
    samples: int
    predicted: float
    parts: dict[str, float]
    took: float
    timings: dict[str, float]

    @property
    def ratio(self) -> float:
        """What was predicted as a multiple of what it took."""
        return self.predicted / self.took


def sources() -> dict[str, list[str]]:
    """What is audited, as the command's arguments."""
    return {
        "digits": ["digits"],
        "digits, five classes": ["digits", "--keep-labels", "0,1,2,3,4"],
        "tables-boats": [str(data_set("tiny-imagenet-tables-boats"))],
        "roman-numeral": [str(data_set("roman-numeral"))],
        "tiny-imagenet-20": [str(data_set("tiny-imagenet-20"))],
        "cifar10n-dev": [str(data_set("cifar10n-dev")), "--label-column", "aggre_label"],
    }


def called(arguments: list[str], folder: Path, clock: str) -> tuple[dict[str, Any], float]:
    """What the command prints as JSON, and the seconds that it took."""
    environment = os.environ | {"INFLUENCE_AUDIT_CACHE": str(folder / "cache")}
    if clock == "cpu":
        environment |= {"OMP_NUM_THREADS": "1"}
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", f"{BY_PROCESSOR if clock == 'cpu' else ''}{COMMAND}", "run", *arguments, *ALWAYS],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if clock == "cpu":
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    if done.returncode:
        raise SystemExit(f"error: {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout), seconds


def measured(name: str, arguments: list[str], fiftyone: bool, clock: str) -> Measured:
    """The prediction and the run of one source."""
    named = ["--dataset", f"dry-run {name}"] if fiftyone else ["--no-fiftyone"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        plan, _ = called([*arguments, *named, "--dry-run"], folder, clock)
        summary, took = called([*arguments, *named, "-o", "result"], folder, clock)
    parts = {key.removesuffix("_seconds"): value for key, value in plan.items() if key.endswith("_seconds")}
    return Measured(name, fiftyone, plan["samples"], plan["seconds"], parts, took, summary["timings"])


def table(found: list[Measured], clock: str) -> Iterator[str]:
    """The lines of the page."""
    command = "python -m tests.benchmarks.dry_run" + (" --clock wall" if clock == "wall" else "")
    yield "# What `--dry-run` predicts, and what the run takes\n"
    yield (
        f"Measured {date.today().isoformat()} on {os.cpu_count()} processors ({platform.machine()}) with "
        f"`{command}`: {CLOCKS[clock]} of the whole call, with an empty cache.\n"
    )
    yield "| source | samples | FiftyOne | predicted | took | predicted / took |"
    yield "|---|---|---|---|---|---|"
    for one in found:
        beside = "yes" if one.fiftyone else "no"
        yield f"| {one.name} | {one.samples:,} | {beside} | {one.predicted:.0f} | {one.took:.0f} | {one.ratio:.2f} |"
    worst = max(max(one.ratio, 1 / one.ratio) for one in found)
    yield f"\nThe prediction is within a factor of {worst:.2f}; the aim is {ALLOWED}."


def main() -> None:
    """Measure, and write the clock's page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="the name of a source; may be repeated")
    parser.add_argument("--fiftyone", choices=("yes", "no", "both"), default="both")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="cpu", help="whose seconds are counted")
    parser.add_argument("--parts", action="store_true", help="print the parts too, and write no file")
    arguments = parser.parse_args()
    found = []
    for name, words in sources().items():
        if arguments.only and name not in arguments.only:
            continue
        for fiftyone in (False, True):
            if arguments.fiftyone != "both" and fiftyone != (arguments.fiftyone == "yes"):
                continue
            found.append(measured(name, words, fiftyone, arguments.clock))
            print(list(table(found[-1:], arguments.clock))[4], flush=True)
            if arguments.parts:
                print(json.dumps({"parts": found[-1].parts, "timings": found[-1].timings}), flush=True)
    text = "\n".join(table(found, arguments.clock)) + "\n"
    print(text)
    if not arguments.parts:
        page = HERE / ("dry_run.md" if arguments.clock == "cpu" else "dry_run_wall.md")
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
