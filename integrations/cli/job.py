"""The jobs of a call of `run`: one for each audit."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit.config import NO_BACKBONE, AuditConfig
from audit.errors import InputError
from audit.files.result_folder import refuse_others_folder
from integrations.annotators import annotator_names
from integrations.kept import RESULTS_FOLDER

if TYPE_CHECKING:
    from integrations.sources import ImportedSource, Source
    from integrations.table_without_images import LabelsTable

INDEX_FILE = "index.html"
COMPARISON_FILE = "compare.html"
FIGURES_FOLDER = "figures"
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class AuditJob:
    """One audit.

    Attributes:
        source: as `resolve_source` reads it.
        audit_key: under which FiftyOne keeps it.
        config: its settings.
        choices: the other arguments of `resolve_source`.
        root: the folder that holds its result folder.
        folder: its result folder; None for one below the root, named after the dataset and the audit key.
        embeddings: the fields, brain runs and files of the user's own embeddings.
        predictions: the field or file of the user's own predictions; None if there are none.
        in_fiftyone: whether it writes into FiftyOne.
        annotators: the label columns or fields of several annotators; empty for one label a sample.
    """

    source: str
    audit_key: str
    config: AuditConfig
    choices: Mapping[str, Any]
    root: Path
    folder: Path | None = None
    embeddings: tuple[str, ...] = ()
    predictions: str | None = None
    in_fiftyone: bool = True
    annotators: tuple[str, ...] = ()

    @property
    def label_field(self) -> str | None:
        """The field that was asked for."""
        field: str | None = self.choices["label_field"]
        return field

    def check_writable(self) -> None:
        """Refuse a place for the result that cannot be written, before anything is computed.

        Raises:
            InputError: saying which folder it is.
        """
        wanted = (self.folder or self.root).absolute()
        there = next(folder for folder in (wanted, *wanted.parents) if folder.exists())
        # Permission bits do not tell of read-only and virtual file systems; trying does.
        try:
            with tempfile.TemporaryDirectory(prefix=".influence-audit-", dir=there):
                pass
        except OSError as problem:
            raise InputError(
                f"result folder {str(wanted)!r} cannot be made (in {there}: {problem.strerror}); give another with -o"
            ) from None

    @property
    def uses_backbone(self) -> bool:
        """Whether images pass through a backbone."""
        return not self.embeddings and self.config.backbone != NO_BACKBONE

    def check_given(self) -> None:
        """Refuse files of embeddings and predictions that do not exist, and settings that do not go with them.

        Raises:
            InputError: before anything is computed.
        """
        from integrations.given_names import check_file, is_file_name

        named = [("--embeddings", one) for one in self.embeddings]
        named += [("--predictions", self.predictions)] if self.predictions else []
        for option, text in named:
            if is_file_name(text):
                check_file(Path(text), option)
        if self.config.predictions_in_sample and not self.predictions:
            raise InputError("--predictions-in-sample says what --predictions are, and none were given; leave it out")
        if self.config.backbone == NO_BACKBONE and not (self.predictions or self.embeddings):
            raise InputError("--backbone none needs --predictions or --embeddings; give one, or choose a backbone")

    def without_backbone(self) -> AuditJob:
        """The job with no backbone where its source is a table whose rows name no pictures; otherwise itself.

        Predictions are given then, and are all that the labels can be judged by.
        """
        if not self.uses_backbone or not self.predictions:
            return self
        from integrations.table_without_images import names_no_pictures

        choices = (self.choices["images"], self.choices["image_column"])
        if not names_no_pictures(self.source, self._first_label_column, *choices):
            return self
        return replace(self, config=self.config.replace(backbone=NO_BACKBONE))

    @property
    def _first_label_column(self) -> str | None:
        """The label column that was asked for, of annotators the first one's."""
        column: str | None = self.annotators[0] if self.annotators else self.choices["label_column"]
        return column

    def table_without_images(self) -> LabelsTable | None:
        """The labels of a table without images, if that is what the source is and no image is needed."""
        if self.uses_backbone:
            return None
        from integrations.table_without_images import labels_of_table

        return labels_of_table(self.source, self._first_label_column)

    def source_order(self, source: Source) -> list[str] | None:
        """What the source calls its samples, in its order; None if no file needs it, or it is a FiftyOne dataset."""
        from integrations.given_names import is_file_name
        from integrations.sources import ImportedSource

        texts = [*self.embeddings, self.predictions or ""]
        if not isinstance(source, ImportedSource) or not any(map(is_file_name, texts)):
            return None
        return source.images.order

    def refuse_others_files(self, folder: Path | None = None) -> None:
        """Refuse a result folder that holds anything but an earlier result.

        Args:
            folder: the result folder; by default the one that was asked for, if any.

        Raises:
            InputError: naming what it holds.
        """
        if (wanted := folder or self.folder) is not None:
            refuse_others_folder(wanted, " with -o")

    def resolve(self, annotator: str | None = None) -> Source:
        """The source, which is not opened yet.

        Args:
            annotator: whose labels are read, where there are several; None for the first.

        Raises:
            InputError: if there is no such source, or it leaves something out and the audit is strict.
        """
        from integrations.sources import ImportedSource, resolve_source
        from integrations.sources.left_out import refuse_left_out

        choices = dict(self.choices)
        if self.annotators:
            from integrations.sources.kinds import kind_and_place

            kind, _ = kind_and_place(self.source, choices["image_column"], True, self.in_fiftyone)
            choices["label_field" if kind == "fiftyone" else "label_column"] = annotator or self.annotators[0]
        source = resolve_source(self.source, **choices, in_fiftyone=self.in_fiftyone)
        if self.annotators and isinstance(source, ImportedSource):
            source = replace(source, by_annotators=True)
        if self.config.strict:
            refuse_left_out(source.description, source.left_out)
        return source

    def annotators_of(self, first: ImportedSource) -> dict[str, ImportedSource]:
        """The source as it is read for each annotator; `first` is that of the first one."""
        from integrations.sources import ImportedSource

        found = {self.annotators[0]: first}
        for name in self.annotators[1:]:
            source = self.resolve(name)
            assert isinstance(source, ImportedSource)  # as the first one is
            found[name] = source
        return found

    def beside(self, column: str) -> AuditJob:
        """The same audit under a key that names its label column."""
        return replace(self, audit_key=f"{self.audit_key}_{identifier(column)}")

    def folder_for(self, dataset: str) -> Path:
        """The result folder once the dataset's name is known."""
        return self.folder or self.root / folder_name(dataset) / self.audit_key


def jobs_of(options: Mapping[str, Any], settings: Mapping[str, Any], output: Path | None) -> list[AuditJob]:
    """One job for each source and label field.

    Args:
        options: of `run`, all but the settings: source and label_field may hold several.
        settings: of `AuditConfig`.
        output: the folder that was asked for.

    Raises:
        InputError: if there is no source, or an option is out of its range.
    """
    if not options["source"]:
        raise InputError("no source was given; name one or more, or try 'digits'")
    _check_audit_key(options["audit_key"])
    config = AuditConfig(**settings)
    sources = _listed(options["source"])
    fields: list[str | None] = [*_listed(options["label_field"])] or [None]
    named = ("dataset", "view", "image_column", "label_column", "images", "layout")
    choices = {name: options[name] for name in named}
    choices["keep_labels"] = _listed(options["keep_labels"]) or None
    annotators: tuple[str, ...] = ()
    if options.get("annotators"):
        annotators = annotator_names(_listed(options["label_field"]), choices["label_column"], choices["keep_labels"])
        fields, choices["label_column"] = [None], None
    if len(sources) > 1 and choices["dataset"]:
        raise InputError(
            f"--dataset {choices['dataset']!r} cannot name {len(sources)} datasets; leave it out, and each gets its own"
        )
    return [
        AuditJob(
            source,
            options["audit_key"] if len(fields) == 1 else f"{options['audit_key']}_{identifier(str(field))}",
            config,
            choices | {"label_field": field},
            root=output or Path(RESULTS_FOLDER),
            embeddings=tuple(_listed(options.get("embeddings"))),
            predictions=options.get("predictions"),
            in_fiftyone=not options["no_fiftyone"],
            annotators=annotators,
        )
        for source in sources
        for field in fields
    ]


def audited_in(folder: Path) -> tuple[str | None, str | None]:
    """The source of the result in a folder, and its label column; None where there is no result, or no column."""
    try:
        source = json.loads((folder / SUMMARY_FILE).read_bytes())["source"]
        return (source["source"], source["label_column"]) if source else (None, None)
    except (OSError, ValueError, LookupError, TypeError):
        return None, None


def _listed(value: str | Sequence[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _check_audit_key(key: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", key):
        raise InputError(f"audit key {key!r} is no identifier; use letters, digits and underscores, a letter first")


def identifier(field: str) -> str:
    """A field's name as a part of an audit key."""
    return re.sub(r"[^A-Za-z0-9_]", "_", field)


def folder_name(dataset: str) -> str:
    """The dataset's name, with '-' for characters that a folder's name cannot have."""
    return re.sub(r"[^\w.-]+", "-", dataset).strip(".-") or "dataset"
