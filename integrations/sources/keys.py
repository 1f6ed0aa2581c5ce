"""The source's own key of each sample, in the table of scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from audit.result import AuditResult

KEY = "key"


def with_keys(result: AuditResult, keys: Mapping[str, str]) -> AuditResult:
    """The result with the column `key` in its scores, behind `split`.

    Args:
        result: whose scores are indexed by sample id.
        keys: what the source calls each sample, by its id; an id that is not there is its own key.
    """
    if KEY in result.scores:
        return result
    scores = result.scores.copy(deep=False)
    of_samples = [keys.get(sample) or sample for sample in scores.index]
    scores.insert(list(scores).index("split") + 1, KEY, of_samples)
    return replace(result, scores=scores)
