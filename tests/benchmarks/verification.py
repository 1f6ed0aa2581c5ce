"""How well a verification sample's intervals hold: `python -m tests.benchmarks.verification`.

INFLUENCE_AUDIT_DATA names the folder of the development data: people's labels (cifar10n-dev, roman-numeral), the
natural labels taken as right, mislabels injected into these (uniform, and as the nearest class), and truths made up on
natural audits. Audits use the embeddings of the bundled backbone and seed 0, and --audits keeps them in a folder. Each
simulated review draws a sample with a seed of its own and decides it by the truth.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

import audit
from audit.verification.anytime import estimate_of
from audit.verification.draw import draw_rows
from audit.verification.population import Decided, Population
from audit.verification.recalibrate import recalibration_of
from integrations.benchmark import labelled_samples
from integrations.sources import resolve_source
from tests.benchmarks.data import data_folder, data_set
from tests.benchmarks.detection import bundled
from tests.benchmarks.influence import described, machine

HERE = Path(__file__).parent
AFTER = (60, 120)
LOOKS = tuple(range(10, 121, 10))
SOURCES = {"digits": "digits", "tb": "tiny-imagenet-tables-boats", "t20": "tiny-imagenet-20", "cifar": "cifar10n-dev"}
MOST = {"t20": 6000}  # samples of a set, at random: to spare time
PEOPLE = ("aggre_label", "random_label1", "worse_label")
SHARES = (0.01, 0.03, 0.1, 0.3)
MADE_UP = ((0.0, 0.008), (0.0, 0.03), (0.3, 0.008), (0.7, 0.008))  # slope on the logit of the suspicion, share wrong
HOT = 0.1  # suspicions above it are calibrated
FEWEST_HOT = 50  # samples of a bin of calibration
INTRODUCTION = """# How well the intervals of a verification sample hold

Made by `python -m tests.benchmarks.verification` on the development data: {reviews} simulated reviews a set with seeds
from 0, of which the first {looked} look after every ten decisions up to 120. Audits: bundled backbone, seed 0.

- *stated*: median estimate and interval of the number of mistakes. *holds*: share of reviews whose 90 % interval holds
  the real number. *width*: median width over that of the prototype (Wald intervals with floored variances, same
  number of decisions).
- *precision*: real precision of the flags, share of reviews whose 90 % interval holds it, and mean distance of
  the estimate from it.
- *calibration*: mean distance of suspicion from the real share of mistakes, among samples with a suspicion above 0.1,
  in bins of 50 samples or more (10 at most): before, and recalibrated.
- *ever excluded*: share of reviews in which the anytime interval excludes the real number (precision) at any look
  so far.
- `-natural`: labels taken as right. `-made-up-B-P`: natural audit, with a share P of mistakes drawn with a logit that
  rises with B times the logit of the suspicion: at 0, mistakes have nothing to do with suspicions."""


@dataclass(frozen=True)
class Audited:
    """An audit, and the truth: suspicion (n,), flag and wrong, bool (n,)."""

    suspicion: np.ndarray
    flag: np.ndarray
    wrong: np.ndarray


def audits(folder: Path) -> Iterator[tuple[str, Audited]]:
    """Every set with its audit, which is made where the folder does not have it."""
    embedded = bundled()[1]

    def kept(name: str, make: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Audited:
        path = folder / f"{name}.npz"
        if not path.exists():
            x, labels, wrong = make()
            scores = audit.audit_embeddings(x, labels).scores
            rows = scores.index.astype(int).to_numpy()
            np.savez(path, s=scores["suspicion"], flag=scores["flag"], wrong=wrong[rows])
        found = np.load(path)
        return Audited(found["s"].clip(0, 1), found["flag"], found["wrong"].astype(bool))

    def embedding_of(source: str) -> tuple[np.ndarray, np.ndarray]:
        samples = labelled_samples(resolve_source(source))
        return embedded(samples), np.array(samples.labels)

    cifar = str(data_set("cifar10n-dev"))
    for column in PEOPLE:

        def people(column: str = column) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            x, true = embedding_of(cifar)
            given = np.array(labelled_samples(resolve_source(cifar, label_column=column)).labels)
            return x, given, given != true

        yield f"cifar-{column.split('_')[0]}", kept(f"cifar-{column.split('_')[0]}", people)

    def roman() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, labels = embedding_of(str(data_set("roman-numeral")))
        return x, labels, pd.read_parquet(data_set("roman-numeral") / "train.parquet")["wrong"].to_numpy()

    yield "roman", kept("roman", roman)
    for name, source in SOURCES.items():
        yield from _injected(name, lambda s=source: embedding_of(s if s == "digits" else str(data_set(s))), kept)


def _injected(name: str, embedding: Callable[..., Any], kept: Callable[..., Audited]) -> Iterator[tuple[str, Audited]]:
    """The natural labels, mislabels injected into them, and truths made up on them."""

    def labelled(kind: str, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, names = embedding()
        chosen = np.random.default_rng(0).permutation(len(x))[: MOST.get(name, len(x))]
        x, true = x[chosen], np.unique(names[chosen], return_inverse=True)[1]
        rng = np.random.default_rng([int(share * 100), kind == "nearest"])
        where = rng.choice(len(true), round(share * len(true)), replace=False)
        given, classes = true.copy(), int(true.max()) + 1
        if kind == "uniform":
            given[where] = (true[where] + rng.integers(1, classes, len(where))) % classes
        else:
            means = np.stack([x[true == number].mean(0) for number in range(classes)])
            distance = -2 * x @ means.T + (means**2).sum(1)
            distance[np.arange(len(true)), true] = np.inf
            given[where] = distance.argmin(1)[where]
        return x, given, given != true

    natural = kept(f"{name}-natural", lambda: labelled("uniform", 0.0))
    yield f"{name}-natural", natural
    for share in SHARES:
        for kind in ("uniform", "nearest"):
            key = f"{name}-{kind}-{round(share * 100)}"
            yield key, kept(key, lambda k=kind, p=share: labelled(k, p))
    for slope, share in MADE_UP:
        yield f"{name}-made-up-{slope}-{share}", _made_up(natural, slope, share)


def _made_up(natural: Audited, slope: float, share: float) -> Audited:
    logits = slope * logit(natural.suspicion.clip(1e-6, 1 - 1e-6))
    shifts = np.linspace(-20, 20, 4001)
    shift = shifts[np.argmin([abs(expit(one + logits).mean() - share) for one in shifts])]
    wrong = np.random.default_rng(0).random(len(logits)) < expit(shift + logits)
    return Audited(natural.suspicion, natural.flag, wrong)


def simulated(case: Audited, reviews: range, looked: int) -> pd.DataFrame:
    """A row a review and look: the estimates and whether their intervals hold the truth."""
    population = Population.of(case.suspicion, case.flag)
    everything = np.ones(len(case.flag), dtype=bool)
    hot = case.suspicion > HOT
    rows = []
    for review in reviews:
        drawn = draw_rows(case.suspicion, case.flag, max(LOOKS), review)
        for look in LOOKS if review < looked else AFTER:
            part = drawn[:look]
            decided = Decided(part, case.wrong[part], np.ones(len(part), dtype=bool))
            fit = population.fit(decided)
            totals = population.totals(decided, fit=fit)
            row: dict[str, Any] = {"review": review, "decisions": look}
            for name, chosen, wrong in (
                ("mistakes", everything, totals),
                ("precision", case.flag, totals * population.flagged_bins),
            ):
                found = estimate_of(population.number(decided, chosen, wrong))
                real = case.wrong[chosen].sum()
                row |= {
                    name: found.value,
                    f"{name}_low": found.low,
                    f"{name}_high": found.high,
                    f"{name}_holds": found.low <= real <= found.high,
                    f"{name}_excluded": not found.anytime_low <= real <= found.anytime_high,
                    f"{name}_anytime_width": found.anytime_high - found.anytime_low,
                }
            if look in AFTER:
                row["prototype_width"] = prototype_width(case, look, review)
                if hot.sum() >= FEWEST_HOT:
                    suspicion = recalibration_of(fit)(case.suspicion[hot])
                    row["calibration"] = calibration_error(suspicion, case.wrong[hot])
            rows.append(row)
    return pd.DataFrame(rows)


def calibration_error(probability: np.ndarray, wrong: np.ndarray) -> float:
    """Mean distance of probability from what is real, over bins of equal size."""
    bins = max(1, min(10, len(probability) // FEWEST_HOT))
    order = np.argsort(probability, kind="stable")
    return float(
        sum(
            abs(probability[part].mean() - wrong[part].mean()) * len(part) / len(order)
            for part in np.array_split(order, bins)
        )
    )


def prototype_width(case: Audited, decisions: int, seed: int) -> float:
    """Width of the prototype's 90 % interval of the number of mistakes (difference estimator, Wald)."""
    rest = np.flatnonzero(~case.flag)
    rest = rest[np.argsort(case.suspicion[rest], kind="stable")]
    cuts = (np.array([0.5, 0.8, 0.9, 0.95, 0.98]) * len(rest)).round().astype(int)
    strata = [part for part in np.split(rest, cuts) if len(part)]
    flagged = np.flatnonzero(case.flag)
    expected = [float((case.suspicion[part] * (1 - case.suspicion[part])).mean()) for part in strata]
    wanted = np.array([len(part) for part in strata]) * np.sqrt(np.array(expected) + 0.002)
    left = decisions * (0.5 if len(flagged) else 1.0)
    sizes = [max(2, round(left * share)) for share in wanted / wanted.sum()]
    if len(flagged):
        strata.append(flagged)
        expected.append(float((case.suspicion[flagged] * (1 - case.suspicion[flagged])).mean()))
        sizes.append(decisions // 2)
    rng = np.random.default_rng(seed)
    total = variance = found = right = 0.0
    for part, floor, size in zip(strata, expected, sizes, strict=True):
        drawn = rng.choice(part, min(size, len(part)), replace=False)
        error = case.wrong[drawn] - case.suspicion[drawn]
        spread = max(float(error.var(ddof=1)) if len(drawn) > 1 else 0.0, floor, 0.002)
        total += case.suspicion[part].sum() + len(part) * error.mean()
        variance += len(part) ** 2 * spread / len(drawn) * (1 - len(drawn) / len(part))
        found, right = found + case.wrong[drawn].sum(), right + (~case.wrong[drawn]).sum()
    half = 1.645 * variance**0.5
    return float(min(len(case.flag) - right, total + half) - max(found, total - half))


def summarised(name: str, case: Audited, rows: pd.DataFrame, looked: int) -> list[dict[str, Any]]:
    """The figures of a set after 60 and after 120 decisions."""
    found = []
    flags, hot = int(case.flag.sum()), case.suspicion > HOT
    for decisions in AFTER:
        at = rows[rows["decisions"] == decisions]
        until = rows[(rows["decisions"] <= decisions) & (rows["review"] < looked)].groupby("review")
        row: dict[str, Any] = {
            "set": name,
            "samples": len(case.flag),
            "flags": flags,
            "decisions": decisions,
            "real": int(case.wrong.sum()),
            "stated": [float(at[key].median()) for key in ("mistakes", "mistakes_low", "mistakes_high")],
            "holds": float(at["mistakes_holds"].mean()),
            "width": float((at["mistakes_high"] - at["mistakes_low"]).median() / at["prototype_width"].median()),
            "excluded": float(until["mistakes_excluded"].any().mean()),
            "anytime_width": float(
                at["mistakes_anytime_width"].median() / (at["mistakes_high"] - at["mistakes_low"]).median()
            )
            if (at["mistakes_high"] - at["mistakes_low"]).median()
            else None,
        }
        if flags:
            real = case.wrong[case.flag].mean()
            row |= {
                "precision": float(real),
                "precision_holds": float(at["precision_holds"].mean()),
                "precision_error": float((at["precision"] / flags - real).abs().mean()),
                "precision_excluded": float(until["precision_excluded"].any().mean()),
            }
        if "calibration" in at:
            row["calibration_before"] = calibration_error(case.suspicion[hot], case.wrong[hot])
            row["calibration"] = float(at["calibration"].mean())
        found.append(row)
    return found


def table(results: list[dict[str, Any]]) -> str:
    """Markdown, a row a set and number of decisions."""
    lines = [
        "| set | samples | flags | decisions | real | stated | holds | width | precision | holds | off by | "
        "calibration | ever excluded |",
        "|" + "---|" * 13,
    ]
    for row in results:
        middle, low, high = row["stated"]
        precision = [
            f"{row[key]:.2f}" if key in row else ""
            for key in ("precision", "precision_holds", "precision_error", "precision_excluded")
        ]
        calibration = f"{row['calibration_before']:.2f} → {row['calibration']:.2f}" if "calibration" in row else ""
        excluded = f"{row['excluded']:.2f}" + (f" ({precision[3]})" if precision[3] else "")
        cells = [
            row["set"], row["samples"], row["flags"], row["decisions"], row["real"],
            f"{middle:.0f} ({low:.0f} to {high:.0f})", f"{row['holds']:.2f}", f"{row['width']:.2f}",
            *precision[:3], calibration, excluded,
        ]  # fmt: skip
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure all sets, and write verification.json and verification.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--reviews", type=int, default=400)
    parser.add_argument("--looked", type=int, default=400, help="reviews that look after every ten decisions")
    parser.add_argument("--audits", type=Path, default=Path("verification-audits"), help="folder that keeps audits")
    parser.add_argument("--only", default="", help="sets whose name begins so, comma-separated; others as measured")
    chosen = parser.parse_args()
    data_folder()  # ends here where it is missing
    chosen.audits.mkdir(exist_ok=True)
    kept = HERE / "verification.json"
    results: dict[str, Any] = json.loads(kept.read_text())["results"] if chosen.only and kept.exists() else {}
    for name, case in audits(chosen.audits):
        if name.startswith(tuple(chosen.only.split(","))):
            rows = simulated(case, range(chosen.reviews), chosen.looked)
            results[name] = summarised(name, case, rows, chosen.looked)
            print(table(results[name]).splitlines()[2:], flush=True)
    where = machine()
    made = {"results": results, "reviews": chosen.reviews, "looked": chosen.looked, "machine": where}
    kept.write_text(json.dumps(made, indent=1) + "\n")
    text = table([row for rows in results.values() for row in rows])
    intro = INTRODUCTION.format(reviews=chosen.reviews, looked=chosen.looked)
    (HERE / "verification.md").write_text("\n\n".join([intro, text, described(where)]) + "\n")
    print(text)


if __name__ == "__main__":
    main()
