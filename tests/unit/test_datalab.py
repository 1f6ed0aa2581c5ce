"""The audit as an issue type of cleanlab's Datalab."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from cleanlab import Datalab

import audit
from tests.noise_problems import pictures, with_slips
from tests.predicted import made_predictions, softmax


def test_datalab_finds_the_audits_issues_once_the_module_is_imported() -> None:
    import integrations.cleanlab  # noqa: F401

    logits, labels, _ = made_predictions()
    p, named = softmax(logits), [f"class {label}" for label in labels]
    lab = Datalab({"label": named}, label_name="label", verbosity=0)
    lab.find_issues(pred_probs=p, issue_types={"influence_audit": {}})
    issues = lab.get_issues("influence_audit")
    mask = audit.find_label_issues(labels, p)
    assert issues["is_influence_audit_issue"].tolist() == mask.tolist()
    assert issues["influence_audit_score"].between(0, 1).all()
    info = lab.get_info("influence_audit")
    assert info["given_label"] == named
    assert all(info["suggested_label"][row] != named[row] for row in np.flatnonzero(mask))
    assert "influence_audit" in lab.get_issue_summary()["issue_type"].tolist()


def test_datalab_audits_features_too_and_takes_settings() -> None:
    import integrations.cleanlab  # noqa: F401

    x, true = pictures(0)
    lab = Datalab({"label": with_slips(true, 0.1, 1).tolist()}, label_name="label", verbosity=0)
    lab.find_issues(features=x, issue_types={"influence_audit": {"config": {"max_review": 7}}})
    assert lab.get_issues("influence_audit")["is_influence_audit_issue"].sum() == 7


def test_without_cleanlab_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.delitem(sys.modules, "integrations.cleanlab", raising=False)
    with pytest.raises(audit.InputError, match=r"pip install 'influence-audit\[benchmark\]'"):
        import integrations.cleanlab  # noqa: F401
