"""What reports and the command say of the annotators whose consensus was audited."""

from __future__ import annotations

from audit.summary.summary import Summary
from reports.text import count, share

MOST_NAMED = 4  # annotators that a sentence names, the worst first


def annotators_sentence(summary: Summary) -> str:
    """How good the annotators are, the worst first; '' where each sample has one label."""
    annotators = summary.annotators
    if not annotators:
        return ""
    named = ", ".join(f"{annotator.name} {share(annotator.quality)}" for annotator in annotators[:MOST_NAMED])
    more = f", and {count(len(annotators) - MOST_NAMED)} more" if len(annotators) > MOST_NAMED else ""
    return (
        f"The audited label is the consensus of {count(len(annotators))} annotators. Expected share of right labels, "
        f"the worst first: {named}{more} (modelled)."
    )
