"""Measurements as files: all of them in JSON, means over seeds in a table and a figure."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from integrations.benchmark.measure import OURS, Measurement

PEER = "cleanlab self_confidence"
"""The peer whose flags and suggestions the table shows beside ours."""


def save_measurements(measurements: list[Measurement], embeddings: str, folder: Path) -> Path:
    """Write measurements.json and table.md, with the machine and versions that they were made on, and figure.html.

    Args:
        measurements: of all methods.
        embeddings: what made them, in words.
        folder: made where it is not there.
    """
    from reports.peers import peers_figure

    folder.mkdir(parents=True, exist_ok=True)
    origin = origin_of(embeddings, ("influence-audit", "cleanlab", "fiftyone-brain", "torch"))
    records = {"origin": origin, "measurements": [asdict(measurement) for measurement in measurements]}
    (folder / "measurements.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    drawn = peers_figure(mean_by_case(measurements, "average_precision"), mean_by_case(measurements, "seconds"), OURS)
    drawn.write_html(folder / "figure.html", include_plotlyjs=True)
    path = folder / "table.md"
    path.write_text(markdown_table(measurements, origin), encoding="utf-8")
    return path


def origin_of(embeddings: str, packages: Iterable[str]) -> dict[str, Any]:
    """When, where and on which embeddings something was measured, with the versions of packages."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "backbone": embeddings,
        "versions": {name: version(name) for name in packages},
    }


def described_origin(origin: dict[str, Any]) -> str:
    """The same in a line."""
    versions = ", ".join(f"{name} {number}" for name, number in origin["versions"].items())
    return f"{origin['date']}, {origin['machine']}, {origin['backbone']}; {versions}."


def mean_by_case(measurements: list[Measurement], field: str) -> dict[str, dict[str, float | None]]:
    """Mean over seeds of a field, by case and method; None where a method does not say."""
    values: dict[str, dict[str, list[float | None]]] = {}
    for measured in measurements:
        values.setdefault(measured.case, {}).setdefault(measured.method, []).append(getattr(measured, field))
    return {
        case: {
            method: None if None in known else float(np.mean([v for v in known if v is not None]))
            for method, known in by_method.items()
        }
        for case, by_method in values.items()
    }


def markdown_table(measurements: list[Measurement], origin: dict[str, Any]) -> str:
    """Average precision by case and method, and how the flags did; means over seeds."""
    means = _Means(measurements)
    methods = list(dict.fromkeys(measured.method for measured in measurements))
    seeds = sorted({measured.seed for measured in measurements})
    lines = [
        f"{described_origin(origin)} Seeds {', '.join(map(str, seeds))}.",
        "",
        "Average precision of the ranking, mean over seeds:",
        "",
        *_rankings(means, methods),
        "",
        "1 − P@k, with k the real number of wrong labels: the share of right labels among the k most suspicious, which "
        "is also the share of the wrong ones that are missed, mean over seeds:",
        "",
        *_misses(means, methods),
        "",
        f"Flags, ours and those of {PEER} with cleanlab's default filter; suggestions for mistakes that we flagged:",
        "",
        *_flags(means),
    ]
    return "\n".join(lines) + "\n"


class _Means:
    """Means over seeds of every field, as text."""

    def __init__(self, measurements: list[Measurement]) -> None:
        self._measurements = measurements
        self._by_field: dict[str, dict[str, dict[str, float | None]]] = {}

    def of(self, field: str) -> dict[str, dict[str, float | None]]:
        """By case and method."""
        if field not in self._by_field:
            self._by_field[field] = mean_by_case(self._measurements, field)
        return self._by_field[field]

    def text(self, field: str, case: str, method: str, digits: int = 3) -> str:
        """One of them; a dash where the method does not say."""
        value = self.of(field)[case][method]
        return "–" if value is None else f"{value:.{digits}f}"


def _rankings(means: _Means, methods: list[str]) -> Iterable[str]:
    """Average precision, a row a case and a column a method, the best in bold."""
    yield _row("labels", *methods)
    yield _row("---", *("---" for _ in methods))
    for case, by_method in means.of("average_precision").items():
        best = max(value for value in by_method.values() if value is not None)
        cells = [means.text("average_precision", case, method) for method in methods]
        yield _row(case, *(f"**{c}**" if by_method[m] == best else c for c, m in zip(cells, methods, strict=True)))


def _misses(means: _Means, methods: list[str]) -> Iterable[str]:
    """1 − P@k, a row a case and a column a method, the smallest in bold."""
    yield _row("labels", *methods)
    yield _row("---", *("---" for _ in methods))
    for case, by_method in means.of("precision_at_wrong").items():
        misses = [1 - (by_method[method] or 0.0) for method in methods]
        yield _row(case, *(f"**{miss:.3f}**" if miss == min(misses) else f"{miss:.3f}" for miss in misses))


def _flags(means: _Means) -> Iterable[str]:
    """How our flags and the peer's did, a row a case."""
    titles = (
        *("labels", "wrong", "wrong, modelled", "precision / recall", "precision, modelled", "seconds"),
        *("cleanlab: precision / recall", "seconds", "with trained folds", "with each fold's own L2"),
        *("suggestions right", "cleanlab's", "kNN's"),
    )
    yield _row(*titles)
    yield _row(*("---" for _ in titles))
    for case in means.of("average_precision"):

        def ours(field: str, digits: int = 3, case: str = case) -> str:
            return means.text(field, case, OURS, digits)

        def peers(field: str, digits: int = 3, case: str = case) -> str:
            return means.text(field, case, PEER, digits)

        yield _row(
            *(case, ours("wrong", 0)),
            f"{ours('estimated_wrong', 0)} ({ours('estimated_low', 0)} to {ours('estimated_high', 0)})",
            f"{ours('precision')} / {ours('recall')}",
            *(ours("estimated_precision"), ours("seconds", 1)),
            f"{peers('precision')} / {peers('recall')}",
            *(peers(f"seconds{folds}", 1) for folds in ("", "_trained_folds", "_own_l2_folds")),
            *(ours("suggestion_right_for_ours"), peers("suggestion_right_for_ours")),
            means.text("suggestion_right_for_ours", case, "k nearest neighbours"),
        )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
