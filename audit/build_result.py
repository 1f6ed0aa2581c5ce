"""Make an audit's result (`AuditResult`): its tables and its summary."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial

import numpy as np
import pandas as pd

from audit.annotators.consensus import Consensus
from audit.compute.scratch import as_array
from audit.config import SPLITS, AuditConfig
from audit.data.exact_copies import Copies
from audit.explain.influential import no_explanations
from audit.findings.contract import Audited
from audit.findings.look import audited_before, found_always, head_is_right
from audit.findings.table import summarise
from audit.flags.detectors import Evidence, of_classes, scores_of, suspicion_of
from audit.flags.measures import detection_quality, head_quality, influence_by_class, likeliest_confusions
from audit.flags.threshold import Flags, likeliest_others, suggest_labels
from audit.head.fit import Head
from audit.head.hessian import HeadHessian
from audit.images.pictures import Pictures
from audit.influence.engine import Influence
from audit.inputs import Material
from audit.noise_model.controls import KINDS, Controls
from audit.noise_model.count import Count, cautions, describe_controls
from audit.noise_model.diagnosis_of_copies import describe_copies
from audit.noise_model.model import Diagnosis
from audit.progress import Stages
from audit.recorded import machine_with, versions_here
from audit.result import AuditResult
from audit.stages import predicted
from audit.summary.annotators import AnnotatorSummary
from audit.summary.correction import CorrectionMeasured
from audit.summary.counts import Counts, Finding
from audit.summary.detection import InjectedDetection
from audit.summary.estimates import Acceptance
from audit.summary.heads import Heads, HeadSummary, TriedPenalty
from audit.summary.influence import InfluenceSummary, LeaveOneOutSummary
from audit.summary.noise_model import GivenPredictionsSummary, LookAlikesSummary, NoiseModelSummary, RoundSummary
from audit.summary.parts import ClassLabel
from audit.summary.summary import Summary
from audit.summary.surroundings import BackboneSummary, EmbeddingSummary


@dataclass(frozen=True)
class Scored:
    """The outputs of all stages up to the flags.

    Attributes:
        given: (n,) class numbers before injection.
        labels: (n,) audited class numbers, including injected mislabels.
        copies: which samples have the same content.
        heads: 'given', trained on `given`, and with injection also 'corrupted', trained on `labels`; none if there are
            no embeddings, in which case hessian and influence are None.
        diagnosis: the noise model's output for every label.
        controls: copies of the labels with known mislabels.
        hessian: the Hessian of the audited head.
        influence: the influence of every sample on the validation loss.
        evidence: the arrays that the detectors read.
        counted: the estimated number of wrong labels.
        flags: threshold and flags.
        acceptance: what accepting suggestions unseen comes to; None where nothing is known of it.
    """

    given: np.ndarray
    labels: np.ndarray
    copies: Copies
    heads: dict[str, Head]
    diagnosis: Diagnosis
    controls: Controls
    hessian: HeadHessian | None
    influence: Influence | None
    evidence: Evidence
    counted: Count
    flags: Flags
    acceptance: Acceptance | None

    @property
    def audited(self) -> str:
        """The name of the audited head."""
        return "corrupted" if "corrupted" in self.heads else "given"

    @cached_property
    def others(self) -> np.ndarray:
        """The likeliest class (n,) other than the audited label."""
        return likeliest_others(self.evidence.posterior, self.labels)


def result_of(material: Material, scored: Scored, config: AuditConfig, stages: Stages) -> AuditResult:
    """The result with scores and flags. Later stages add explanations, correction and thumbnails."""
    findings = found_always(audited_before(material))
    scores = scores_table(material, scored, config)
    with stages.stage("evaluation"):
        summary = _summary(material, scored, config, stages, scores, summarise(findings))
    arrays = {name: head.arrays() for name, head in scored.heads.items()}
    if scored.influence is not None:
        arrays[scored.audited].update(scored.influence.arrays())
    for head in arrays.values() if material.exponent else ():  # for embeddings that the caller provided
        head.update({name: np.ldexp(head[name].astype(np.float64), material.exponent) for name in ("mean", "scale")})
    return AuditResult(
        scores=scores,
        summary=summary,
        curves=curves_table(scored.heads),
        explanations=no_explanations(),
        skipped=material.left_out.table(),
        findings=findings,
        controls=controls_table(scored.controls, material, scored.labels, scored.flags.flag),
        thumbnails=pd.DataFrame({"image": pd.Series([], dtype=object)}, index=pd.Index([], name="id")),
        heads=arrays,
    )


def audited_after(material: Material, scored: Scored, seed: int) -> Audited:
    """What checks may look at once labels were judged."""
    pictures, evidence, diagnosis = material.pictures, scored.evidence, scored.diagnosis
    head, notes = scored.heads.get(scored.audited), None if pictures is None else pictures.notes
    return replace(
        audited_before(material),
        prior=as_array(diagnosis.prior),
        suspicion=suspicion_of(evidence),
        self_influence=evidence.self_influence,
        loo_probability=evidence.of_given(evidence.loo_probabilities),
        traits=None if pictures is None or notes is None else notes.of(pictures.samples, material.keys),
        is_right=None if head is None else head_is_right(partial(predicted, head, material.x), scored.labels),
        seed=seed,
    )


def _summary(
    material: Material,
    scored: Scored,
    config: AuditConfig,
    stages: Stages,
    scores: pd.DataFrame,
    findings: tuple[Finding, ...],
) -> Summary:
    """`AuditResult.summary` before the optional stages, which `with_optional_stages` adds."""
    flags, labels = scored.flags, scored.labels
    classes = tuple(material.classes.tolist())
    basis = "embeddings" if scored.heads else "predictions"
    reasons = cautions(np.bincount(labels), scored.controls, scored.counted, basis)
    return Summary(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        counts=_counts(material, flags.flag, labels != scored.given),
        copies=describe_copies(scored.copies, labels, material.split),
        findings=findings,
        classes=classes,
        threshold=flags.threshold,
        threshold_rule=flags.rule,
        estimates=replace(flags.estimates, cautions=tuple(reasons)),
        controls=describe_controls(scored.controls, scored.counted, flags.flag, flags.threshold),
        detection=_detection(scored, config),
        correction=None,
        influence_by_class=influence_by_class(scores, classes),
        heads=_describe_heads(scored, material),
        influence=_describe_influence(material, scored, config),
        leave_one_out=LeaveOneOutSummary(method=scored.diagnosis.method),
        noise_model=_describe_noise_model(scored.diagnosis, classes),
        predictions=_describe_predictions(material, scored, config),
        backbone=_describe_backbone(material.pictures),
        embedding=_describe_embedding(material.pictures),
        config=config,
        versions=versions_here(),
        machine=machine_with(material.device),
        notes=tuple(stages.notes),
        failed_stages=tuple(stages.failed),
        timings=dict(stages.seconds),
        acceptance=scored.acceptance,
        annotators=() if material.consensus is None else _describe_annotators(material.consensus, classes),
    )


def with_optional_stages(summary: Summary, correction: CorrectionMeasured | None, stages: Stages) -> Summary:
    """The summary of an audit after its optional stages.

    Args:
        summary: the summary before the optional stages.
        correction: the measurements of the stage 'correction'; None if it failed or had nothing to correct.
        stages: the notes, times and failures of all stages.
    """
    return replace(
        summary,
        correction=correction,
        notes=tuple(stages.notes),
        failed_stages=tuple(stages.failed),
        timings=dict(stages.seconds),
    )


def _describe_noise_model(diagnosis: Diagnosis, classes: tuple[ClassLabel, ...]) -> NoiseModelSummary:
    return NoiseModelSummary(
        l2=diagnosis.l2,
        rounds=tuple(RoundSummary(**made) for made in diagnosis.rounds),
        trusted_weight=diagnosis.trusted_weight,
        look_alikes=LookAlikesSummary(**asdict(diagnosis.look_alikes)),
        confusions=likeliest_confusions(diagnosis.transition.cpu().numpy(), classes),
    )


def _describe_annotators(consensus: Consensus, classes: tuple[ClassLabel, ...]) -> tuple[AnnotatorSummary, ...]:
    positions = {label: place for place, label in enumerate(consensus.classes.tolist())}
    table = consensus.annotators[consensus.annotators["num_examples_labeled"] > 0]  # of the audited samples
    return tuple(
        AnnotatorSummary(
            name=name,
            labels=labels,
            quality=quality,
            agreement=agreement,
            worst_class=classes[positions[worst]],
            confusions=likeliest_confusions(consensus.confusion_of(name), classes),
        )
        for name, labels, quality, agreement, worst in zip(
            table.index,
            table["num_examples_labeled"].tolist(),
            table["annotator_quality"].tolist(),
            table["agreement_with_consensus"].tolist(),
            table["worst_class"].tolist(),
            strict=True,
        )
    )


def _detection(scored: Scored, config: AuditConfig) -> InjectedDetection | None:
    """How well the audit finds the injected mislabels; None if there are none."""
    if not config.inject:
        return None
    quality = detection_quality(scored.labels != scored.given, scored.flags.flag, scores_of(scored.evidence))
    return InjectedDetection(**vars(quality), strategy=config.inject_strategy, into=config.inject_into)


def _describe_predictions(material: Material, scored: Scored, config: AuditConfig) -> GivenPredictionsSummary | None:
    if material.predictions is None:
        return None
    return GivenPredictionsSummary(
        alone=material.x is None,
        in_sample=config.predictions_in_sample,
        agreement=float((material.predictions.argmax(1) == scored.given).mean()),
    )


def _describe_influence(material: Material, scored: Scored, config: AuditConfig) -> InfluenceSummary | None:
    if scored.influence is None or scored.hessian is None:
        return None
    return InfluenceSummary(
        engine=config.engine,
        scope="model" if config.scope == "model" else "head",
        method=scored.influence.method,
        residual=scored.influence.residual,
        parameters=scored.hessian.parameters,
        damping=config.damping + scored.influence.damping,
        validation_samples=len(material.rows("validation")),
        validation_labels="given" if config.validation_trusted else "believed",
    )


def controls_table(controls: Controls, material: Material, labels: np.ndarray, flag: np.ndarray) -> pd.DataFrame:
    """`AuditResult.controls`."""
    compared = ~flag[controls.rows]
    rows = controls.rows[compared]
    return pd.DataFrame(
        {
            "copy": controls.copy[compared],
            "kind": np.array(KINDS, dtype=object)[controls.kind[compared]],
            "spiked": controls.known[compared],
            "label": material.classes[controls.labels[compared]],
            "original_label": material.classes[labels[rows]],
            "suspicion": controls.suspicion[compared],
        },
        index=pd.Index(np.array(material.ids, dtype=object)[rows], name="id"),
    )


def scores_table(material: Material, scored: Scored, config: AuditConfig) -> pd.DataFrame:
    """`AuditResult.scores`."""
    evidence, flag = scored.evidence, scored.flags.flag
    suggested = suggest_labels(evidence.posterior, scored.labels, flag)
    columns = {
        "filepath": np.array(material.filepaths, dtype=object),
        "split": material.split,
        "label": material.classes[evidence.labels],
        "influence": _numbers(evidence.influence, len(flag)),
        "self_influence": _numbers(evidence.self_influence, len(flag)),
        "loo_probability": evidence.of_given(evidence.loo_probabilities),
        "suspicion": suspicion_of(evidence),
        "flag": flag,
        "suggested_label": material.classes[suggested],
        "suggested_probability": of_classes(evidence.posterior, suggested),
        "other_label": material.classes[scored.others],
        "other_probability": of_classes(evidence.posterior, scored.others),
    }
    if config.inject:
        columns["injected"] = evidence.labels != scored.given
        columns["original_label"] = material.classes[scored.given]
    if material.consensus is not None:
        found = material.consensus.labels
        columns |= {name: found[name].to_numpy() for name in ("consensus_probability", "annotator_agreement")}
    return pd.DataFrame(columns, index=pd.Index(material.ids, name="id"))


def _numbers(values: np.ndarray | None, samples: int) -> np.ndarray:
    """A column of the scores, which is empty (NaN here, null in files) if it is undefined."""
    return np.full(samples, np.nan) if values is None else values


def _counts(material: Material, flag: np.ndarray, injected: np.ndarray) -> Counts:
    train, validation, test = (len(material.rows(name)) for name in SPLITS)
    return Counts(
        samples=len(material.ids),
        train=train,
        validation=validation,
        test=test,
        classes=len(material.classes),
        flagged=int(flag.sum()),
        **material.left_out.counts(),
        injected=int(injected.sum()),
    )


def _describe_heads(scored: Scored, material: Material) -> Heads | None:
    if not scored.heads:
        return None
    corrupted = scored.heads.get("corrupted")
    return Heads(
        given=_describe_head(scored.heads["given"], material, scored.given),
        corrupted=None if corrupted is None else _describe_head(corrupted, material, scored.given),
    )


def _describe_head(head: Head, material: Material, given: np.ndarray) -> HeadSummary:
    """The head's quality, measured on the labels before injection."""
    train, validation, test = (
        head_quality(predicted(head, material.x, rows), given[rows]) for rows in map(material.rows, SPLITS)
    )
    return HeadSummary(
        trainer=head.trainer,
        l2=head.l2,
        l2_path=tuple(TriedPenalty(l2=l2, validation_loss=loss) for l2, loss in head.l2_path),
        gradient_norm=head.gradient_norm,
        converged=head.trainer == "newton",
        steps=len(head.curve) - (head.trainer == "newton"),
        train=train,
        validation=validation,
        test=test,
    )


def curves_table(heads: dict[str, Head]) -> pd.DataFrame:
    """`AuditResult.curves`."""
    records = [
        (name, step, train, validation)
        for name, head in heads.items()
        for step, (train, validation) in enumerate(head.curve, 0 if head.trainer == "newton" else 1)
    ]
    return pd.DataFrame(records, columns=["head", "step", "train_loss", "validation_loss"])


def _describe_backbone(pictures: Pictures | None) -> BackboneSummary | None:
    backbone = None if pictures is None else pictures.backbone
    if backbone is None:
        return None
    return BackboneSummary(
        name=backbone.name,
        weights=backbone.weights,
        key=backbone.key,
        image_size=backbone.image_size,
        features=backbone.features,
        device=str(backbone.device),
        precision=backbone.precision,
    )


def _describe_embedding(pictures: Pictures | None) -> EmbeddingSummary | None:
    if pictures is None or pictures.backbone is None:
        return None
    return EmbeddingSummary(computed=pictures.computed, cached=pictures.cached)
