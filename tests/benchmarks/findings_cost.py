"""What findings cost: the time of an audit with all findings, as a multiple of that with `--findings none`.

A part of `tests.benchmarks.findings`. Times are processor seconds of this process, in which audits with and without
findings take turns; the first turn does not count. Pictures come from the cache, as in a second audit: then findings
weigh most. *First audit* is that of pictures that nobody has decoded before.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import audit
from tests.benchmarks.backgrounds import digits
from tests.benchmarks.pictures import files_of, read
from tests.benchmarks.whole_audit import KINDS

TURNS, SAMPLES, FEATURES, CLASSES = 1, 10_000, 512, 10
COLUMNS = {"tiny-imagenet-tables-boats": "label", "cifar10n-dev": "aggre_label"}
ASKED = ("none", "all")


def measure_cost(folder: Path) -> dict[str, dict[str, float]]:
    """For each dataset: medians of processor seconds without and with findings, and their ratio."""
    measured: dict[str, dict[str, float]] = {}
    for name, run in _audits(folder):
        first = {asked: _seconds(run, asked) for asked in ASKED}
        turns = [{asked: _seconds(run, asked) for asked in ASKED} for _ in range(TURNS)]
        none, everything = (statistics.median(turn[asked] for turn in turns) for asked in ASKED)
        measured[name] = {"none": none, "all": everything, "ratio": everything / none}
        if "embeddings" not in name:
            measured[name]["ratio of the first audit"] = first["all"] / first["none"]
        print(name, measured[name], flush=True)
    return measured


def _seconds(run: Callable[[str], object], asked: str) -> float:
    """Processor seconds of an audit with `--findings none` or `all`."""
    began = time.process_time()
    run(asked)
    return time.process_time() - began


def _audits(folder: Path) -> Iterator[tuple[str, Callable[[str], object]]]:
    """Audits that take what `--findings` is."""
    for kind, make in KINDS.items():
        x, labels = make(SAMPLES, FEATURES, CLASSES)
        yield (
            f"{SAMPLES:,} embeddings, {kind}",
            lambda asked, x=x, labels=labels: audit.audit_embeddings(
                x, labels, config=audit.AuditConfig(findings=asked)
            ),
        )
    sets = {name: read(name) for name in COLUMNS}
    pictures = {name: (found, table[COLUMNS[name]].to_numpy()) for name, (found, table) in sets.items()}
    pictures["digits"] = digits()
    for name, (images, labels) in pictures.items():
        (folder / name).mkdir()
        paths = files_of(images, folder / name)
        samples = audit.Samples(paths, paths, [str(label) for label in labels])

        def of_pictures(asked: str, samples: audit.Samples = samples, cache: Path = folder / f"{name} cache") -> object:
            config = audit.AuditConfig(weights="bundled", device="cpu", cache_dir=str(cache / asked), findings=asked)
            return audit.audit_images(samples, config)

        yield f"{len(images):,} pictures of {name}", of_pictures
