"""Read a reviewer's decisions, and refuse what cannot be one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.errors import InputError
from audit.verification.as_drawn import suggestions_if_flagged
from audit.verification.population import Decided

WORDS = ("wrong", "right", "unsure")
SAYS_THE_SAME = {"cannot say": "unsure"}
"""What sheet and panel call a decision."""


@dataclass(frozen=True)
class Decisions:
    """What a reviewer says.

    Attributes:
        clear: decided as wrong or right.
        unsure: (k,) rows of drawn samples that the reviewer cannot decide.
        suggestion: decisions on drawn samples of which is known whether the label is right that a flag suggests;
            `wrong` then means that the *suggestion* is right.
        untold: (k,) rows of drawn samples that are decided as wrong without saying whether that label is right.
        true_labels: of samples that are decided as wrong, by row, as text; only where they were given.
    """

    clear: Decided
    unsure: np.ndarray
    suggestion: Decided
    untold: np.ndarray
    true_labels: dict[int, str]


def read_decisions(scores: pd.DataFrame, decisions: pd.DataFrame) -> Decisions:
    """The decisions of a table, as rows of an audit's scores.

    Args:
        scores: of the audit.
        decisions: by id, in its index or in a column `id`: `decision` ('wrong', 'right', 'unsure', or empty where
            there is none yet), `order` (of the drawn sample; empty or absent where the sample was not drawn), and
            optionally `true_label`.

    Raises:
        InputError: if a column is missing, an id is not of the audit or occurs twice, a decision is another word, or
            a true label contradicts its decision.
    """
    table, rows, words = _by_row(scores, decisions)
    drawn = table["order"].notna().to_numpy() if "order" in table else np.zeros(len(table), dtype=bool)
    clear = np.isin(words, ("wrong", "right"))
    wrong = words == "wrong"
    true_labels = _true_labels(scores, table, rows, wrong, clear)
    suggested = _suggestions_right(scores, true_labels, rows, clear & ~wrong)
    judged = drawn & (suggested >= 0)
    return Decisions(
        Decided(rows[clear], wrong[clear], drawn[clear]),
        rows[drawn & (words == "unsure")],
        Decided(rows[judged], suggested[judged] == 1, drawn[judged]),
        rows[drawn & wrong & (suggested < 0)],
        true_labels,
    )


def words_by_id(scores: pd.DataFrame, decisions: pd.DataFrame) -> np.ndarray:
    """The decision (n,) on each of an audit's samples: 'wrong', 'right', 'unsure', or None.

    Raises:
        InputError: as `read_decisions`.
    """
    _, rows, words = _by_row(scores, decisions)
    found = np.full(len(scores), None, dtype=object)
    found[rows] = [word or None for word in words]
    return found


def _by_row(scores: pd.DataFrame, decisions: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The decisions by id, the row of each in the scores, and its word; '' where there is none yet."""
    table = decisions.set_index("id") if "id" in decisions else decisions
    if "decision" not in table:
        raise InputError("the decisions have no column 'decision'; add one with wrong, right or unsure for each id")
    table = table.set_axis(table.index.astype(str), axis=0)
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise InputError(f"sample {twice!r} has more than one decision; keep one")
    rows = pd.Index(scores.index.astype(str)).get_indexer(table.index)
    if (rows < 0).any():
        first = table.index[rows < 0][0]
        raise InputError(
            f"{int((rows < 0).sum())} of the decided ids are not of this audit, the first is {first!r}; "
            "give decisions on samples of the same result"
        )
    words = np.array(["" if pd.isna(word) else str(word).strip().lower() for word in table["decision"]], dtype=object)
    words = np.array([SAYS_THE_SAME.get(word, word) for word in words], dtype=object)
    for name, word in zip(table.index, words, strict=True):
        if word and word not in WORDS:
            raise InputError(f"the decision on sample {name!r} is {word!r}; it takes one of {', '.join(WORDS)}")
    return table, rows, words


def _true_labels(
    scores: pd.DataFrame, table: pd.DataFrame, rows: np.ndarray, wrong: np.ndarray, clear: np.ndarray
) -> dict[int, str]:
    """The true labels of samples that are decided as wrong, by row."""
    if "true_label" not in table:
        return {}
    given = scores["label"].astype(str).to_numpy()[rows]
    found = {}
    for place, true in enumerate(table["true_label"]):
        if not clear[place] or pd.isna(true) or not str(true).strip():
            continue
        if (str(true) != given[place]) != wrong[place]:
            raise InputError(
                f"sample {table.index[place]!r} has the label {given[place]!r} and the true label {str(true)!r}, and "
                f"is decided {'wrong' if wrong[place] else 'right'}; change one of them"
            )
        if wrong[place]:
            found[int(rows[place])] = str(true)
    return found


def _suggestions_right(
    scores: pd.DataFrame, true_labels: dict[int, str], rows: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Whether the label is right that a flag suggests for each of these rows: 1, 0, or -1 where that is not known.

    Where the given label is right, bool (k,), another that is suggested is wrong.
    """
    found = np.where(right, 0, -1)
    suggested = suggestions_if_flagged(scores).to_numpy()[rows]
    for place, row in enumerate(rows.tolist()):
        if row in true_labels and not pd.isna(suggested[place]):
            found[place] = true_labels[row] == str(suggested[place])
    return found
