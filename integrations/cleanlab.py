"""The audit as an issue type of cleanlab's Datalab. Importing this module registers it:

import integrations.cleanlab
lab = cleanlab.Datalab(data, label_name="label")
lab.find_issues(pred_probs=pred_probs, issue_types={"influence_audit": {}})
lab.get_issues("influence_audit")
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from audit.config import AuditConfig
from audit.errors import InputError
from audit.extras import require
from audit.pipeline import audit_embeddings

require("benchmark", "the audit in cleanlab's Datalab")

from cleanlab.datalab.internal import issue_finder  # noqa: E402
from cleanlab.datalab.internal.issue_manager import IssueManager  # noqa: E402
from cleanlab.datalab.internal.issue_manager_factory import register  # noqa: E402

ISSUE = "influence_audit"


@register
class InfluenceAuditIssueManager(IssueManager):
    """Labels that the audit flags. The score is the estimated probability that the label is right.

    Args:
        datalab: the Datalab, of a classification task.
        config: settings of the audit, by name, such as {"target_precision": 0.9}.
    """

    description: ClassVar[str] = (
        "Examples whose given label is probably wrong, by a noise model of the predictions, the features, or both. "
        "The score is the estimated probability that the label is right."
    )
    issue_name: ClassVar[str] = ISSUE
    verbosity_levels: ClassVar[dict[int, list[str]]] = {0: ["estimated_mistakes"], 1: [], 2: [], 3: ["threshold"]}

    def __init__(self, datalab: Any, config: dict[str, Any] | None = None, **_: Any) -> None:
        super().__init__(datalab)
        self.config = AuditConfig.from_dict(config or {})

    def find_issues(self, pred_probs: Any = None, features: Any = None, **_: Any) -> None:
        """Audit the labels by out-of-sample predictions (n, C), by features (n, d), or by both.

        Raises:
            InputError: if neither was given, or the labels cannot be audited by them.
        """
        if pred_probs is None and features is None:
            raise InputError("the audit needs pred_probs, features, or both; pass one of them to find_issues")
        labels = np.asarray(self.datalab.labels)
        result = audit_embeddings(features, labels, config=self.config, predictions=pred_probs)
        rows = result.scores.index.astype(int)
        is_issue, score = np.zeros(len(labels), dtype=bool), np.ones(len(labels))
        is_issue[rows], score[rows] = result.scores["flag"], 1 - result.scores["suspicion"]
        self.issues = pd.DataFrame({f"is_{ISSUE}_issue": is_issue, self.issue_score_key: score})
        self.summary = self.make_summary(float(score.mean()))
        self.info = self.collect_info(result)

    def collect_info(self, *args: Any, **_: Any) -> dict[str, Any]:
        """What the audit estimated, and for each example the suggested label (that of the data if it was not
        audited)."""
        (result,) = args
        labels = np.asarray(self.datalab.labels)
        suggested = labels.copy()
        suggested[result.scores.index.astype(int)] = result.scores["suggested_label"]
        names = self.datalab.class_names
        estimates = result.summary.estimates
        return {
            "given_label": [names[label] for label in labels.tolist()],
            "suggested_label": [names[label] for label in suggested.tolist()],
            "estimated_mistakes": estimates.mistakes,
            "estimated_mistakes_interval": [estimates.mistakes_low, estimates.mistakes_high],
            "threshold": result.summary.threshold,
        }


# Datalab hands its own pred_probs and features only to the issue types in this table.
getattr(issue_finder, "_CLASSIFICATION_ARGS_DICT", {}).setdefault(ISSUE, ["pred_probs", "features"])
