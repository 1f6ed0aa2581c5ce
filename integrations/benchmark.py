"""The audit against its peers, on the same embeddings, labels and folds.

Every peer that needs out-of-sample predictions gets them as its documentation asks, from five-fold cross-validation of
the same L2-regularised softmax head, whose L2 is chosen as carefully as ours (by held-out loss on the audited labels).
Their folds share one L2 and are stopped as early as our own fits of the noise model, which is the cheapest way. What
folds cost that are trained as far as the audit's head is measured beside it, and what it costs to cross-validate the
audit's head as it is: each fold's L2 is chosen then, as `cross_val_predict` does with an estimator that chooses one.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audit.data.injection import inject_mislabels
from audit.data.samples import Samples, check_classes
from audit.data.split import stratified_split
from audit.errors import InputError
from audit.flags.measures import detection_quality
from audit.flags.threshold import Mistakes, choose_flags, suggest_labels
from audit.head.factors import SecondMoment
from audit.head.fit import choose_l2, cross_entropy, fit_softmax, one_hot, probabilities, train_head
from audit.head.hessian import HeadHessian
from audit.head.stable import StableSolver
from audit.head.standardise import Standardiser
from audit.images.backbone import Backbone
from audit.images.embedding import embed
from audit.influence.choice import make_engine
from audit.influence.engine import Labelled
from audit.noise_model.controls import spike_in
from audit.noise_model.count import count_by_controls
from audit.noise_model.model import NoiseModel
from audit.noise_model.settings import NoiseSettings
from audit.noise_model.votes import NeighbourVotes
from audit.progress import ProgressCallback, Step, silent
from integrations.sources import ImportedSource, Source, resolve_source

PEER_FOLDS = 5
OURS = "influence-audit"
INFLUENCE_NAME = "averaged influence, {} validation labels"
NO_PEERS = (OURS, INFLUENCE_NAME.format("true"), INFLUENCE_NAME.format("believed"))
"""Ours, and what needs the true labels."""


@dataclass(frozen=True)
class Case:
    """One labelling to audit.

    Attributes:
        name: e.g. 'digits, uniform 10 %'.
        seed: of the noise, the folds and the split.
        x: embeddings (n, d).
        given: the labels that are audited (n,), class numbers.
        true: the labels that count as right (n,).
        classes: C.
    """

    name: str
    seed: int
    x: np.ndarray
    given: np.ndarray
    true: np.ndarray
    classes: int


@dataclass(frozen=True)
class Measurement:
    """How one method did on one case; `None` where a method does not say.

    `suggestion_right` is the share of right suggestions for the mistakes that the method itself flagged,
    `suggestion_right_for_ours` for those that the audit flagged, the same samples for all methods.
    `seconds_trained_folds` is what a method on out-of-sample predictions takes with folds that are trained as far as
    the audit's head, `seconds_own_l2_folds` with folds that `train_head` trains and chooses the L2 of.
    """

    case: str
    seed: int
    samples: int
    wrong: int
    method: str
    average_precision: float
    auroc: float
    precision_at_wrong: float
    flagged: int | None
    precision: float | None
    recall: float | None
    f1: float | None
    estimated_precision: float | None
    estimated_wrong: float | None
    estimated_low: float | None
    estimated_high: float | None
    suggestion_right: float | None
    suggestion_right_for_ours: float | None
    seconds: float
    seconds_trained_folds: float | None = None
    seconds_own_l2_folds: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What a method says: scores (n,), larger = more suspicious; flags, estimates and suggestions where it has them."""

    scores: np.ndarray
    flags: np.ndarray | None = None
    estimated_precision: float | None = None
    estimated_wrong: Mistakes | None = None
    suggested: np.ndarray | None = None


def labelled_samples(source: Source) -> Samples:
    """The images of a source that have a label; nothing is imported into FiftyOne."""
    if isinstance(source, ImportedSource):
        kept = [image for image in source.images if image.image is not None]
        samples = Samples(
            [image.source_id for image in kept], [image.image or b"" for image in kept], [image.label for image in kept]
        )
    else:
        from integrations.fiftyone import read_samples

        samples = read_samples(source.open(), source.label_field)
    return samples.take([row for row, label in enumerate(samples.labels) if label is not None])


def source_cases(
    text: str,
    backbone: Backbone,
    noises: Sequence[tuple[str, float]],
    label_columns: Sequence[str],
    seeds: Sequence[int],
    imbalance: float = 1.0,
    progress: ProgressCallback = silent,
) -> list[Case]:
    """The cases of one source: each noise injected into its labels, and each other label column against them.

    Args:
        text: the source, as `resolve_source` takes it.
        backbone: the frozen network.
        noises: kinds ('uniform', 'class-pair') and fractions.
        label_columns: columns of labels that somebody gave, of a Hugging Face or parquet source.
        seeds: of noise, folds and splits.
        imbalance: how many times as many samples the first class keeps as the last, the others between in equal
            ratios; 1 for all samples. Only for injected noise.
        progress: told about embeddings.

    Raises:
        InputError: if there is no such source or column, or the labels cannot be audited.
    """
    samples = labelled_samples(resolve_source(text))
    embedded = embed(samples, backbone, progress=progress)
    x, ids = embedded.values, [samples.ids[row] for row in embedded.rows]
    true = np.array([samples.labels[row] for row in embedded.rows])
    check_classes(true)
    name = Path(text).name
    cases = list(noisy_cases(name, x, true, noises, seeds, imbalance))
    for column in label_columns:
        other = labelled_samples(resolve_source(text, label_column=column))
        given = dict(zip(other.ids, other.labels, strict=True))
        rows = [row for row, sample_id in enumerate(ids) if sample_id in given]
        labels = np.array([given[ids[row]] for row in rows])
        cases += relabelled_cases(f"{name}, {column}", x[rows], true[rows], labels, seeds)
    return cases


def noisy_cases(
    name: str,
    x: np.ndarray,
    labels: np.ndarray,
    noises: Sequence[tuple[str, float]],
    seeds: Sequence[int],
    imbalance: float = 1.0,
) -> Iterator[Case]:
    """A case for every kind of noise and seed, on labels that count as right (`source_cases` explains the others)."""
    classes, true = np.unique(labels, return_inverse=True)
    shown = name if imbalance == 1 else f"{name}, 1 : {imbalance:g}"
    for kind, fraction in noises:
        for seed in seeds:
            kept = _imbalanced(true, imbalance, seed)
            given = inject_mislabels(true[kept], len(classes), fraction, kind, seed, embeddings=x[kept])
            yield Case(f"{shown}, {kind} {fraction:.0%}", seed, x[kept], given, true[kept], len(classes))


def _imbalanced(true: np.ndarray, imbalance: float, seed: int) -> np.ndarray:
    """Positions of samples of which each class keeps less than the one before."""
    rng = np.random.default_rng(seed)
    sizes = np.bincount(true)
    shares = imbalance ** -np.linspace(0, 1, len(sizes))
    kept = [
        rng.permutation(np.flatnonzero(true == number))[: max(3, round(share * size))]
        for number, (share, size) in enumerate(zip(shares, sizes, strict=True))
    ]
    return np.sort(np.concatenate(kept))


def relabelled_cases(
    name: str, x: np.ndarray, true: np.ndarray, given: np.ndarray, seeds: Sequence[int]
) -> Iterator[Case]:
    """Labels that somebody really gave, against the ones that count as right; seeds move folds and splits only.

    Raises:
        InputError: if the two do not use the same class names, or agree everywhere.
    """
    classes = np.unique(true)
    if not set(given) <= set(classes):
        raise InputError(f"{name}: the given labels have classes that the true ones lack; compare like with like")
    if (true == given).all():
        raise InputError(f"{name}: given and true labels are the same, so there is nothing to find")
    for seed in seeds:
        yield Case(name, seed, x, np.searchsorted(classes, given), np.searchsorted(classes, true), len(classes))


def run_cases(cases: Sequence[Case], progress: ProgressCallback = silent) -> list[Measurement]:
    """Measure every method on every case.

    Raises:
        InputError: if a peer is not installed.
    """
    if find_spec("cleanlab") is None:
        raise InputError(
            "cleanlab is not installed; install it beside this package: pip install 'influence-audit[benchmark]'"
        )
    measurements = []
    for number, case in enumerate(cases):
        progress(Step("benchmark", number, len(cases), "cases"))
        flagged = np.zeros(len(case.given), dtype=bool)
        for method, verdict, seconds in _verdicts(case):
            if method == OURS and verdict.flags is not None:
                flagged = verdict.flags
            measurements.append(_measure(case, method, verdict, flagged, *seconds))
    progress(Step("benchmark", len(cases), len(cases), "cases"))
    return measurements


def _verdicts(case: Case) -> Iterator[tuple[str, Verdict, tuple[float, ...]]]:
    """Method, verdict, seconds; of methods on folds also the seconds with trained folds, and with each one's own L2."""

    def timed(method: str, judge: Callable[[], Verdict]) -> tuple[str, Verdict, tuple[float, ...]]:
        verdict, seconds = _timed(judge)
        return method, verdict, (seconds,)

    yield timed(OURS, lambda: _ours(case))
    folds, seconds = _timed(lambda: _cross_validation(case))
    _, trained = _timed(lambda: _cross_validation(case, trained=True))
    _, own = _timed(lambda: _cross_validated_head(case))
    for name, judge in _ON_PREDICTIONS.items():
        verdict, more = _timed(lambda judge=judge: judge(case, folds))  # type: ignore[misc]
        yield name, verdict, (seconds + more, trained + more, own + more)
    yield timed("k nearest neighbours", lambda: _neighbours(case))
    yield timed("self-influence", lambda: _self_influence(case))
    for labels in ("given", "true", "believed"):
        yield timed(INFLUENCE_NAME.format(labels), partial(_influence_verdict, case, labels))


def _influence_verdict(case: Case, labels: str) -> Verdict:
    return Verdict(-averaged_influence(case, labels))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    done = work()
    return done, time.perf_counter() - began


def _tensors(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(case.x).double(), torch.from_numpy(case.given)


def _ours(case: Case) -> Verdict:
    """Suspicions, flags, suggestions and what the controls say of the number of mistakes."""
    x, given = _tensors(case)
    model = NoiseModel(x, case.classes, case.seed)
    fitted = model.fit(given)
    diagnosis = fitted.diagnosis
    posterior = diagnosis.posterior.double().numpy()
    suspicion = 1 - posterior[np.arange(len(case.given)), case.given]
    controls = spike_in(model, fitted, given, case.seed)
    mistakes = count_by_controls(controls, diagnosis, given, suspicion).mistakes
    flags = choose_flags(suspicion, mistakes=mistakes)
    precision = flags.estimates["precision"]
    assert not isinstance(precision, str)
    return Verdict(suspicion, flags.flag, precision, mistakes, suggest_labels(posterior, case.given, flags.flag))


def _cross_validation(case: Case, trained: bool = False) -> np.ndarray:
    """Out-of-sample predictions (n, C) of a head with the best L2 by held-out loss.

    Args:
        case: to predict.
        trained: to the tolerance and in the precision of the audit's head, not of its noise model's fits.
    """
    x, given = _tensors(case)
    z = Standardiser.fit(x)(x)
    z = z if trained else z.float()
    targets = one_hot(given, case.classes, z.dtype)
    fold = _folds(case)
    moment = SecondMoment.of(z)
    kept, held = fold != 0, fold == 0
    l2, _ = choose_l2(
        z[kept], targets[kept], lambda weight: cross_entropy(z[held], weight, targets[held]), moment=moment
    )
    tolerance = None if trained else NoiseSettings().head.tolerance
    out = torch.empty_like(targets)
    for number in range(PEER_FOLDS):
        kept, held = fold != number, fold == number
        weight, _ = fit_softmax(z[kept], targets[kept], l2, tolerance=tolerance, moment=moment)
        out[held] = (z[held] @ weight.T).softmax(1)
    return out.double().numpy()


def _cross_validated_head(case: Case) -> np.ndarray:
    """Out-of-sample predictions (n, C) of the audit's head, its L2 chosen in each fold by the held-out loss."""
    x, given = _tensors(case)
    fold = _folds(case)
    out = torch.empty(len(x), case.classes, dtype=x.dtype)
    for number in range(PEER_FOLDS):
        kept, held = fold != number, fold == number
        # Near enough to the optimum for predictions, if not for influence.
        head = train_head(x[kept], given[kept], x[held], given[held], case.classes, weight_tolerance=math.inf)
        out[held] = head.probabilities(x[held])
    return out.numpy()


def _folds(case: Case) -> torch.Tensor:
    """(n,) number of the fold that each sample is held out in."""
    return torch.randperm(len(case.x), generator=torch.Generator().manual_seed(case.seed)) % PEER_FOLDS


def _cleanlab(method: str, filter_by: str) -> Callable[[Case, np.ndarray], Verdict]:
    def judge(case: Case, folds: np.ndarray) -> Verdict:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores

        quality = get_label_quality_scores(case.given, folds, method=method)
        flags = find_label_issues(case.given, folds, filter_by=filter_by, n_jobs=1)
        return Verdict(1 - quality, flags, suggested=folds.argmax(1))

    return judge


def _mistakenness(case: Case, folds: np.ndarray) -> Verdict:
    """FiftyOne Brain's own, on a dataset of its own that is deleted afterwards."""
    import fiftyone as fo
    import fiftyone.brain as fob

    names = [str(number) for number in range(case.classes)]
    dataset = fo.Dataset()
    try:
        dataset.add_samples(
            [
                fo.Sample(
                    filepath=f"sample-{row}.png",
                    given=fo.Classification(label=names[case.given[row]]),
                    predicted=fo.Classification(
                        label=names[int(p.argmax())], confidence=float(p.max()), logits=np.log(p.clip(1e-12))
                    ),
                )
                for row, p in enumerate(folds)
            ],
            progress=False,
        )
        fob.compute_mistakenness(dataset, "predicted", label_field="given", use_logits=True, progress=False)
        return Verdict(np.array(dataset.values("mistakenness")), suggested=folds.argmax(1))
    finally:
        dataset.delete()


_ON_PREDICTIONS: dict[str, Callable[[Case, np.ndarray], Verdict]] = {
    "cleanlab self_confidence": _cleanlab("self_confidence", "prune_by_noise_rate"),
    "cleanlab normalized_margin": _cleanlab("normalized_margin", "both"),
    "cleanlab confidence_weighted_entropy": _cleanlab("confidence_weighted_entropy", "confident_learning"),
    "FiftyOne mistakenness": _mistakenness,
}


def _neighbours(case: Case) -> Verdict:
    x, given = _tensors(case)
    votes = NeighbourVotes(x, case.classes)(one_hot(given, case.classes, x.dtype)).numpy()
    return Verdict(1 - votes[np.arange(len(votes)), case.given], suggested=votes.argmax(1))


def split_of(case: Case) -> np.ndarray:
    """The split (n,) of averaged influence: a tenth to validate on, a tenth to test on."""
    return stratified_split(case.given, (0.8, 0.1, 0.1), case.seed)


def averaged_influence(case: Case, held_out_labels: str, on: str = "validation") -> np.ndarray:
    """Influence (n,) on the mean loss of a held-out split, positive = helps.

    Args:
        case: to measure.
        held_out_labels: 'given' (the textbook way, and what pyDVL computes), 'true' (as if they had been checked) or
            'believed' (the audit's way: what it expects of the pictures, without their labels).
        on: the split, 'validation' or 'test'.
    """
    x, given = _tensors(case)
    split = split_of(case)
    train, validation, measured = (
        torch.from_numpy(np.flatnonzero(split == name)) for name in ("train", "validation", on)
    )
    head = train_head(x[train], given[train], x[validation], given[validation], case.classes)
    held_out = one_hot(torch.from_numpy(case.true if held_out_labels == "true" else case.given), case.classes, x.dtype)
    if held_out_labels == "believed":
        held_out = NoiseModel(x, case.classes, case.seed).diagnose(given).prior.to(x.dtype)
    samples = Labelled.of(x, given, case.classes)
    z = head.features(x[train])
    hessian = HeadHessian(z, probabilities(z, head.weight), head.l2)
    engine = make_engine("exact", head, samples, train, StableSolver(hessian))
    return engine.averaged(samples, measured, held_out[measured]).values.numpy()


def _self_influence(case: Case) -> Verdict:
    x, given = _tensors(case)
    return Verdict(NoiseModel(x, case.classes, case.seed).diagnose(given).self_influence.double().numpy())


def _measure(
    case: Case,
    method: str,
    verdict: Verdict,
    flagged_by_us: np.ndarray,
    seconds: float,
    seconds_trained_folds: float | None = None,
    seconds_own_l2_folds: float | None = None,
) -> Measurement:
    wrong = case.given != case.true
    flags = verdict.flags
    quality = detection_quality(
        wrong, np.zeros(len(wrong), dtype=bool) if flags is None else flags, {"suspicion": verdict.scores}
    )
    found = wrong if flags is None else wrong & flags

    def right(among: np.ndarray) -> float | None:
        suggested = verdict.suggested
        return None if suggested is None or not among.any() else float((suggested == case.true)[among].mean())

    return Measurement(
        case=case.name,
        seed=case.seed,
        samples=len(wrong),
        wrong=int(wrong.sum()),
        method=method,
        average_precision=quality["average_precision"],
        auroc=quality["auroc"],
        precision_at_wrong=quality["precision_at_k"][str(int(wrong.sum()))],
        flagged=None if flags is None else int(flags.sum()),
        precision=None if flags is None else quality["precision"],
        recall=None if flags is None else quality["recall"],
        f1=None if flags is None else quality["f1"],
        estimated_precision=verdict.estimated_precision,
        estimated_wrong=None if verdict.estimated_wrong is None else verdict.estimated_wrong.number,
        estimated_low=None if verdict.estimated_wrong is None else verdict.estimated_wrong.low,
        estimated_high=None if verdict.estimated_wrong is None else verdict.estimated_wrong.high,
        suggestion_right=right(found),
        suggestion_right_for_ours=right(wrong & flagged_by_us),
        seconds=seconds,
        seconds_trained_folds=seconds_trained_folds,
        seconds_own_l2_folds=seconds_own_l2_folds,
    )


def save_measurements(measurements: list[Measurement], embeddings: str, folder: Path) -> Path:
    """Write measurements.json and table.md, with the machine and versions that they were made on, and figure.html.

    Args:
        measurements: of all methods.
        embeddings: what made them, in words.
        folder: made where it is not there.
    """
    from reports.peers import peers_figure

    folder.mkdir(parents=True, exist_ok=True)
    origin = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "backbone": embeddings,
        "versions": {name: version(name) for name in ("influence-audit", "cleanlab", "fiftyone-brain", "torch")},
    }
    records = {"origin": origin, "measurements": [asdict(measurement) for measurement in measurements]}
    (folder / "measurements.json").write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    drawn = peers_figure(mean_by_case(measurements, "average_precision"), mean_by_case(measurements, "seconds"), OURS)
    drawn.write_html(folder / "figure.html", include_plotlyjs=True)
    path = folder / "table.md"
    path.write_text(markdown_table(measurements, origin), encoding="utf-8")
    return path


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
    means = {
        field: mean_by_case(measurements, field)
        for field in (
            *("average_precision", "precision", "recall", "estimated_precision", "estimated_wrong"),
            *("estimated_low", "estimated_high"),
            *("suggestion_right", "suggestion_right_for_ours", "wrong", "seconds", "seconds_trained_folds"),
            "seconds_own_l2_folds",
        )
    }
    methods = list(dict.fromkeys(measured.method for measured in measurements))
    peer = "cleanlab self_confidence"

    def row(*cells: str) -> str:
        return "| " + " | ".join(cells) + " |"

    def number(field: str, case: str, method: str, digits: int = 3) -> str:
        value = means[field][case][method]
        return "–" if value is None else f"{value:.{digits}f}"

    seeds = sorted({measured.seed for measured in measurements})
    versions = ", ".join(f"{name} {number}" for name, number in origin["versions"].items())
    lines = [
        f"{origin['date']}, {origin['machine']}, {origin['backbone']}, seeds {', '.join(map(str, seeds))}; {versions}.",
        "",
        "Average precision of the ranking, mean over seeds:",
        "",
        row("labels", *methods),
        row("---", *("---" for _ in methods)),
    ]
    for case, by_method in means["average_precision"].items():
        best = max(value for value in by_method.values() if value is not None)
        cells = [number("average_precision", case, method) for method in methods]
        marked = [f"**{c}**" if by_method[m] == best else c for c, m in zip(cells, methods, strict=True)]
        lines.append(row(case, *marked))
    titles = (
        *("labels", "wrong", "estimated wrong", "precision / recall", "estimated precision", "seconds"),
        *("cleanlab: precision / recall", "seconds", "with trained folds", "with each fold's own L2"),
        *("suggestions right", "cleanlab's", "kNN's"),
    )
    lines += [
        "",
        f"Flags, ours and those of {peer} with cleanlab's default filter; suggestions for mistakes that we flagged:",
        "",
    ]
    lines += [row(*titles), row(*("---" for _ in titles))]
    for case in means["average_precision"]:
        lines.append(
            row(
                case,
                number("wrong", case, OURS, 0),
                f"{number('estimated_wrong', case, OURS, 0)} ({number('estimated_low', case, OURS, 0)} to "
                f"{number('estimated_high', case, OURS, 0)})",
                f"{number('precision', case, OURS)} / {number('recall', case, OURS)}",
                number("estimated_precision", case, OURS),
                number("seconds", case, OURS, 1),
                f"{number('precision', case, peer)} / {number('recall', case, peer)}",
                number("seconds", case, peer, 1),
                number("seconds_trained_folds", case, peer, 1),
                number("seconds_own_l2_folds", case, peer, 1),
                *(number("suggestion_right_for_ours", case, method) for method in (OURS, peer, "k nearest neighbours")),
            )
        )
    return "\n".join(lines) + "\n"
