"""What grows with the number of samples: `python -m tests.benchmarks.scale [samples ...]`, or `make bench`.

Embeddings of 100 classes in a file that is memory-mapped, one process for each size and job, and nothing kept between
sizes. Peak memory is the largest resident set: pages of the file that happen to be in memory count, too.

`--jobs flags` and `--jobs workers` are run by name only: `python -m tests.benchmarks.scale 5000000 --jobs flags` and
`python -m tests.benchmarks.scale 1000000 --jobs workers`.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

import audit  # before torch: it tells OpenMP not to spin  # isort: skip
import torch

from audit.compute.matrix import Rows, StoredRows, select_rows
from audit.head.fit import logits, probabilities, residuals, targets_of, train_head
from audit.head.hessian import HeadHessian
from audit.head.leave_one_out.choose_method import leave_one_out
from audit.head.stable import StableSolver
from audit.influence.averaged import influence_on_validation
from audit.noise_model.controls import Controls, spike_in
from audit.noise_model.given_labels import GivenLabels
from audit.noise_model.model import NoiseModel
from audit.progress import Step
from tests.benchmarks.influence import described, made
from tests.peak_memory import peak_mib

HERE = Path(__file__).parent
CLASSES = 100
FEATURES = {"engine": 512, "audit": 512, "flags": 64, "workers": 128}
SIZES = (10_000, 100_000, 1_000_000)
VALIDATION_EVERY = 10
ALLOWED_GROWTH = 11.0
SCORING = ("split", "head", "detection", "influence", "flagging")
"""The stages that make scores and flags; the others explain, correct and evaluate."""

CORE = ("head", "detection")
"""Head and noise model, with its controls."""

ALLOWED_GIB = {"engine": 2.0, "audit": 2.0, "flags": 4.8, "workers": 2.0}
"""Peak memory beside that of the embeddings; of any process."""

WORKERS = 2


def write_embeddings(folder: Path, n: int, features: int) -> None:
    """x.npy (n, features) float32 and labels.npy (n,)."""
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", "float32", (n, features))
    _, labels = made(n, features, CLASSES, dtype=torch.float32, into=x)
    np.save(folder / "labels.npy", labels.numpy())


def engine(folder: Path) -> dict[str, Any]:
    """Head with its L2 chosen, influence of every sample on nine tenths' validation loss, leave-one-out."""
    x = StoredRows([np.load(folder / "x.npy", mmap_mode="r")], torch.float64, torch.device("cpu"))
    labels = torch.from_numpy(np.load(folder / "labels.npy"))
    held = torch.arange(len(x)) % VALIDATION_EVERY == 0
    train, validation = torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()
    seconds: dict[str, float] = {}
    with _timed(seconds, "head"):
        head = train_head(select_rows(x, train), labels[train], select_rows(x, validation), labels[validation], CLASSES)
    with _timed(seconds, "influence"):
        z = head.features(x)
        p = probabilities(z, head.weight)
        wrong = residuals(p, targets_of(labels, CLASSES, z))
        hessian = HeadHessian(select_rows(z, train), select_rows(p, train), head.l2)
        _, solution = influence_on_validation(
            StableSolver(hessian), z, wrong, validation, select_rows(wrong, validation)
        )
    with _timed(seconds, "leave-one-out"):
        leave_one_out(hessian, z, logits(z, head.weight), wrong, trained_on=~held, method="kfac")
    return {
        "seconds": seconds,
        "l2": head.l2,
        "head_steps": len(head.curve) - 1,
        "gradient_norm": head.gradient_norm,
        "cg_steps": solution.iterations,
        "residual": solution.residual,
    }


def whole_audit(folder: Path) -> dict[str, Any]:
    """`audit_embeddings` from the file, with all stages."""
    labels = np.load(folder / "labels.npy")

    def tell(step: Step) -> None:
        if not step.done:
            print(f"  {step.stage}", file=sys.stderr, flush=True)

    result = audit.audit_embeddings(folder / "x.npy", labels, progress=tell)
    return {"seconds": result.summary.timings, "flagged": result.summary.counts.flagged}


class _Flagged(BaseException):
    """Raised once samples are flagged, to leave out what comes after."""


def flags(folder: Path) -> dict[str, Any]:
    """`audit_embeddings` from the file up to the flags: head, noise model, controls, influence, flags."""
    labels, seconds = np.load(folder / "labels.npy"), {}
    current, began = "", time.perf_counter()

    def tell(step: Step) -> None:
        nonlocal current, began
        if step.stage == current:
            return
        if current:
            seconds[current] = seconds.get(current, 0.0) + time.perf_counter() - began
        print(f"  {step.stage}", file=sys.stderr, flush=True)
        current, began = step.stage, time.perf_counter()
        if current == "evaluation":
            raise _Flagged

    with suppress(_Flagged):
        audit.audit_embeddings(folder / "x.npy", labels, config=audit.AuditConfig(findings="none"), progress=tell)
    return {"seconds": seconds}


def _part(path: str, start: int, stop: int) -> StoredRows:
    return StoredRows([np.load(path, mmap_mode="r")[start:stop]], torch.float64, torch.device("cpu"))


def _peak_gib() -> float:
    return peak_mib() / 1024


def workers(folder: Path) -> dict[str, Any]:
    """The noise model with controls on two Dask workers, each with half of the embeddings, and in one process."""
    from distributed import Client, LocalCluster

    from integrations.dask_rows import DaskRows

    path, labels = folder / "x.npy", torch.from_numpy(np.load(folder / "labels.npy"))
    n, seconds = len(labels), dict[str, float]()
    settings: dict[str, Any] = {"threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with (
        LocalCluster(n_workers=WORKERS, **settings, env={"OMP_NUM_THREADS": "1"}) as cluster,
        Client(cluster) as client,
    ):
        edges = [round(part * n / (2 * WORKERS)) for part in range(2 * WORKERS + 1)]
        parts = [client.submit(_part, str(path), *ends, pure=False) for ends in pairwise(edges)]
        sizes = [stop - start for start, stop in pairwise(edges)]
        x = DaskRows(client, parts, sizes, FEATURES["workers"], torch.float64)
        with _timed(seconds, "on workers"):
            spread, spread_controls = _diagnosed(x, labels)
        peaks = [*client.run(_peak_gib).values(), _peak_gib()]
        del x, parts
    with _timed(seconds, "one process"):
        alone, controls = _diagnosed(_part(str(path), 0, n), labels)
    apart = (spread - alone).abs()
    drawn = controls.labels == spread_controls.labels
    return {
        "seconds": seconds,
        "peaks_gib": peaks,
        "suspicion_apart": {"most": float(apart.max()), "mean": float(apart.mean())},
        "controls_apart": float(np.abs(controls.suspicion - spread_controls.suspicion)[drawn].max()),
        "controls_of_other_labels": int((~drawn).sum()),
    }


def _diagnosed(x: Rows, labels: torch.Tensor) -> tuple[torch.Tensor, Controls]:
    """The suspicion of every label, and the controls."""
    model = NoiseModel(x, CLASSES)
    fitted = model.fit(labels)
    return 1 - GivenLabels(labels).beliefs_in(fitted.diagnosis.posterior), spike_in(model, fitted, labels, 0)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - began
    print(f"  {name}: {seconds[name]:.1f} s", file=sys.stderr, flush=True)


JOBS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "engine": engine,
    "audit": whole_audit,
    "flags": flags,
    "workers": workers,
}
USUAL = ("engine", "audit")
"""The jobs that are run unless others are named."""


def measure(n: int, job: str, folder: Path) -> dict[str, Any]:
    """One job on n samples in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.scale", "--job", job, "--folder", str(folder)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=HERE.parents[1])
    return {"n": n, "job": job, **json.loads(found.stdout.splitlines()[-1])}


def table(results: dict[str, Any]) -> str:
    """Markdown of all that was measured."""
    lines = ["# Growth with the number of samples", ""]
    lines += ["Made by `make bench` (`python -m tests.benchmarks.scale`): embeddings, C = 100, float32, in a"]
    lines += [
        "memory-mapped file; one process for each line. Peak memory is the largest resident set, in which pages of"
    ]
    lines += ["the file count that happen to be in memory.", ""]
    for job, function in JOBS.items():
        steps = sorted(results.get(job, {}).values(), key=lambda step: step["n"])
        if not steps:
            lines += [f"## {job}", "", str(function.__doc__).split("\n")[0], "", "Not measured yet.", ""]
            continue
        names = list(steps[-1]["seconds"])
        lines += [f"## {job}, d = {FEATURES[job]}", "", str(function.__doc__).split("\n")[0], ""]
        stages = " | ".join(f"{name} (s)" for name in names)
        lines += [f"| samples | {stages} | all (s) | grew | peak (GiB) | allowed | date |"]
        lines += ["|---|" + "---|" * (len(names) + 5)]
        for before, step in zip([None, *steps], steps, strict=False):
            whole = sum(step["seconds"].values())
            grew = "" if before is None else f"{whole / sum(before['seconds'].values()):.1f}×"
            disk = step["n"] * FEATURES[job] * 4 / 2**30
            parts = " | ".join(f"{step['seconds'].get(name, 0):.1f}" for name in names)
            memory = f"{step['peak_gib']:.2f} | {disk:.2f} + {ALLOWED_GIB[job]:.1f}"
            lines += [f"| {step['n']:,} | {parts} | {whole:.1f} | {grew} | {memory} | {step['machine']['date']} |"]
        if job == "audit":
            scoring = [sum(seconds for name, seconds in step["seconds"].items() if name in SCORING) for step in steps]
            grown = [f"{after / before:.1f}×" for before, after in pairwise(scoring)]
            taken = ", ".join(f"{seconds:.0f} s" for seconds in scoring)
            lines += ["", f"Scores and flags, without what comes after: {taken}; grew {', '.join(grown)}."]
            core = [sum(step["seconds"][name] for name in CORE) for step in steps]
            shares = [sum(step["seconds"].values()) / of for step, of in zip(steps, core, strict=True)]
            lines += ["", f"The whole, times head and detection: {', '.join(f'{share:.2f}' for share in shares)}."]
        if job == "workers":
            for step in steps:
                at_work = ", ".join(f"{peak:.2f}" for peak in step["peaks_gib"])
                most, mean = (step["suspicion_apart"][name] for name in ("most", "mean"))
                lines += ["", f"{step['n']:,} samples: peak of the workers and the main process {at_work} GiB while on"]
                lines += [f"workers; suspicions are apart from those of one process by {most:.1e} at most, {mean:.1e}"]
                lines += [f"on average; {step['controls_of_other_labels']} controls have another label."]
        absent = [f"{n:,}" for n in SIZES if job in USUAL and str(n) not in results[job]]
        if absent:
            lines += ["", f"Not measured yet: {', '.join(absent)} samples."]
        lines += ["", described(steps[-1]["machine"]), ""]
    return "\n".join(lines)


def missed(results: dict[str, Any]) -> list[str]:
    """What is beyond its bound, in a sentence each."""
    found = []
    for job, by_size in results.items():
        steps = sorted(by_size.values(), key=lambda step: step["n"])
        for step in steps:
            allowed = step["n"] * FEATURES[job] * 4 / 2**30 + ALLOWED_GIB[job]
            if step["peak_gib"] > allowed:
                found.append(f"{job} of {step['n']}: {step['peak_gib']:.2f} GiB, allowed {allowed:.2f}")
        for before, after in pairwise(steps):
            growth = sum(after["seconds"].values()) / sum(before["seconds"].values())
            if growth > ALLOWED_GROWTH * after["n"] / before["n"] / 10:
                found.append(f"{job} {before['n']} → {after['n']}: {growth:.1f} times as long")
    return found


def main() -> None:
    """Measure the sizes that are named, all by default, and write scale.json and scale.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int)
    parser.add_argument("--jobs", default=",".join(USUAL))
    parser.add_argument("--job")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.job:
        found = JOBS[given.job](given.folder)
        peak = max(found.get("peaks_gib", [_peak_gib()]))
        versions = {"python": platform.python_version(), **{name: version(name) for name in ("torch", "numpy")}}
        machine = {
            "date": datetime.now(UTC).date().isoformat(),
            "system": platform.platform(terse=True),
            "threads": torch.get_num_threads(),
            "versions": versions,
        }
        print(json.dumps({**found, "peak_gib": peak, "machine": machine}))
        return
    stored = HERE / "scale.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    for n, job in product(given.sizes or SIZES, given.jobs.split(",")):
        with tempfile.TemporaryDirectory(prefix="influence-audit-scale-") as name:
            code = f"from tests.benchmarks.scale import *; write_embeddings(Path({name!r}), {n}, {FEATURES[job]})"
            subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=HERE.parents[1])
            print(f"{job} of {n} ...", flush=True)
            found = measure(n, job, Path(name))
            print(json.dumps(found, indent=1), flush=True)
            results.setdefault(job, {})[str(n)] = found
            stored.write_text(json.dumps(results, indent=1) + "\n")
            (HERE / "scale.md").write_text(table(results))
    for sentence in missed(results):
        print("beyond its bound:", sentence)


if __name__ == "__main__":
    main()
