"""The result of an audit: a table of scores, a summary, and further tables for the report."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from audit.display import SHOWN_PICTURES, frame_of, html_of, show
from audit.errors import InputError, WriteError, first_line
from audit.explain.nearest_table import no_nearest
from audit.files.result_folder import mark_result_folder, refuse_others_files
from audit.files.spreadsheet import write_csv
from audit.files.storage import remove_abandoned, replace_file, whole_file
from audit.findings.table import no_findings
from audit.summary.parts import to_json
from audit.summary.schema import summary_from_json
from audit.summary.summary import SCHEMA_VERSION, Summary
from audit.summary.surroundings import FailedStage

SHARD_ROWS = 2**16  # rows of a table that are written, and can be read, at once
DIGEST_BYTES = 32  # of SHA-256
SUMMARY_FILE = "summary.json"
MANIFEST_FILE = "manifest.json"
HEADS_FILE = "heads.safetensors"

SCORE_MEANINGS = {
    "influence": "What the sample does for the mean validation loss: positive helps, negative harms. Leaving it out of "
    "training raises that loss by about influence / n_train (nats). Unbounded; compare within one audit. The loss "
    "refers to what the audit believes the validation labels to be, or to the labels as given where they are trusted.",
    "self_influence": "How much the sample's own loss depends on having been trained on it (nats), 0 or more. Large: "
    "memorised, unusual or mislabelled.",
    "loo_probability": "Probability of the given label by a head that was not trained on the sample, 0 to 1.",
    "suspicion": "The model's probability that the given label is wrong, 0 to 1. Where decisions on drawn samples "
    "recalibrated it, it follows them, and is 1 or 0 where the label itself was decided.",
    "flag": "True where the suspicion reaches the audit's threshold.",
    "suggested_label": "The label the audit would give; for a flagged sample, the likeliest of the others.",
    "suggested_probability": "The model's probability that the suggested label is right, 0 to 1.",
    "other_label": "The likeliest label but the given one, flagged or not: what a lower threshold would suggest.",
    "other_probability": "The model's probability that this other label is right, 0 to 1.",
    "fits_no_class": "Estimated probability that the picture fits no class, 0 to 1; too low where many pictures fit "
    "none. Only where the audit looked for such pictures, among 30 samples or more.",
    "wrong_for_any_reason": "Probability that the label is wrong or the picture fits no class, 0 to 1.",
    "decision": "What a person decided of the given label in a verification: wrong, right or unsure; empty where "
    "nobody decided (only where decisions were applied).",
    "model_suspicion": "The suspicion as the noise model computed it, before decisions recalibrated it (only then).",
    "model_flag": "The flag as it was before decisions recalibrated the suspicion (only then).",
    "model_suggested_label": "The suggested label before that.",
    "model_suggested_probability": "Its probability before that, 0 to 1.",
    "model_other_probability": "The probability of the other label before that, 0 to 1.",
    "injected": "True where this audit changed the label on purpose, to measure itself.",
    "original_label": "The label before injection (only in audits that inject).",
    "consensus_probability": "The model's probability that the consensus of the annotators is right, 0 to 1 (only of "
    "several annotators).",
    "annotator_agreement": "Share of the sample's annotators who gave the consensus, 0 to 1 (only then).",
    "key": "What the source calls the sample: a file as its table or folder has it, a row, or FiftyOne's id.",
    "label": "The label that was audited (the changed one where a mislabel was injected).",
    "split": "Whether the head was trained on the sample (train), tuned on it (validation) or measured on it (test).",
}
"""What each column of ``AuditResult.scores`` means, with unit and range; for the report, the App and the README."""

_TABLES = ("scores", "curves", "explanations", "nearest", "skipped", "findings", "controls", "thumbnails")
_LATER_TABLES = ("nearest",)  # results of earlier versions lack them
_FILES = ("scores.csv", HEADS_FILE, MANIFEST_FILE, SUMMARY_FILE)


def no_controls() -> pd.DataFrame:
    """An empty table of controls."""
    types = {"copy": int, "kind": object, "spiked": bool, "label": object, "original_label": object, "suspicion": float}
    columns = {name: pd.Series([], dtype=dtype) for name, dtype in types.items()}
    return pd.DataFrame(columns, index=pd.Index([], name="id", dtype=object))


@dataclass
class AuditResult:
    """Everything that an audit found.

    Attributes:
        scores: one row per scored sample, indexed by sample id (`id`), in the order of the samples: filepath, split,
            label, influence, self_influence, loo_probability, suspicion, flag, suggested_label, suggested_probability,
            other_label, other_probability, with injection also injected and original_label, of several annotators also
            consensus_probability and annotator_agreement, and of a source also its key. `SCORE_MEANINGS` says what each
            means. `filepath` is None if the images were not files.
        summary: counts, threshold, estimates, detection, heads, influence, config, versions, timings, and more.
        curves: training curves, columns head ('given' | 'corrupted'), step, train_loss, validation_loss (nats).
        explanations: the training samples that help and harm chosen samples most, columns target (id), reason
            ('validation': a badly predicted sample, whose loss is computed with the label that the audit believes;
            'flagged', or 'unflagged' just below the threshold: a suspicious sample, whose loss is computed with the
            given label), kind ('helpful' | 'harmful'), rank (1 is strongest), neighbour (id of a training sample),
            influence (pairwise, on the target's loss), label (used in the loss) and predicted (by the head).
        skipped: samples that were not audited, columns id, filepath, reason.
        thumbnails: small WebP images of the samples that the report shows, indexed by sample id, columns image and
            heat_map (of the regions that cause the sample's influence; None if not requested).
        findings: faults beside single labels (`audit.findings`), one row for each sample of a finding: kind, finding
            (its number, from 0), id (of the sample; None for a finding about classes), detail (what was seen, in a
            sentence), score (how sure or how strong, 0 to 1), advice (what to do), worth (what that is worth), and
            class and other_class (the labels that it is about; None for a finding about samples).
        nearest: the samples whose pictures are most like those of the most suspicious samples, columns target (id),
            kind ('given': they have its given label; 'other': they have the likeliest other label), rank (1 is
            nearest), neighbour (id of a sample of any split) and likeness (cosine of their embeddings around the mean,
            -1 to 1).
        controls: copies of the labels with known mislabels (`audit.noise_model.controls`), one row per sample and copy,
            indexed by sample id, without the samples that the audit flags: copy (from 0), kind ('' | 'slip' |
            'look-alike'), spiked (the label is a known mislabel), label (in the copy), original_label (the audited
            one), and suspicion (in the copy).
        heads: 'given' and, with injection, 'corrupted': arrays weight (C, d), bias (C,), mean (d,), scale (d,). With
            the engine 'exact', the audited head also has solution (C, d + 1): S with H S = the gradient of the mean
            validation loss, so that rᵀ S z is the influence of any sample; and validation_targets (m, C), the labels of
            the validation samples that this loss was computed with.
    """

    scores: pd.DataFrame
    summary: Summary
    curves: pd.DataFrame
    explanations: pd.DataFrame
    skipped: pd.DataFrame
    thumbnails: pd.DataFrame
    heads: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    findings: pd.DataFrame = field(default_factory=no_findings)
    controls: pd.DataFrame = field(default_factory=no_controls)
    nearest: pd.DataFrame = field(default_factory=no_nearest)

    @property
    def audited_head(self) -> str:
        """'corrupted' if mislabels were injected, else 'given'."""
        return "corrupted" if "corrupted" in self.heads else "given"

    @property
    def flagged(self) -> pd.DataFrame:
        """The flagged samples, most suspicious first."""
        return self.scores[self.scores["flag"]].sort_values("suspicion", ascending=False, kind="stable")

    def class_positions(self, labels: pd.Series) -> np.ndarray:
        """The position (n,) of each label (n,) among the classes; -1 for a label that is not a class."""
        return pd.Index(list(self.summary.classes)).get_indexer(pd.Index(labels))

    def __repr__(self) -> str:
        counts = self.summary.counts
        return (
            f"AuditResult({counts.samples} samples, {counts.flagged} flagged "
            f"at suspicion >= {self.summary.threshold:.3f})"
        )

    def _repr_html_(self) -> str:
        """The result as a notebook shows it: verdict, table and the most suspicious pictures."""
        return html_of(self)

    def to_frame(self, flagged: bool = False) -> pd.DataFrame:
        """The samples as a table, the most suspicious first: labels, suggestions and suspicions come first.

        Args:
            flagged: only the flagged samples.
        """
        return frame_of(self, flagged)

    def show(self, pictures: int = SHOWN_PICTURES) -> None:
        """Show the result in the notebook that runs this, or else in a browser.

        Args:
            pictures: how many of the most suspicious samples are shown, at most.
        """
        show(self, pictures)

    def with_failed_stage(self, failure: FailedStage) -> AuditResult:
        """The same result, with one more failed stage."""
        return replace(self, summary=replace(self.summary, failed_stages=(*self.summary.failed_stages, failure)))

    def save(self, folder: str | Path) -> Path:
        """Write the result as parquet, safetensors and JSON, and the scores also as CSV. An earlier result is replaced.

        The summary is removed first and written last, so that a folder with an incomplete result has no summary. The
        manifest holds a digest of each file that `load` reads, so that `load` detects changed files.

        Raises:
            InputError: if the folder cannot be made, or has files with these names that no audit wrote.
            WriteError: if a file cannot be written, as on a full disk.
        """
        from safetensors.numpy import save

        folder = Path(folder)
        refuse_others_files(folder, (*(f"{name}.parquet" for name in _TABLES), *_FILES))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"result folder {str(folder)!r} cannot be made ({error.strerror}); give another") from None
        tensors = {
            f"{head}.{name}": np.ascontiguousarray(array)
            for head, arrays in self.heads.items()
            for name, array in arrays.items()
        }
        text = json.dumps(to_json(self.summary), indent=2, ensure_ascii=False, allow_nan=False)
        summary = text.encode("utf-8", errors="replace") + b"\n"
        digests: dict[str, str] = {SUMMARY_FILE: _digest(summary)}
        try:
            for name in (*(f"{table}.parquet" for table in _TABLES), "scores.csv"):  # others may use the folder, too
                remove_abandoned(folder, name)
            mark_result_folder(folder)
            (folder / SUMMARY_FILE).unlink(missing_ok=True)
            for name in _TABLES:
                digests[f"{name}.parquet"] = _write_table(getattr(self, name), folder / f"{name}.parquet")
            content = save(tensors)
            digests[HEADS_FILE] = _digest(content)
            replace_file(folder / HEADS_FILE, content)
            with whole_file(folder / "scores.csv") as temporary:
                write_csv(self.scores, temporary)
            replace_file(folder / MANIFEST_FILE, json.dumps({"blake2b": digests}, indent=1).encode() + b"\n")
            replace_file(folder / SUMMARY_FILE, summary)
        except OSError as error:
            raise WriteError(
                f"the result cannot be written into {str(folder)!r} ({error.strerror}); make room or give another "
                "folder, and run the same command again: finished stages are kept"
            ) from None
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> AuditResult:
        """Read a saved result.

        Raises:
            InputError: if the folder holds no complete result, or one that was changed or has another schema version.
        """
        from safetensors.numpy import load

        folder = Path(folder)
        if not (folder / SUMMARY_FILE).is_file():
            raise InputError(
                f"{str(folder)!r} holds no complete audit result (no {SUMMARY_FILE}); "
                "give the folder that `influence-audit run` named"
            )
        try:
            content = (folder / SUMMARY_FILE).read_bytes()
            schema = json.loads(content)["schema"]
            if schema != SCHEMA_VERSION:
                raise InputError(
                    f"the result in {str(folder)!r} has schema {schema}, this version reads {SCHEMA_VERSION}; "
                    "run the audit again"
                )
            digests = json.loads((folder / MANIFEST_FILE).read_bytes())["blake2b"]
            _check_digest(SUMMARY_FILE, content, digests)
            summary = summary_from_json(content)

            def read(name: str) -> bytes:
                found = (folder / name).read_bytes()
                _check_digest(name, found, digests)
                return found

            lacking = [name for name in _LATER_TABLES if f"{name}.parquet" not in digests]
            names = [name for name in _TABLES if name not in lacking]
            tables = {name: pd.read_parquet(io.BytesIO(read(f"{name}.parquet"))) for name in names}
            heads: dict[str, dict[str, np.ndarray]] = {}
            for key, array in load(read(HEADS_FILE)).items():
                head, name = key.split(".")
                heads.setdefault(head, {})[name] = array
            for head, arrays in heads.items():
                _check_shapes(head, arrays, len(summary.classes))
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"the result in {str(folder)!r} is damaged ({type(error).__name__}: {first_line(error)}); "
                "run the audit again"
            ) from None
        return cls(summary=summary, heads=heads, **tables)


def _write_table(table: pd.DataFrame, path: Path) -> str:
    """Write a table in row groups, which can be read one by one, and return the digest of the file."""
    from pyarrow import Schema, Table
    from pyarrow.parquet import ParquetWriter

    schema = Schema.from_pandas(table)
    with whole_file(path) as temporary:
        # Given a path, pyarrow keeps the file open for a while if the disk is full.
        with temporary.open("wb") as file, ParquetWriter(file, schema) as writer:
            for start in range(0, len(table), SHARD_ROWS):  # so that only one group is in memory a second time
                writer.write_table(Table.from_pandas(table.iloc[start : start + SHARD_ROWS], schema=schema))
        with temporary.open("rb") as written:
            digest = hashlib.file_digest(written, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()
    return digest


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def _check_digest(name: str, content: bytes, digests: dict[str, str]) -> None:
    if digests[name] != _digest(content):
        raise ValueError(f"{name} is not what was saved: it was changed, or is of another audit")


def _check_shapes(head: str, arrays: dict[str, np.ndarray], classes: int) -> None:
    shapes = {name: array.shape for name, array in arrays.items()}
    features = shapes["mean"]
    expected = {"weight": (classes, *features), "bias": (classes,), "mean": features, "scale": features}
    if "solution" in shapes:
        expected["solution"] = (classes, features[0] + 1)
    if "validation_targets" in shapes:
        expected["validation_targets"] = (shapes["validation_targets"][0], classes)
    if shapes != expected or len(features) != 1:
        raise ValueError(f"the arrays of head {head!r} have the wrong shapes")
