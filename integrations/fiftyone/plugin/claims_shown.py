"""What the panel and the operators say of the audit's numbers: the report's words, from what the run stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.claims import Claims, claims_from_json
from reports.ranges import count_range, figure, share_range

NOT_KNOWN = "What accepting unseen would mend and break is not known. Decide on each sample."


def modelled_cards(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The numbers of the models, each with what it is; none where decisions on drawn samples say more.

    Args:
        summary: of the run.
    """
    claims = _claims(summary)
    if claims is None:
        return []
    cards = [(count_range(claims.mistakes), "wrong labels, modelled")]
    if claims.precision is not None:
        cards.append((share_range(claims.precision), "of the flags right, modelled"))
    return cards


def too_little(summary: Mapping[str, Any]) -> str:
    """Why the audit cannot tell wrong labels from right ones; empty where it can, or where decisions say more."""
    claims = _claims(summary)
    return "" if claims is None or not claims.too_little else f"Too little to tell: {claims.too_little}"


def accepting(summary: Mapping[str, Any]) -> str:
    """What accepting suggestions unseen is expected to mend and to break."""
    sentences = summary.get("accepting")
    return " ".join(sentences) if sentences and not summary.get("verified") else NOT_KNOWN


def _claims(summary: Mapping[str, Any]) -> Claims | None:
    """The stored claims, or those that an older run allows; None where decisions say more, or there are no numbers."""
    if summary.get("verified"):
        return None
    if summary.get("claims"):
        return claims_from_json(summary["claims"])
    estimates = summary.get("estimates") or {}
    if estimates.get("mistakes") is None:
        return None
    ends = (estimates["mistakes"], estimates.get("mistakes_low", 0.0), estimates.get("mistakes_high", float("inf")))
    samples = float((summary.get("counts") or {}).get("samples", 0))
    precision = estimates.get("precision")
    return Claims(
        figure(*ends, samples, "modelled"),
        None if precision is None else figure(precision, 0.0, 1.0, 1.0, "modelled"),
        None,
    )
