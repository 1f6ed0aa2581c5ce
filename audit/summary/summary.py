"""One audit in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from audit.config import AuditConfig
from audit.summary.annotators import AnnotatorSummary
from audit.summary.correction import CorrectionMeasured
from audit.summary.counts import CopiesFound, Counts, Finding, LeakedSplit
from audit.summary.detection import ControlsMeasured, InjectedDetection
from audit.summary.estimates import Acceptance, Estimates
from audit.summary.heads import Heads
from audit.summary.influence import ClassInfluence, InfluenceSummary, LeaveOneOutSummary
from audit.summary.noise_model import GivenPredictionsSummary, NoiseModelSummary
from audit.summary.parts import ClassLabel, Part, Positive
from audit.summary.surroundings import AuditedDataset, BackboneSummary, EmbeddingSummary, FailedStage, Machine
from audit.summary.verified import Verified

SCHEMA_VERSION: Final = 9

CHANGING = ("created", "timings", "machine", "embedding")
"""The keys of a summary that depend on when and where the audit ran; the others follow from input, settings and seed
(down to the last bits of floating point, which another machine or number of threads may round differently)."""


@dataclass(frozen=True, kw_only=True)
class Summary(Part):
    """One audit in numbers. Two audits of the same input with the same settings differ in `created`, `timings`,
    `machine` and `embedding` at most."""

    schema: Literal[9] = SCHEMA_VERSION
    """Version of this schema. A change that could break a reader raises it."""
    created: str
    """When the audit ended (UTC, ISO 8601)."""
    counts: Counts
    """Counted: how many samples there were."""
    copies: CopiesFound
    """Samples with the same content, which count as one for the noise model."""
    findings: tuple[Finding, ...]
    """What is wrong with the dataset beside single labels, a kind each; empty where nothing was found."""
    classes: tuple[ClassLabel, ...]
    """The classes, sorted; confusion matrices have their order."""
    threshold: float
    """Samples whose suspicion is at least this are flagged."""
    threshold_rule: str
    """How the threshold was chosen, in a sentence."""
    estimates: Estimates
    """Modelled: how many labels are wrong and how good the flags are."""
    controls: ControlsMeasured
    """Measured: known mislabels added to copies of the labels, and how many of them are flagged there."""
    detection: InjectedDetection | None
    """Measured: the flags against the injected mislabels; null in an audit without injection."""
    correction: CorrectionMeasured | None
    """Measured: the head before and after correction; null where no train or validation sample is flagged."""
    influence_by_class: tuple[ClassInfluence, ...]
    """Mean influence per class, and in the last entry of all samples (class null); null without a head."""
    heads: Heads | None
    """The trained heads; null in an audit by predictions alone."""
    influence: InfluenceSummary | None
    """How the influence was computed; null in an audit by predictions alone, where it is undefined."""
    leave_one_out: LeaveOneOutSummary
    """How the predictions of a head without the sample were computed."""
    noise_model: NoiseModelSummary
    """The model that the suspicions come from."""
    backbone: BackboneSummary | None
    """The frozen network; null where embeddings were given."""
    embedding: EmbeddingSummary | None
    """Where the embeddings came from this time; null where they were given."""
    config: AuditConfig
    """Every setting of the audit; `influence-audit config` prints what each means."""
    versions: dict[str, str]
    """Versions of influence-audit, Python and the packages that compute, by name."""
    machine: Machine
    """Where the audit ran."""
    notes: tuple[str, ...]
    """What the user was told: fallbacks, samples that were left out, a sentence each."""
    failed_stages: tuple[FailedStage, ...]
    """Stages after the flags that failed, so that the result lacks what they make. The same command makes it when it
    is run again. Scores and flags are complete."""
    timings: dict[str, Positive]
    """Seconds by stage."""
    source: AuditedDataset | None = None
    """What was audited; null where arrays or images were given from Python."""
    verified: Verified | None = None
    """Verified: what decisions on randomly drawn samples say; null where none were made."""
    predictions: GivenPredictionsSummary | None = None
    """The predictions that the user gave; null where none were given."""
    leaks: tuple[LeakedSplit, ...] = ()
    """Measured: held-out splits with copies of training pictures, as the audit used the splits; empty where there are
    none, or nobody looked."""
    acceptance: Acceptance | None = None
    """Modelled: what accepting suggestions unseen is expected to mend and to break; null where nothing is known."""
    annotators: tuple[AnnotatorSummary, ...] = ()
    """Modelled: the annotators whose consensus was audited, the worst first; empty where each sample has one label."""
