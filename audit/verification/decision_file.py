"""Decisions as a CSV file: written for a reviewer to fill in, and read back as spreadsheets save it."""

from __future__ import annotations

import codecs
import hashlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.errors import InputError, first_line
from audit.files.spreadsheet import original, write_csv
from audit.files.storage import replace_file
from audit.verification.as_drawn import as_model_said

COLUMNS = ("order", "file", "label", "decision", "true_label", "seed", "audit")
"""What a file holds beside the id. It does not tell what the audit thinks of a sample."""

_DELIMITERS = (",", ";", "\t")


def decision_table(
    scores: pd.DataFrame, order: pd.Series[Any], seed: int | None = None, decisions: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Samples by id, to be decided, with the decisions that there are.

    Args:
        scores: of the audit, with the column filepath.
        order: of the drawn samples, by id (`VerificationSample.table`).
        seed: that they were drawn with; None where it is not known.
        decisions: by id, with columns decision and true_label. Those on other samples follow the drawn ones, with an
            empty order.
    """
    decided = {} if decisions is None else _decided(decisions)
    places = {str(name): place for name, place in order.sort_values().dropna().items()}
    ids = [*places, *(name for name in decided if name not in places)]
    rows = scores.set_axis(scores.index.astype(str), axis=0).loc[ids]
    words = [decided.get(name, ("", "")) for name in ids]
    columns = {
        "order": pd.array([places.get(name) for name in ids], dtype="Int64"),
        "file": [path if isinstance(path, str) else "" for path in rows["filepath"]],
        "label": rows["label"].astype(str).tolist(),
        "decision": [word for word, _ in words],
        "true_label": [label for _, label in words],
        "seed": "" if seed is None else str(seed),
        "audit": audit_mark(scores),
    }
    return pd.DataFrame(columns, index=pd.Index(ids, name="id"))


def audit_mark(scores: pd.DataFrame) -> str:
    """A mark that tells whether decisions were drawn from these scores: a digest of what the model said."""
    before = as_model_said(scores)
    digest = hashlib.blake2b(digest_size=8)
    for texts in (map(str, before.index), map(str, before["label"])):
        digest.update("\0".join(texts).encode("utf-8", errors="replace"))
    digest.update(np.ascontiguousarray(before["suspicion"], dtype="<f8").tobytes())
    digest.update(before["flag"].to_numpy(dtype=np.uint8).tobytes())
    return f"audit-{digest.hexdigest()}"  # a spreadsheet would take some digests for numbers


def write_decision_file(table: pd.DataFrame, path: Path) -> Path:
    """Write the table of `decision_table`, whole or not at all.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        return replace_file(path, write_csv(table).encode("utf-8", errors="replace"))
    except OSError as error:
        raise InputError(
            f"{str(path)!r} cannot be written ({error.strerror}); make room or change its rights"
        ) from None


def read_decision_file(path: Path) -> pd.DataFrame:
    """Read decisions by id. The file may come from a spreadsheet: with semicolons or tabs, a byte order mark, UTF-16.

    Returns:
        By id, text columns as in the file, without rows that are empty; `order` is a number, NaN where it is empty.

    Raises:
        InputError: if the file cannot be read, is no CSV, or lacks the column id or decision.
    """
    text = _text(path)
    lines = text.splitlines()
    if lines and lines[0].lower().startswith("sep="):  # Excel writes it for itself
        text = text.split("\n", 1)[1] if "\n" in text else ""
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=header.count)
    try:
        table = pd.read_csv(io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False, index_col=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(
            f"{str(path)!r} is no CSV file of decisions ({first_line(error)}); save it as CSV with its first line"
        ) from None
    table.columns = [str(name).strip().lower() for name in table.columns]
    missing = [name for name in ("id", "decision") if name not in table]
    if missing:
        raise InputError(
            f"{str(path)!r} has no column {missing[0]!r}; the first line of a file of decisions names id, order and "
            "decision"
        )
    table = table[(table != "").any(axis=1)].map(original)
    if (table["id"].str.strip() == "").any():
        raise InputError(f"{str(path)!r} has a row without an id; give it the id of its sample, or remove it")
    if "order" in table:
        table["order"] = _orders(table["order"], path)
    return table.set_index("id")


def check_of_audit(decisions: pd.DataFrame, scores: pd.DataFrame, name: str) -> None:
    """Refuse decisions on samples that were drawn from another audit.

    Args:
        decisions: from `read_decision_file`.
        scores: of the audit.
        name: of the file, for the message.

    Raises:
        InputError: if they were.
    """
    if not is_of_audit(decisions, scores):
        raise InputError(f"{name!r} was drawn from another audit than this result; give the result it was drawn from")


def is_of_audit(decisions: pd.DataFrame, scores: pd.DataFrame) -> bool:
    """Whether decisions may be on samples that were drawn from these scores.

    A file of ours says so itself (`audit_mark`). In others, all given labels have to be those of the audit.
    """
    if "audit" in decisions:
        return {str(mark).strip() for mark in decisions["audit"]} <= {"", audit_mark(scores)}
    if "label" not in decisions:
        return True
    given = scores.set_axis(scores.index.astype(str), axis=0)["label"].astype(str)
    labels = decisions["label"][(decisions["label"] != "") & decisions.index.isin(given.index)]
    return bool((given.reindex(labels.index) == labels).all())


def count_skipped(decisions: pd.DataFrame) -> int:
    """How many drawn samples are open though later ones are decided."""
    drawn = decisions[decisions["order"].notna()]
    open_ones = np.array([pd.isna(word) or not str(word).strip() for word in drawn["decision"]], dtype=bool)
    if open_ones.all():
        return 0
    last = drawn["order"][~open_ones].max()
    return int((open_ones & (drawn["order"] < last)).sum())


def _decided(before: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """The word and the true label of each sample that has a decision."""
    labels = before["true_label"] if "true_label" in before else pd.Series("", index=before.index)
    return {
        str(name): (str(word), "" if pd.isna(label) else str(label))
        for name, word, label in zip(before.index, before["decision"], labels, strict=True)
        if not pd.isna(word) and str(word).strip()
    }


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"decisions {str(path)!r} cannot be read ({error.strerror}); give the CSV file that was filled in"
        ) from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    if b"\0" in content or content.startswith(b"PK\x03\x04"):
        raise InputError(f"{str(path)!r} is no CSV file of decisions; save the table as CSV")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")  # as spreadsheets on Windows save it


def _orders(texts: pd.Series[Any], path: Path) -> pd.Series[Any]:
    """The place of each drawn sample; NaN where it is empty."""
    places: list[float] = []
    for text in (str(one).strip() for one in texts):
        try:
            place = float(text.replace(",", ".")) if text else math.nan
        except ValueError:
            place = -1.0
        if place < 0 or math.isinf(place):
            raise InputError(
                f"{str(path)!r} has the order {text!r}; it is a number from 0, or empty for samples that were not drawn"
            )
        places.append(place)
    return pd.Series(places, index=texts.index, dtype=float)
