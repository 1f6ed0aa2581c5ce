"""Audit results for the report's tests: scikit-learn's digits with real images and scores that a simple model gives."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, confusion_matrix, f1_score, precision_score, roc_auc_score
from sklearn.model_selection import cross_val_predict

from audit.config import AuditConfig
from audit.explain.nearest_suspects import nearest_of_suspects
from audit.flags.correction import Correction
from audit.head.fit import Head, train_head
from audit.result import AuditResult
from audit.summary.correction import CorrectionMeasured
from audit.summary.counts import Counts
from audit.summary.detection import InjectedDetection, RankingQuality
from audit.summary.estimates import Estimates
from audit.summary.heads import HeadQuality, Heads, HeadSummary, TriedPenalty
from audit.summary.influence import ClassInfluence, InfluenceSummary
from audit.summary.surroundings import AuditedDataset, BackboneSummary, EmbeddingSummary
from tests.made_summary import made_summary

THRESHOLD = 0.7
CLASSES = [f"digit {number}" for number in range(10)]

HOSTILE_CLASSES = [
    "<script>alert('class')</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><b>bold</b>&amp;",
    "😀 emoji 👩‍🔬",
    "عربي من اليمين",
    "long-" + "x" * 295,
    "it's {{ 7 * 7 }} ${1}",
    "%{x} <a href='javascript:alert(1)'>a</a>",
    "line\nbreak\ttab",
    "",
]


def digits_result(inject: float = 0.1, classes: list[Any] = CLASSES, seed: int = 0) -> AuditResult:
    """An audit of the digits; labels, ids and paths take on the class names that are given."""
    rng = np.random.default_rng(seed)
    digits = load_digits()
    x = np.c_[digits.data / 16, np.ones(len(digits.data))]
    original = digits.target
    n = len(original)
    injected = rng.permutation(n) < round(inject * n)
    given = np.where(injected, (original + rng.integers(1, 10, n)) % 10, original)
    split = rng.choice(["train", "validation", "test"], n, p=[0.8, 0.1, 0.1])
    train = split == "train"

    model = LogisticRegression(max_iter=200, C=0.5)
    out_of_sample = cross_val_predict(model, x, given, cv=4, method="predict_proba")
    loo = out_of_sample[np.arange(n), given]
    others = out_of_sample.copy()
    others[np.arange(n), given] = 0
    suggested = others.argmax(axis=1)
    best_other = others.max(axis=1)
    # Sharpened, because a regularised head is less sure of itself than its accuracy allows.
    suspicion = 1 / (1 + np.exp(1.0 - 2.2 * np.log(best_other / loo)))
    model.fit(x[train], given[train])
    probabilities = model.predict_proba(x)
    gradients = _gradients(probabilities, given, x)
    influence_of, self_influence = _influences(gradients, probabilities, x, train)
    influence = influence_of(gradients[(split == "validation") & ~injected].mean(axis=0))
    flag = suspicion >= THRESHOLD

    names = np.array(classes, dtype=object)
    ids = np.array([f"{number:024x}" for number in range(n)], dtype=object)
    scores = pd.DataFrame(
        {
            "filepath": [f"/data/digits/{names[original[i]]}/{i:04d}.png" for i in range(n)],
            "split": split,
            "label": names[given],
            "influence": influence,
            "self_influence": self_influence,
            "loo_probability": loo,
            "suspicion": suspicion,
            "flag": flag,
            "suggested_label": names[suggested],
            "suggested_probability": best_other,
            "other_label": names[suggested],
            "other_probability": best_other,
        },
        index=pd.Index(ids, name="id"),
    )
    if inject:
        scores["injected"] = injected
        scores["original_label"] = names[original]

    predicted = names[probabilities.argmax(axis=1)]
    explanations = pd.concat(
        [
            _explanations(targets, gradients, influence_of, train, ids).assign(reason=reason)
            for reason, targets in (
                ("validation", np.flatnonzero((split == "validation") & flag)[:6]),
                ("flagged", np.flatnonzero(flag)[np.argsort(-suspicion[flag], kind="stable")[:50]]),
            )
        ],
        ignore_index=True,
    )
    of_target = pd.Series(np.arange(n), index=ids)[explanations["target"]].to_numpy()
    explanations = explanations.assign(label=names[given][of_target], predicted=predicted[of_target])
    heads = {"given": _head(x, original, original, split, model)}
    if inject:
        heads["corrupted"] = _head(x, given, original, split, model)
    counts = Counts(
        samples=n,
        train=int((split == "train").sum()),
        validation=int((split == "validation").sum()),
        test=int((split == "test").sum()),
        classes=len(classes),
        flagged=int(flag.sum()),
        without_label=3,
        unreadable=1,
        rare_class=0,
        injected=int(injected.sum()),
    )
    summary = made_summary(
        created="2026-01-02T03:04:05+00:00",
        counts=counts,
        classes=tuple(classes),
        threshold=THRESHOLD,
        threshold_rule="The threshold with the best expected F1 under the suspicion.",
        estimates=Estimates(
            mistakes=float(suspicion.sum()),
            mistakes_low=float(suspicion.sum() * 0.9),
            mistakes_high=float(suspicion.sum() * 1.1),
            told=True,
            precision=float(suspicion[flag].mean()),
            precision_low=float(suspicion[flag].mean() * 0.7),
            precision_high=1.0,
            recall=float(suspicion[flag].sum() / suspicion.sum()),
            models=(),
            basis="The sum of the suspicions, taken as calibrated probabilities from leave-one-out predictions.",
            cautions=("Only 12 known mislabels of a kind could be added.",),
        ),
        detection=_detection(scores, injected) if inject else None,
        correction=_correction(x[:, :-1], given, suggested, suspicion, flag, split, original if inject else None),
        influence_by_class=_influence_by_class(scores, names, injected if inject else None),
        heads=Heads(given=heads["given"][0], corrupted=heads["corrupted"][0] if inject else None),
        influence=InfluenceSummary(
            engine="exact",
            scope="head",
            method="cholesky",
            residual=3.1e-12,
            parameters=650,
            damping=0.0,
            validation_samples=counts.validation,
            validation_labels="believed",
        ),
        backbone=BackboneSummary(
            name="resnet18",
            weights="bundled",
            key="0" * 32,
            image_size=64,
            features=512,
            device="cpu",
            precision="float32",
        ),
        embedding=EmbeddingSummary(computed=n, cached=0),
        notes=("ImageNet weights could not be had, so the bundled ResNet-18 was used.",),
        config=AuditConfig(inject=inject),
        versions={"influence-audit": "0.1.0", "torch": "2.11.0", "python": "3.11.9"},
        timings={"embedding": 21.4, "head": 1.9, "influence": 0.6},
        source=AuditedDataset(
            dataset="influence-audit-demo",
            slug="influence-audit-demo",
            label_field="ground_truth",
            audit_key="audit",
            source="digits",
            options={"dataset": "influence-audit-demo"},
        ),
    )
    return AuditResult(
        scores=scores,
        summary=summary,
        curves=pd.concat([curve.assign(head=name) for name, (_, curve) in heads.items()], ignore_index=True),
        explanations=explanations,
        skipped=pd.DataFrame(
            {
                "id": ["bad-1", "<script>bad</script>"],
                "filepath": ["/data/digits/broken.png", None],
                "reason": ["the image cannot be decoded", "no label"],
            }
        ),
        nearest=(nearest := nearest_of_suspects(torch.from_numpy(x), given, suggested, rows_of(scores), list(ids))),
        thumbnails=_thumbnails(digits.images, scores, pd.concat([explanations, nearest])),
    )


def many_classes_result(classes: int = 200, samples_a_class: int = 12, seed: int = 0) -> AuditResult:
    """A result with many classes, integer labels and 1000 flagged samples, every one with thumbnail and neighbours."""
    rng = np.random.default_rng(seed)
    result = digits_result(inject=0.1)
    n = classes * samples_a_class
    label = np.repeat(np.arange(classes), samples_a_class)
    suggested = (label + rng.integers(1, classes, n)) % classes
    flag = rng.permutation(n) < min(1000, n)
    injected = flag & (rng.random(n) < 0.8)
    scores = pd.DataFrame(
        {
            "filepath": [None] * n,
            "split": "train",
            "label": label,
            "influence": np.where(flag, -1, 0.2) * rng.gamma(1.5, 0.01, n),
            "self_influence": rng.gamma(1.0, 0.2, n),
            "loo_probability": np.where(flag, 0.1, 0.9) * rng.random(n),
            "suspicion": np.where(flag, 0.5 + 0.5 * rng.random(n), 0.5 * rng.random(n)),
            "flag": flag,
            "suggested_label": suggested,
            "suggested_probability": rng.random(n),
            "other_label": suggested,
            "other_probability": rng.random(n),
            "injected": injected,
            "original_label": np.where(injected, suggested, label),
        },
        index=pd.Index([f"sample-{number}" for number in range(n)], name="id"),
    )
    names = np.arange(classes).astype(object)
    confused = rng.random((classes, classes)) < 0.01
    confusion = pairs_of((np.diag(np.full(classes, 9)) + confused).astype(int))
    summary = result.summary
    heads = {
        name: replace(head, test=replace(head.test, confusion=confusion))
        for name, head in summary.heads.by_name.items()
    }
    result.summary = replace(
        summary,
        classes=tuple(range(classes)),
        detection=_detection(scores, injected),
        influence_by_class=_influence_by_class(scores, names, injected),
        heads=Heads(**heads),
        counts=replace(
            summary.counts,
            samples=n,
            train=n,
            validation=0,
            test=0,
            classes=classes,
            flagged=int(flag.sum()),
            injected=int(injected.sum()),
        ),
    )
    noise = [Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).resize((96, 96)) for _ in range(40)]
    pictures = [_webp(image) for image in noise]
    small = [_webp(image.resize((48, 48))) for image in noise]
    suspects = scores.sort_values("suspicion", ascending=False).index[:1400]
    neighbours = rng.choice(scores.index.to_numpy(), (1000, 2, 3))
    beside = np.setdiff1d(neighbours, suspects)
    images = [
        each[number % len(each)] for each, ids in ((pictures, suspects), (small, beside)) for number in range(len(ids))
    ]
    result.thumbnails = pd.DataFrame({"image": images}, index=pd.Index([*suspects, *beside], name="id"))
    result.scores = scores
    result.explanations = pd.DataFrame(
        [
            (target, "flagged", kind, rank, neighbour, 0.1 / rank, "0", "1")
            for target, kinds in zip(suspects, neighbours, strict=False)
            for kind, strongest in zip(("helpful", "harmful"), kinds, strict=True)
            for rank, neighbour in enumerate(strongest, 1)
        ],
        columns=result.explanations.columns[[0, 5, 1, 2, 3, 4, 6, 7]],
    )
    result.nearest = nearest_of_suspects(
        torch.from_numpy(rng.normal(size=(n, 8))), label, suggested, rows_of(scores), list(scores.index)
    )
    return result


def rows_of(scores: pd.DataFrame) -> np.ndarray:
    """Positions of the samples, the most suspicious first."""
    return np.argsort(-scores["suspicion"].to_numpy(), kind="stable")


def _gradients(probabilities: np.ndarray, labels: np.ndarray, x: np.ndarray) -> np.ndarray:
    residual = probabilities - np.eye(probabilities.shape[1])[labels]
    return np.einsum("nc,nd->ncd", residual, x).reshape(len(x), -1)


def _influences(
    gradients: np.ndarray, probabilities: np.ndarray, x: np.ndarray, train: np.ndarray
) -> tuple[Any, np.ndarray]:
    p, inputs = probabilities[train], x[train]
    curvature = np.einsum("nc,ck->nck", p, np.eye(p.shape[1])) - np.einsum("nc,nk->nck", p, p)
    # One product of matrices for each pair of classes is several times faster than one einsum.
    classes = range(p.shape[1])
    blocks = [[inputs.T @ (curvature[:, c, k, None] * inputs) for k in classes] for c in classes]
    hessian = np.block(blocks) / len(inputs) + 0.002 * np.eye(gradients.shape[1])
    solved = np.linalg.solve(hessian, gradients.T)
    return lambda target: target @ solved, np.einsum("nd,dn->n", gradients, solved)


def _explanations(
    targets: np.ndarray, gradients: np.ndarray, influence_of: Any, train: np.ndarray, ids: np.ndarray
) -> pd.DataFrame:
    rows = []
    for target in targets:
        pairwise = np.where(train, influence_of(gradients[target]), np.nan)
        order = np.argsort(pairwise)[: train.sum()]
        for kind, chosen in (("helpful", order[::-1][:5]), ("harmful", order[:5])):
            rows += [(ids[target], kind, rank, ids[i], float(pairwise[i])) for rank, i in enumerate(chosen, start=1)]
    return pd.DataFrame(rows, columns=["target", "kind", "rank", "neighbour", "influence"])


def _correction(
    x: np.ndarray,
    given: np.ndarray,
    others: np.ndarray,
    suspicion: np.ndarray,
    flag: np.ndarray,
    split: np.ndarray,
    original: np.ndarray | None,
) -> CorrectionMeasured | None:
    values = torch.from_numpy(x)

    def train(labels: np.ndarray, rows: np.ndarray, l2: float | None) -> Head:
        parts = []
        for part in ("train", "validation"):
            chosen = rows[split[rows] == part]
            parts += [values[chosen], torch.from_numpy(labels[chosen])]
        return train_head(*parts, classes=10, l2=l2 or 0.01)

    before = train(given, np.flatnonzero(split != "test"), None)
    return Correction(
        given,
        others,
        suspicion,
        split,
        before,
        train,
        lambda head, rows: head.probabilities(values[rows]).numpy(),
        original,
    ).measure(flag)


def _head(
    x: np.ndarray, given: np.ndarray, original: np.ndarray, split: np.ndarray, model: LogisticRegression
) -> tuple[HeadSummary, pd.DataFrame]:
    train, validation, test = (split == part for part in ("train", "validation", "test"))
    model.fit(x[train], given[train])
    predicted = model.predict(x)
    losses = {
        part: float(-np.log(model.predict_proba(x[rows])[np.arange(rows.sum()), labels[rows]]).mean())
        for part, rows, labels in (
            ("train", train, given),
            ("validation", validation, given),
            ("test", test, original),
        )
    }
    steps = np.arange(1, 13)
    curve = pd.DataFrame(
        {
            "step": steps,
            "train_loss": losses["train"] + 2.0 * np.exp(-steps / 1.6),
            "validation_loss": losses["validation"] + 1.8 * np.exp(-steps / 1.7),
        }
    )
    train_quality, validation_quality, test_quality = (
        HeadQuality(
            samples=int(rows.sum()),
            accuracy=float((predicted[rows] == labels[rows]).mean()),
            f1=float(f1_score(labels[rows], predicted[rows], average="weighted")),
            loss=losses[part],
            confusion=pairs_of(confusion_matrix(labels[rows], predicted[rows], labels=range(10))),
        )
        for part, rows, labels in (("train", train, given), ("validation", validation, given), ("test", test, original))
    )
    head = HeadSummary(
        trainer="newton",
        l2=0.01,
        l2_path=(TriedPenalty(l2=0.01, validation_loss=losses["validation"]),),
        gradient_norm=2.2e-9,
        converged=True,
        steps=12,
        train=train_quality,
        validation=validation_quality,
        test=test_quality,
    )
    return head, curve


def pairs_of(confusion: np.ndarray) -> tuple[tuple[int, int, int], ...]:
    """Of a confusion matrix, as results hold it: label, predicted and samples of each pair that occurs."""
    return tuple((int(row), int(column), int(confusion[row, column])) for row, column in np.argwhere(confusion))


def _detection(scores: pd.DataFrame, injected: np.ndarray) -> InjectedDetection:
    flag = scores["flag"].to_numpy(dtype=bool)
    ranked = injected[np.argsort(-scores["suspicion"].to_numpy(), kind="stable")]
    signs = {"suspicion": 1, "loo_probability": -1, "self_influence": 1, "influence": -1}
    by_score = {
        score: RankingQuality(
            average_precision=float(average_precision_score(injected, sign * scores[score])),
            auroc=float(roc_auc_score(injected, sign * scores[score])),
        )
        for score, sign in signs.items()
    }
    return InjectedDetection(
        strategy="uniform",
        into="all",
        injected=int(injected.sum()),
        flagged=int(flag.sum()),
        true_positive=int((flag & injected).sum()),
        false_positive=int((flag & ~injected).sum()),
        false_negative=int((~flag & injected).sum()),
        true_negative=int((~flag & ~injected).sum()),
        precision=float(precision_score(injected, flag)),
        recall=float(flag[injected].mean()),
        f1=float(f1_score(injected, flag)),
        average_precision=by_score["suspicion"].average_precision,
        auroc=by_score["suspicion"].auroc,
        precision_at_k={str(k): float(ranked[:k].mean()) for k in (10, 50, 100)},
        by_score=by_score,
    )


def _influence_by_class(
    scores: pd.DataFrame, names: np.ndarray, injected: np.ndarray | None
) -> tuple[ClassInfluence, ...]:
    corrupted = np.zeros(len(scores), dtype=bool) if injected is None else injected
    rows = []
    for label in [*names, None]:
        inside = np.ones(len(scores), dtype=bool) if label is None else (scores["label"] == label).to_numpy()
        clean_values = scores["influence"][inside & ~corrupted]
        corrupted_values = scores["influence"][inside & corrupted]
        rows.append(
            ClassInfluence(
                class_=label if label is None or isinstance(label, str) else int(label),
                clean=float(clean_values.mean()) if len(clean_values) else None,
                corrupted=float(corrupted_values.mean()) if len(corrupted_values) else None,
                clean_count=len(clean_values),
                corrupted_count=len(corrupted_values),
            )
        )
    return tuple(rows)


def _thumbnails(images: np.ndarray, scores: pd.DataFrame, explanations: pd.DataFrame) -> pd.DataFrame:
    shown = scores["flag"].to_numpy(dtype=bool).copy()
    if "injected" in scores:
        shown |= scores["injected"].to_numpy(dtype=bool)
    for _, group in scores.groupby("label"):
        ranked = group["influence"].sort_values().index
        shown |= scores.index.isin([*ranked[:12], *ranked[-12:]])
    shown |= scores.index.isin([*explanations["target"], *explanations["neighbour"]])
    # One thumbnail is left out, so that its placeholder shows.
    shown[np.flatnonzero(scores["flag"])[0]] = False
    numbers = np.flatnonzero(shown)
    return pd.DataFrame(
        {
            "image": [
                _webp(Image.fromarray((255 - images[i] * 15.9).astype(np.uint8)).resize((96, 96))) for i in numbers
            ]
        },
        index=pd.Index(scores.index[numbers], name="id"),
    )


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=70, method=0)
    return buffer.getvalue()
