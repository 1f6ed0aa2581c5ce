"""What grows with the number of classes: `python -m tests.benchmarks.classes [classes ...]`.

Made-up embeddings, d = 32, of 4 samples a class around the class's centre, a tenth of the labels drawn anew; one
process for each number of classes. Classes that are left with fewer than 3 samples are not audited.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import audit
from audit.progress import Step
from tests.peak_memory import peak_mib

HERE = Path(__file__).parent
CLASSES = (1000, 3000, 10_000)
SAMPLES_PER_CLASS, FEATURES, SPREAD, WRONG = 4, 32, 0.4, 0.1


def measured(classes: int) -> dict[str, Any]:
    """An audit of so many classes, here."""
    rng = np.random.default_rng(0)
    n = SAMPLES_PER_CLASS * classes
    centres = rng.normal(size=(classes, FEATURES)).astype(np.float32)
    true = rng.permutation(np.arange(n) % classes)
    x = centres[true] + SPREAD * rng.normal(size=(n, FEATURES)).astype(np.float32)
    redrawn = rng.random(n) < WRONG
    given = true.copy()
    given[redrawn] = rng.integers(0, classes, redrawn.sum())

    def tell(step: Step) -> None:
        if not step.done:
            print(f"  {step.stage}", file=sys.stderr, flush=True)

    return described(audit.audit_embeddings(x, given, progress=tell), given != true, classes)


def described(result: audit.AuditResult, wrong: np.ndarray, classes: int) -> dict[str, Any]:
    """What is kept of a result, given which of all labels are wrong."""
    from sklearn.metrics import average_precision_score

    wrong = wrong[result.scores.index.astype(int)]
    flag = result.scores["flag"].to_numpy(dtype=bool)
    estimates = result.summary.estimates
    return {
        "classes": classes,
        "audited_classes": result.summary.counts.classes,
        "samples": len(wrong),
        "seconds": result.summary.timings,
        "average_precision": float(average_precision_score(wrong, result.scores["suspicion"])),
        "wrong": int(wrong.sum()),
        "estimated_wrong": [estimates.mistakes, estimates.mistakes_low, estimates.mistakes_high],
        "precision": float(wrong[flag].mean()) if flag.any() else None,
        "estimated_precision": estimates.precision,
        "recall": float(flag[wrong].mean()),
        "peak_gib": peak_mib() / 1024,
        "machine": {
            "date": datetime.now(UTC).date().isoformat(),
            "system": platform.platform(terse=True),
            "versions": {"python": platform.python_version(), "torch": version("torch"), "numpy": version("numpy")},
        },
    }


def table(results: dict[str, Any]) -> str:
    """Markdown of all that was measured."""
    steps = sorted(results.values(), key=lambda step: step["classes"])
    names = [name for name in steps[-1]["seconds"] if name not in ("split", "evaluation")]
    heading = ["classes (audited)", "samples", *(f"{name} (s)" for name in names), "all (s)", "peak (GiB)"]
    heading += ["average precision", "wrong: real, estimated", "precision: real, estimated", "recall"]
    lines = ["# Growth with the number of classes", ""]
    lines += ["Made by `python -m tests.benchmarks.classes`: " + " ".join((__doc__ or "").split("\n\n")[1].split())]
    lines += ["", f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
    for step in steps:
        estimated = "{:.0f} ({:.0f} to {:.0f})".format(*step["estimated_wrong"])
        precision = "" if step["precision"] is None else f"{step['precision']:.3f}, {step['estimated_precision']:.3f}"
        cells = [f"{step['classes']:,} ({step['audited_classes']:,})", f"{step['samples']:,}"]
        cells += [f"{step['seconds'].get(name, 0):.0f}" for name in names]
        cells += [f"{sum(step['seconds'].values()):.0f}", f"{step['peak_gib']:.1f}", f"{step['average_precision']:.3f}"]
        cells += [f"{step['wrong']}, {estimated}", precision, f"{step['recall']:.3f}"]
        lines += [f"| {' | '.join(cells)} |"]
    lines += [""]
    for step in steps:
        machine = step["machine"]
        software = ", ".join(f"{package} {number}" for package, number in machine["versions"].items())
        lines += [f"{step['classes']:,} classes: {machine['date']}, {machine['system']}, two threads, {software}", ""]
        if "note" in step:
            lines[-1:] = [f"({step['note']})", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure the numbers of classes that are named, all by default, and write classes.json and classes.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("classes", nargs="*", type=int)
    parser.add_argument("--here", action="store_true", help="in this process, and print what is found")
    asked = parser.parse_args()
    if asked.here:
        print(json.dumps(measured(asked.classes[0])))
        return
    stored = HERE / "classes.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    for classes in asked.classes or CLASSES:
        command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.classes", "--here", str(classes)]
        found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=HERE.parents[1])
        results[str(classes)] = json.loads(found.stdout.splitlines()[-1])
        stored.write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "classes.md").write_text(table(results))
        print((HERE / "classes.md").read_text())


if __name__ == "__main__":
    main()
