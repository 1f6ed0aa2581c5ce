"""The whole audit, stage by stage: `python -m tests.benchmarks.whole_audit [--size 10000x512x10 ...]`, or `make bench`.

Each row is one size and one kind of embeddings. The audit and cleanlab's way run in turns in one process, so that what
else the machine does falls on both alike; their ratio is the median over the turns. Processor time stands beside the
seconds, since a shared machine stretches these. Peak memory is that of one more audit in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import audit  # before torch: it tells OpenMP not to spin  # isort: skip
import torch

from audit import stages
from audit.head.fit import train_head
from audit.progress import Step
from tests.benchmarks.influence import described, machine, made
from tests.peak_memory import peak_mib

HERE = Path(__file__).parent
STORED, TABLE = HERE / "whole_audit.json", HERE / "whole_audit.md"
SIZES = ("10000x512x10", "10000x1280x10")
FOLDS = 5
SEED = 0
ALLOWED = {"whole to head and noise model": 1.6, "whole to cleanlab's way": 1.0}
"""What the ratios of a row may be at most."""

CORE = ("head", "noise model", "controls")
"""Head and noise model: the controls are diagnoses by the noise model."""

INTRODUCTION = """# The whole audit

Made by `make bench` (`python -m tests.benchmarks.whole_audit`): `audit.audit_embeddings` with its defaults, all stages,
explanations and correction included. One label in ten is wrong. Two kinds of embeddings:

- *correlated*: ≥ 0 with a decaying spectrum, like those of a ResNet, in overlapping classes;
- *blobs*: normal with the same variance in all directions, in classes that hardly overlap.

cleanlab's way is five-fold cross-validation of the function that trains the audit's head and chooses its L2, and
cleanlab's quality scores and label issues. Both run in turns in one process; figures are medians of the turns.

Compare processor seconds, not seconds: other work may run on the machine, and stretches the seconds of both."""


def blobs(n: int, features: int, classes: int, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """Normal embeddings (n, d) about the centres of their classes, and labels (n,), one in ten of another class."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, features)) * 6 / math.sqrt(features)
    labels = random.integers(classes, size=n)
    x = (centres[labels] + random.normal(size=(n, features))).astype(np.float32)
    wrong = random.random(n) < 0.1
    labels[wrong] = (labels[wrong] + random.integers(1, classes, size=int(wrong.sum()))) % classes
    return x, labels


def correlated(n: int, features: int, classes: int, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, d) like a ResNet's, in overlapping classes, and labels (n,), one in ten drawn anew."""
    x, labels = made(n, features, classes, seed, torch.float32)
    return x.numpy(), labels.numpy()


KINDS: dict[str, Callable[[int, int, int], tuple[np.ndarray, np.ndarray]]] = {"correlated": correlated, "blobs": blobs}


def cleanlabs_way(x: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """cleanlab's quality scores (n,): five folds of the audit's head, each with an L2 of its own, and label issues."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    embeddings, numbers = torch.from_numpy(x).double(), torch.from_numpy(labels)
    fold = torch.randperm(len(x), generator=torch.Generator().manual_seed(SEED)) % FOLDS
    out = torch.empty(len(x), classes, dtype=torch.float64)
    for number in range(FOLDS):
        kept, held = fold != number, fold == number
        # Near enough to the optimum for predictions, if not for influence.
        head = train_head(
            embeddings[kept], numbers[kept], embeddings[held], numbers[held], classes, weight_tolerance=math.inf
        )
        out[held] = head.probabilities(embeddings[held])
    predictions = out.numpy()
    find_label_issues(labels, predictions, return_indices_ranked_by="self_confidence", n_jobs=1)
    return np.asarray(get_label_quality_scores(labels, predictions))


class StageClock:
    """Progress of an audit that takes the time of its stages; of a stage within another, the time counts once.

    Attributes:
        seconds, cpu: by stage, in seconds and processor seconds.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self._open: list[str] = []
        self._last = (0.0, 0.0)

    def __call__(self, step: Step) -> None:
        """Note the beginning or the end of a stage."""
        if step.done == 0 and not step.note:
            self.enter(step.stage)
        elif (step.done, step.total, step.unit) == (1, 1, ""):
            self.leave()

    def enter(self, stage: str) -> None:
        """A stage begins."""
        self._count()
        self._open.append(stage)

    def leave(self) -> None:
        """The stage that began last ends."""
        self._count()
        self._open.pop()

    def _count(self) -> None:
        now = (time.perf_counter(), time.process_time())
        if self._open:
            stage = self._open[-1]
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now[0] - self._last[0]
            self.cpu[stage] = self.cpu.get(stage, 0.0) + now[1] - self._last[1]
        self._last = now


def audited(x: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Seconds and processor seconds of a whole audit and of its stages, the controls apart from the noise model."""
    clock, spike_in = StageClock(), stages.spike_in

    def timed(*parts: Any) -> Any:
        clock.enter("controls")
        found = spike_in(*parts)
        clock.leave()
        return found

    stages.spike_in = timed
    try:
        result, seconds, cpu = clocked(lambda: audit.audit_embeddings(x, labels, progress=clock))
    finally:
        stages.spike_in = spike_in
    for of_stage, whole in ((clock.seconds, seconds), (clock.cpu, cpu)):
        of_stage["noise model"] = of_stage.pop("detection")
        of_stage["reading and keeping"] = whole - sum(of_stage.values())
    return {
        "seconds": seconds,
        "cpu": cpu,
        "stages": clock.seconds,
        "stages_cpu": clock.cpu,
        "flagged": result.summary.counts.flagged,
        "failed": [failure.reason for failure in result.summary.failed_stages],
    }


def clocked(job: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a job comes to, its seconds, and its processor seconds on all cores."""
    began, began_cpu = time.perf_counter(), time.process_time()
    outcome = job()
    return outcome, time.perf_counter() - began, time.process_time() - began_cpu


def measured(size: str, kind: str, turns: int) -> dict[str, Any]:
    """One row of the table."""
    n, features, classes = (int(part) for part in size.split("x"))
    x, labels = KINDS[kind](n, features, classes)
    audits, peers = [], []
    for turn in range(turns):
        audits.append(audited(x, labels))
        _, seconds, cpu = clocked(lambda: cleanlabs_way(x, labels, classes))
        peers.append({"seconds": seconds, "cpu": cpu})
        print(f"  turn {turn + 1}: audit {audits[-1]['seconds']:.1f} s, cleanlab's way {seconds:.1f} s", flush=True)
    return {
        "stages": {
            name: [statistics.median(one[kind_of][name] for one in audits) for kind_of in ("stages", "stages_cpu")]
            for name in audits[0]["stages"]
        },
        "seconds": statistics.median(one["seconds"] for one in audits),
        "cpu": statistics.median(one["cpu"] for one in audits),
        "peer_seconds": statistics.median(one["seconds"] for one in peers),
        "peer_cpu": statistics.median(one["cpu"] for one in peers),
        "ratios": {
            "whole to head and noise model": [
                statistics.median(one[whole] / sum(one[of_stage][name] for name in CORE) for one in audits)
                for whole, of_stage in (("seconds", "stages"), ("cpu", "stages_cpu"))
            ],
            "whole to cleanlab's way": [
                statistics.median(one[unit] / peer[unit] for one, peer in zip(audits, peers, strict=True))
                for unit in ("seconds", "cpu")
            ],
        },
        "flagged": audits[-1]["flagged"],
        "failed": audits[-1]["failed"],
        "peak_gib": peak(size, kind),
        "turns": turns,
        "machine": machine() | {"cleanlab": version("cleanlab")},
    }


def peak(size: str, kind: str) -> float:
    """The largest resident set of one audit in a process of its own, in GiB."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.whole_audit", "--size", size, "--kind", kind]
    found = subprocess.run([*command, "--memory"], stdout=subprocess.PIPE, text=True, check=True, cwd=HERE.parents[1])
    return float(found.stdout.split()[-1])


def print_peak(size: str, kind: str) -> None:
    """Audit once and print the largest resident set of this process."""
    n, features, classes = (int(part) for part in size.split("x"))
    audit.audit_embeddings(*KINDS[kind](n, features, classes))
    print(peak_mib() / 1024)


def table(rows: dict[str, Any]) -> str:
    """Markdown of all rows."""
    lines = [INTRODUCTION, ""]
    for name, row in rows.items():
        of_stage = sorted(row["stages"].items(), key=lambda pair: -pair[1][1])
        lines += [f"## {name}", "", "| part | seconds | processor seconds | share of these |", "|---|---|---|---|"]
        lines += [f"| {stage} | {s:.2f} | {cpu:.2f} | {cpu / row['cpu']:.0%} |" for stage, (s, cpu) in of_stage]
        lines += [f"| **whole** | {row['seconds']:.2f} | {row['cpu']:.2f} | |"]
        lines += [f"| cleanlab's way | {row['peer_seconds']:.2f} | {row['peer_cpu']:.2f} | |", ""]
        lines += [
            f"- {what}: {ratio:.2f} by seconds, {cpu:.2f} by processor seconds (to reach: {ALLOWED[what]})"
            for what, (ratio, cpu) in row["ratios"].items()
        ]
        lines += [f"- peak memory: {row['peak_gib']:.2f} GiB, packages included"]
        lines += [f"- flagged: {row['flagged']:,}", *(f"- failed: {reason}" for reason in row["failed"]), ""]
        where = dict(row["machine"])
        lines += [f"Seed {SEED}, {row['turns']} turns, cleanlab {where.pop('cleanlab')}; {described(where)}", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure the sizes that are named, all by default, and write whole_audit.json and whole_audit.md after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", action="append", help="samples x features x classes; can be given several times")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this kind; can be given several times")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="only print the peak memory of one audit, in GiB")
    asked = parser.parse_args()
    for size in asked.size or SIZES:
        for kind in asked.kind or KINDS:
            if asked.memory:
                print_peak(size, kind)
                continue
            name = f"{size.replace('x', ' x ')} classes, {kind}"
            print(f"{name} ...", flush=True)
            rows = json.loads(STORED.read_text()) if STORED.exists() else {}
            rows[name] = measured(size, kind, asked.turns)
            STORED.write_text(json.dumps(rows, indent=1) + "\n")
            TABLE.write_text(table(rows))
            print(json.dumps(rows[name], indent=1), flush=True)


if __name__ == "__main__":
    main()
