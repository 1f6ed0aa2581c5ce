"""The audit, stage by stage.

samples → embedding → split → head → detection (noise model, controls) → influence → flags → explanation → correction
→ findings

A result needs all stages up to the flags. If a later stage fails, the result keeps everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from audit.annotators.audited import BASIS, count_of_consensus, with_consensus
from audit.annotators.labels import AnnotatorLabels
from audit.build_result import Scored, audited_after, result_of, with_optional_stages
from audit.checkpoint import Checkpoint, checkpoint_for, code_digest, digest_of
from audit.compute.memory import check_fits
from audit.config import AuditConfig
from audit.data.exact_copies import Copies
from audit.data.given import Given
from audit.data.samples import Samples
from audit.errors import InputError
from audit.findings.look import add_findings
from audit.findings.registry import NONE
from audit.findings.shown import shown_members
from audit.flags.detectors import Evidence, suspicion_of
from audit.flags.threshold import Flags, choose_flags
from audit.head.fit import Head, TrainingFeatures
from audit.head.hessian import HeadHessian
from audit.head.standardise import Standardiser
from audit.images.embedding import Workers
from audit.images.heat_map import drawn_heat_maps
from audit.images.pictures import Pictures
from audit.images.thumbnails import shown_samples, thumbnails
from audit.influence.engine import Influence
from audit.inputs import Material, material_of_arrays, material_of_images
from audit.noise_model.controls import Controls
from audit.noise_model.count import Count, count_by_controls
from audit.noise_model.diagnosis_of_copies import contradicted
from audit.noise_model.given_labels import GivenLabels
from audit.noise_model.look_alikes import LookAlikes
from audit.noise_model.model import Diagnosis
from audit.noise_model.ranges import Models, acceptance_of, with_ranges
from audit.progress import ProgressCallback, Stages, Step, silent
from audit.result import AuditResult
from audit.stages import (
    copies_of,
    correction_of,
    diagnose,
    evidence_of,
    explain,
    hessian_of,
    influence_of,
    inject,
    nearest,
    trained_head,
    training_features,
)
from audit.summary.correction import CORRECTION_PARTS, CorrectionMeasured
from audit.summary.estimates import Acceptance

NOT_IN_OUTCOME = ("cache_dir", "batch_size", "strict", "findings")  # settings that say how, and not what of
KEPT_TYPES = (Head, Standardiser, Diagnosis, LookAlikes, Controls, Influence, *CORRECTION_PARTS)
"""The dataclasses that outcomes of stages may hold, for the checkpoint."""


def audit_embeddings(
    x: Any,
    labels: Any,
    validation: tuple[Any, Any] | None = None,
    config: AuditConfig | None = None,
    progress: ProgressCallback = silent,
    checkpoint: Checkpoint | None = None,
    *,
    predictions: Any = None,
    annotators: Any = None,
) -> AuditResult:
    """Audit labels on embeddings of your own, on predictions of a model of your own, or on both.

    Identical rows count as copies of one sample (`audit.data.exact_copies`), unless most of them carry different
    labels: then the embeddings do not tell samples apart.

    Args:
        x: (n, d) embeddings, finite real numbers: an array, memory-mapped or not, a tensor, a table, a list of rows,
            a sparse matrix that fits into memory, or the paths of one or more .npy files. Rows go with labels by
            position. Up to IN_MEMORY_BYTES are kept in memory, in double precision (single on a GPU), with predictions
            of up to as many; more are read where they are, a few rows at a time. None to audit by predictions alone:
            then no head is trained, and influence is undefined.
        labels: (n,) integers, booleans or strings, all of one type; an array, a tensor, a column or a list.
        validation: (embeddings, labels) to use as the validation split instead of a part of x. They are scored too:
            their rows follow those of x, with ids 'validation-0', 'validation-1', ...
        config: the settings; those of the backbone are not used.
        progress: is told what is being done.
        checkpoint: keeps what stages come to, until the caller discards it; None for one that ends with the audit.
        predictions: (n, C) class probabilities or logits by a model that was not trained on the sample (for one that
            was, set `config.predictions_in_sample`): a row for each of x, then for each of `validation`. The columns
            are the classes in sorted order, or those of a table that are named as the classes. A row of NaN is a
            missing prediction: the sample is not audited.
        annotators: (n, A) labels by several annotators, as `consensus_labels` takes them, in the place of labels, which
            are None then: their consensus is audited.

    Returns:
        The result; `scores` has one row an audited sample, with its row in x as the id: '0', '1', ... Samples without
        a label (None, NaN, pd.NA, masked or blank), those of a class of fewer than 3, and those without a prediction
        are in `skipped` instead.

    Raises:
        InputError: if x, labels or predictions cannot be read as that, shapes or classes differ, an embedding is not
            finite or dwarfs the others, validation has fewer than two samples or a class that x lacks, or there are
            fewer than two classes with 3 samples.
    """
    config = config or AuditConfig()
    stages = Stages(progress)
    given = Given.read(predictions=predictions, annotators=annotators)
    if given.annotators is not None:
        if labels is not None or validation is not None:
            raise InputError(
                "annotators takes the place of labels, and has no validation; give labels None, and no validation"
            )
        labels = given.annotators.majority()
    material = material_of_arrays(x, labels, validation, config, stages, given)
    audit = _Audit(config, stages, checkpoint or checkpoint_for(config))
    return audit.end(*audit.run(material), discard=checkpoint is None)


def audit_images(
    samples: Samples,
    config: AuditConfig | None = None,
    progress: ProgressCallback = silent,
    checkpoint: Checkpoint | None = None,
    workers: Workers | None = None,
    scored: Callable[[AuditResult], object] = lambda result: None,
    *,
    embeddings: Any = None,
    predictions: Any = None,
    annotators: Any = None,
) -> AuditResult:
    """Audit the labels of images.

    Samples without a label, images that cannot be read, and samples of a class of fewer than 3 are not audited: they
    are in `result.skipped` with the reason, and counted in `result.summary.counts`.

    Args:
        samples: the labelled images.
        config: the settings.
        progress: is told what is being done.
        checkpoint: keeps what stages come to, until the caller discards it; None for one that ends with the audit.
        workers: other processes that embed the images and hold the embeddings (`integrations.dask.DaskWorkers`); None
            to do so here.
        scored: is shown the result as soon as it has scores and flags, before explanations, correction and pictures are
            made: to save it, in case one of these ends the process.
        embeddings: (n, d) embeddings of your own, a row for each sample, in place of a backbone's; or a list of
            several such arrays, which are standardised and put side by side. Images are then read for thumbnails only.
            A row of NaN is a missing embedding: the sample is not audited.
        predictions: as in `audit_embeddings`, a row for each sample. With `config.backbone` 'none', the audit rests on
            them alone.
        annotators: (n, A) labels by several annotators, as `consensus_labels` takes them, a row for each sample: their
            consensus is audited, and the labels of `samples` are not used.

    If a stage after the flags fails, `result.summary.failed_stages` names it with the reason, and the rest is kept.

    Raises:
        InputError: if the backbone or its weights are not available, no image can be read, there are fewer than two
            classes with 3 samples, or, in a strict audit, a sample would be left out.
    """
    config = config or AuditConfig()
    stages = Stages(progress)
    if annotators is not None:
        annotators = AnnotatorLabels.read(annotators, "annotators").as_text()
        samples = replace(samples, labels=annotators.majority().tolist())
    given = Given.read(embeddings, predictions, annotators)
    material = material_of_images(samples, config, stages, workers, given)
    audit = _Audit(config, stages, checkpoint or checkpoint_for(config))
    result, correction = audit.run(material, scored)
    assert material.pictures is not None
    audit.add_pictures(result, material.pictures)
    return audit.end(result, correction, discard=checkpoint is None)


@dataclass(frozen=True)
class _Audit:
    """One audit under way.

    Attributes:
        config: the settings.
        stages: what is timed and told.
        checkpoint: keeps what stages come to.
    """

    config: AuditConfig
    stages: Stages
    checkpoint: Checkpoint

    def run(
        self, material: Material, scored: Callable[[AuditResult], object] = lambda result: None
    ) -> tuple[AuditResult, CorrectionMeasured | None]:
        """Scores and flags, which are passed to `scored`, then explanations, and what correcting does to the head."""
        if material.annotated is not None:
            material = with_consensus(material, self.config, self.stages)
        in_blocks = material.consensus is None
        check_fits(len(material.ids), len(material.classes), material.device, in_blocks)
        self.checkpoint.begin(
            self._digest(material), KEPT_TYPES, lambda stage, text: self.stages.progress(Step(stage, note=text))
        )
        found = self._score(material)
        result = result_of(material, found, self.config, self.stages)
        scored(result)
        self._explain(result, material, found)
        correction = self._correct(result, material, found)
        return self._find(result, material, found), correction

    def end(self, result: AuditResult, correction: CorrectionMeasured | None, discard: bool) -> AuditResult:
        """The result. The checkpoint is removed, unless a stage has failed and can be tried again."""
        if discard and not self.stages.failed:
            self.checkpoint.discard()
        return replace(result, summary=with_optional_stages(result.summary, correction, self.stages))

    def _digest(self, material: Material) -> str:
        """A digest of everything that the stages depend on."""
        settings = {name: value for name, value in self.config.to_dict().items() if name not in NOT_IN_OUTCOME}
        parts = (material.keys, material.made_by, material.labels, material.split, material.ids, settings)
        annotated = None if material.consensus is None else material.consensus.posterior
        return digest_of(
            *parts, annotated, material.predictions, str(material.device), torch.__version__, code_digest()
        )

    def _score(self, material: Material) -> Scored:
        given = material.numbers
        copies = copies_of(material, given)
        heads: dict[str, Head] = {}
        features = None
        if material.x is not None:
            with self.stages.stage("head"):
                features = training_features(material, self.config)
                heads["given"] = self._head("head", material, given, features)
        labels = given
        if self.config.inject:
            labels = self._injected(material, given, copies, heads.get("given"), features)
            if features is not None:
                with self.stages.stage("head"):
                    heads["corrupted"] = self._head("head-corrupted", material, labels, features)
        diagnosis, controls = self._diagnosis(material, labels, copies)
        hessian, influence = None, None
        if features is not None:
            audited = heads["corrupted" if self.config.inject else "given"]
            hessian, influence = self._influence(material, labels, audited, features, diagnosis)
        evidence = evidence_of(labels, influence, diagnosis)
        counted, flags, acceptance = self._flags(evidence, controls, diagnosis, copies, material)
        return Scored(
            *(given, labels, copies, heads, diagnosis, controls, hessian, influence, evidence, counted, flags),
            acceptance=acceptance,
        )

    def _influence(
        self, material: Material, labels: np.ndarray, head: Head, features: TrainingFeatures, diagnosis: Diagnosis
    ) -> tuple[HeadHessian, Influence]:
        with self.stages.stage("influence"):
            hessian = hessian_of(head, features, self.config)
            # Without the validation labels: a few hundred of these, right ones too, would say more of themselves than
            # of the loss.
            expected = None if self.config.validation_trusted else diagnosis.prior
            influence = self.checkpoint.once(
                "influence",
                lambda: influence_of(
                    material.x, labels, head, hessian, material, self.config, expected, self._tell("influence")
                ),
            )
        return hessian, influence

    def _head(self, name: str, material: Material, labels: np.ndarray, features: TrainingFeatures) -> Head:
        return self.checkpoint.once(name, lambda: trained_head(labels, material, features, self.config))

    def _injected(
        self,
        material: Material,
        given: np.ndarray,
        copies: Copies,
        head: Head | None,
        features: TrainingFeatures | None,
    ) -> np.ndarray:
        """Class numbers (n,) with mislabels."""
        influence = None
        if self.config.inject_strategy == "most-influential" and head is not None and features is not None:
            with self.stages.stage("influence"):
                hessian = hessian_of(head, features, self.config)
                made = influence_of(
                    material.x, given, head, hessian, material, self.config, None, self._tell("influence")
                )
                influence = made.values.cpu().numpy()
        with self.stages.stage("injection"):
            return inject(given, material, copies, self.config, influence)

    def _diagnosis(self, material: Material, labels: np.ndarray, copies: Copies) -> tuple[Diagnosis, Controls]:
        trusted = self._trusted(material)
        with self.stages.stage("detection") as step:
            numbers = torch.from_numpy(labels).to(material.device)
            return self.checkpoint.once(
                "detection", lambda: diagnose(material, numbers, copies, trusted, self.config, step)
            )

    def _flags(
        self, evidence: Evidence, controls: Controls, diagnosis: Diagnosis, copies: Copies, material: Material
    ) -> tuple[Count, Flags, Acceptance | None]:
        config, labels = self.config, evidence.labels
        with self.stages.stage("flagging"):
            suspicion = suspicion_of(evidence)
            numbers, proven = torch.from_numpy(labels).to(material.device), copies.proven_mistakes(labels)
            counted = count_by_controls(controls, diagnosis, numbers, suspicion, proven)
            if material.consensus is not None:
                counted = replace(counted, mistakes=count_of_consensus(suspicion, diagnosis.tells))
            flags = choose_flags(
                suspicion,
                config.threshold,
                config.target_precision,
                config.max_review,
                counted.mistakes,
                contradicted(copies, labels, suspicion),
            )
            trusted = self._trusted(material)
            known = None if trusted is None else torch.from_numpy(trusted).to(numbers.device)
            given = GivenLabels(numbers, known)
            models = Models.of(diagnosis, given, suspicion, counted, config.seed, material.predictions)
            if material.consensus is not None:  # the other models are of one label a sample
                models = replace(models, simpler=(), contradicted=0)
            flags = replace(flags, estimates=with_ranges(flags, models, proven))
            if material.consensus is not None:
                flags = replace(flags, estimates=replace(flags.estimates, basis=BASIS))
            acceptance = acceptance_of(suspicion, flags.threshold, models) if counted.mistakes.told else None
        return counted, flags, acceptance

    def _trusted(self, material: Material) -> np.ndarray | None:
        """bool (n,), labels that are known to be right; None if there are none."""
        return material.split == "validation" if self.config.validation_trusted else None

    def _explain(self, result: AuditResult, material: Material, found: Scored) -> None:
        hessian = found.hessian
        if hessian is None:  # there is no influence that could explain anything
            return
        with self.stages.optional("explanation", "explanations"):
            result.explanations = self.checkpoint.once(
                "explanation",
                lambda: explain(
                    material,
                    found.labels,
                    found.heads[found.audited],
                    hessian,
                    found.diagnosis.posterior,
                    result.scores,
                    self.config.solver,
                    self._tell("explanation"),
                ),
            )
            result.nearest = self.checkpoint.once(
                "nearest", lambda: nearest(material, found.labels, found.others, result.scores)
            )

    def _correct(self, result: AuditResult, material: Material, found: Scored) -> CorrectionMeasured | None:
        if not found.heads:
            return None
        suspicion = result.scores["suspicion"].to_numpy()
        with self.stages.optional("correction", "measurements of what correcting is worth"):
            head, moment = found.heads[found.audited], None if found.hessian is None else found.hessian.moment
            correction = correction_of(material, found.labels, found.others, suspicion, head, moment, self.config)
            return self.checkpoint.once("correction", lambda: correction.measure(found.flags.flag))
        return None

    def _find(self, result: AuditResult, material: Material, found: Scored) -> AuditResult:
        """The result with what was found beside single labels."""
        if self.config.findings == NONE:
            return result
        with self.stages.optional("findings", "findings"):
            return add_findings(result, audited_after(material, found, self.config.seed), self.config, self.stages)
        return result

    def add_pictures(self, result: AuditResult, pictures: Pictures) -> None:
        """Thumbnails and heat maps for the report."""
        with self.stages.optional("thumbnails", "thumbnails"):
            shown = [*shown_samples(result.scores, result.explanations), *shown_members(result.findings)]
            beside = [*result.nearest["neighbour"], *result.explanations["neighbour"]]
            result.thumbnails = thumbnails(pictures.samples, shown, beside)
        if self.config.heat_maps and pictures.backbone is not None:
            with self.stages.optional("heat maps", "heat maps") as step:
                result.thumbnails["heat_map"] = drawn_heat_maps(
                    result, pictures.samples, pictures.backbone, self.config.heat_maps, step
                )

    def _tell(self, stage: str) -> Callable[[str], None]:
        return lambda text: self.stages.note(stage, text)
