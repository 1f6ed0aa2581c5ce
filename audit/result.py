"""The outcome of an audit: one table, one summary, and what the report shows beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.errors import InputError
from audit.findings import no_findings
from audit.storage import replace_file

SCHEMA_VERSION = 2
SUMMARY_FILE = "summary.json"
SUMMARY_SCHEMA = Path(__file__).with_name("summary.schema.json")
"""The JSON Schema of a summary: every key, with what it means."""

CHANGING = ("created", "timings", "machine", "embedding")
"""The keys of a summary that depend on when and where the audit ran; the others follow from input, settings and seed
(down to the last bits of floating point, which another machine or number of threads may round differently)."""

SCORE_MEANINGS = {
    "influence": "What the sample does for the mean validation loss: positive helps, negative harms. Leaving it out of "
    "training raises that loss by about influence / n_train (nats). Unbounded; compare within one audit. The loss "
    "refers to what the audit believes the validation labels to be, or to the labels as given where they are trusted.",
    "self_influence": "How much the sample's own loss depends on having been trained on it (nats), 0 or more. Large: "
    "memorised, unusual or mislabelled.",
    "loo_probability": "Probability of the given label by a head that was not trained on the sample, 0 to 1.",
    "suspicion": "Estimated probability that the given label is wrong, 0 to 1.",
    "flag": "True where the suspicion reaches the audit's threshold.",
    "suggested_label": "The label the audit would give; for a flagged sample, the likeliest of the others.",
    "suggested_probability": "Estimated probability that the suggested label is right, 0 to 1.",
    "injected": "True where this audit changed the label on purpose, to measure itself.",
    "original_label": "The label before injection (only in audits that inject).",
    "label": "The label that was audited (the changed one where a mislabel was injected).",
    "split": "Whether the head was trained on the sample (train), tuned on it (validation) or measured on it (test).",
}
"""What each column of ``AuditResult.scores`` means, with its unit and range: report, App and README all say it so."""

_TABLES = ("scores", "curves", "explanations", "skipped", "findings", "thumbnails")


@dataclass
class AuditResult:
    """Everything an audit found.

    Attributes:
        scores: one row a scored sample, indexed by sample id (`id`), in the order of the samples: filepath, split,
            label, influence, self_influence, loo_probability, suspicion, flag, suggested_label,
            suggested_probability, and with injection also injected and original_label. `SCORE_MEANINGS` says what
            each means. `filepath` is None where the images were not files.
        summary: counts, threshold, estimates, detection, heads, influence, config, versions, timings: JSON values.
        curves: training curves, columns head ('given' | 'corrupted'), step, train_loss, validation_loss (nats).
        explanations: the training samples that help and harm chosen samples most, columns target (id), reason
            ('validation': badly predicted, its loss as the audit believes its label to be; 'flagged': its loss on the
            given label), kind ('helpful' | 'harmful'), rank (1 is strongest), neighbour (id of a training sample),
            influence (pairwise, on the target's own loss), label (that the loss refers to) and predicted (by the head).
        skipped: samples that were not audited, columns id, filepath, reason.
        thumbnails: small WebP images by sample id, of the samples that the report shows, columns image; index id.
        findings: duplicates that disagree, leaks between splits and doubtful class names, a row for each sample of a
            finding (`audit.findings.find`).
        heads: 'given' and, with injection, 'corrupted': arrays weight (C, d), bias (C,), mean (d,), scale (d,).
    """

    scores: pd.DataFrame
    summary: dict[str, Any]
    curves: pd.DataFrame
    explanations: pd.DataFrame
    skipped: pd.DataFrame
    thumbnails: pd.DataFrame
    heads: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    findings: pd.DataFrame = field(default_factory=no_findings)

    @property
    def flagged(self) -> pd.DataFrame:
        """The flagged samples, most suspicious first."""
        return self.scores[self.scores["flag"]].sort_values("suspicion", ascending=False, kind="stable")

    def __repr__(self) -> str:
        counts = self.summary["counts"]
        return (
            f"AuditResult({counts['samples']} samples, {counts['flagged']} flagged "
            f"at suspicion >= {self.summary['threshold']:.3f})"
        )

    def save(self, folder: str | Path) -> Path:
        """Write the result as parquet, safetensors and JSON, and the scores as CSV too; an earlier one is replaced.

        The summary is removed first and written last, so that a folder without it is known to be incomplete.
        """
        from safetensors.numpy import save

        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"result folder {str(folder)!r} cannot be made ({error.strerror}); give another") from None
        (folder / SUMMARY_FILE).unlink(missing_ok=True)
        for name in _TABLES:
            replace_file(folder / f"{name}.parquet", getattr(self, name).to_parquet())
        replace_file(folder / "scores.csv", self.scores.to_csv().encode("utf-8", errors="replace"))
        tensors = {
            f"{head}.{name}": np.ascontiguousarray(array)
            for head, arrays in self.heads.items()
            for name, array in arrays.items()
        }
        replace_file(folder / "heads.safetensors", save(tensors))
        text = json.dumps(self.summary, indent=2, ensure_ascii=False, allow_nan=False)
        replace_file(folder / SUMMARY_FILE, text.encode() + b"\n")
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> AuditResult:
        """Read a saved result.

        Raises:
            InputError: if the folder holds no complete result, or one of another schema version.
        """
        from safetensors.numpy import load_file

        folder = Path(folder)
        if not (folder / SUMMARY_FILE).is_file():
            raise InputError(
                f"{str(folder)!r} holds no complete audit result (no {SUMMARY_FILE}); "
                "give the folder that `influence-audit run` named"
            )
        try:
            summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
            schema = summary["schema"]
            if schema != SCHEMA_VERSION:
                raise InputError(
                    f"the result in {str(folder)!r} has schema {schema}, this version reads {SCHEMA_VERSION}; "
                    "run the audit again"
                )
            tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in _TABLES}
            heads: dict[str, dict[str, np.ndarray]] = {}
            for key, array in load_file(folder / "heads.safetensors").items():
                head, name = key.split(".")
                heads.setdefault(head, {})[name] = array
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"the result in {str(folder)!r} is damaged ({type(error).__name__}: {str(error).splitlines()[0]}); "
                "run the audit again"
            ) from None
        return cls(summary=summary, heads=heads, **tables)
