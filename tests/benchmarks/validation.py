"""What validation labels are worth: `python -m tests.benchmarks.validation`.

INFLUENCE_AUDIT_DATA names the folder of the development data; sets and seeds are those of tests.benchmarks.detection,
the embeddings those of the bundled backbone. A tenth of the samples are validated on, another tenth tested on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from audit.flags.threshold import best_threshold
from audit.noise_model.model import NoiseModel
from integrations.benchmark import Case, averaged_influence, split_of
from tests.benchmarks.data import data_folder
from tests.benchmarks.detection import NO_IMAGES, SETS, bundled
from tests.benchmarks.influence import described, machine

HERE = Path(__file__).parent
TARGETS = {"given": "given", "right": "true", "expected": "believed"}  # as a reader and as the benchmark names them
KNOWN = ("as they are", "put right", "known to be right")
INTRODUCTION = """# What validation labels are worth

Made by `python -m tests.benchmarks.validation` on the development data: {}, means over seeds 0, 1, 2. A tenth of
the samples are validated on, another tenth tested on."""
ON_INFLUENCE = """## Averaged influence

On the mean validation loss, where that takes the labels of the validation samples as they are *given*, as they are
*right*, or, as the audit does, takes the classes that it *expects* of their pictures without their labels. Correlation
is over training samples, with the influence on the mean loss of the test samples with their right labels: which samples
help and which harm on new pictures."""
ON_SUSPICION = """## Suspicion

Average precision on training and test samples, with all labels as they are, with those of the validation samples put
right, and where the audit is told so (`--validation-trusted`); and how far the expected precision of the flags is from
the real one, on these samples."""


def measured(case: Case) -> dict[str, dict[str, float]]:
    """What is compared, for one set and seed."""
    split = split_of(case)
    found: dict[str, dict[str, float]] = {"ranking": {}, "correlation": {}}
    train = split == "train"
    on_test = averaged_influence(case, "true", on="test")[train]
    for name, labels in TARGETS.items():
        values = averaged_influence(case, labels)
        found["ranking"][name] = float(average_precision_score(case.given != case.true, -values))
        found["correlation"][name] = float(np.corrcoef(values[train], on_test)[0, 1])
    return {**found, **_suspicions(case, split == "validation")}


def _suspicions(case: Case, known: np.ndarray) -> dict[str, dict[str, float]]:
    x = torch.from_numpy(case.x).double()
    corrected = np.where(known, case.true, case.given)
    wrong = (case.given != case.true)[~known]
    found: dict[str, dict[str, float]] = {"suspicion": {}, "precision off by": {}}
    for name, labels, trusted in zip(
        KNOWN, (case.given, corrected, corrected), (None, None, torch.from_numpy(known)), strict=True
    ):
        posterior = NoiseModel(x, case.classes, case.seed, trusted).diagnose(torch.from_numpy(labels)).posterior
        suspicion = 1 - posterior.double().numpy()[np.arange(len(labels)), labels][~known]
        flag = suspicion >= best_threshold(suspicion)
        found["suspicion"][name] = float(average_precision_score(wrong, suspicion))
        found["precision off by"][name] = abs(float(suspicion[flag].mean() - wrong[flag].mean()))
    return found


def _table(results: dict[str, list[dict[str, dict[str, float]]]], figures: dict[str, tuple[str, ...]]) -> str:
    columns = [(figure, name) for figure, names in figures.items() for name in names]
    lines = [f"| labels | {' | '.join(f'{figure}: {name}' for figure, name in columns)} |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for case, found in results.items():
        means = (np.mean([seed[figure][name] for seed in found]) for figure, name in columns)
        lines.append(f"| {case} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure all sets, and write validation.json and validation.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.parse_args()
    data_folder()  # ends here where it is missing
    embeddings, embedded = bundled()
    results: dict[str, list[dict[str, dict[str, float]]]] = {}
    for name, cases in SETS.items():
        if name != NO_IMAGES:
            for case in cases(embedded):
                results.setdefault(case.name, []).append(measured(case))
    where = machine()
    made = {"embeddings": embeddings, "results": results, "machine": where}
    (HERE / "validation.json").write_text(json.dumps(made, indent=1) + "\n")
    parts = [
        INTRODUCTION.format(embeddings),
        ON_INFLUENCE,
        _table(results, {"ranking": tuple(TARGETS), "correlation": tuple(TARGETS)}),
        ON_SUSPICION,
        _table(results, {"suspicion": KNOWN, "precision off by": (KNOWN[0], KNOWN[2])}),
        described(where),
    ]
    (HERE / "validation.md").write_text("\n\n".join(parts) + "\n")
    print((HERE / "validation.md").read_text())


if __name__ == "__main__":
    main()
