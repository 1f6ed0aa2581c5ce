"""The four kinds of statement that an audit makes about a number. Every number that a user reads carries one."""

from __future__ import annotations

from typing import Literal

Seal = Literal["verified", "measured", "modelled", "counted"]
"""How a number is known."""

SEAL_MEANINGS: dict[Seal, str] = {
    "verified": "People decided on samples that chance drew. The range is a 90% interval, whatever the mistakes are "
    "like.",
    "measured": "Computed on labels that are known: mislabels that the audit made on purpose, or the test split as "
    "labelled.",
    "modelled": "A model of the labels says so. The range (95%) covers all models that the labels do not rule out, "
    "and no model sees the true labels.",
    "counted": "Counted exactly.",
}
"""What each seal means. Where two fit, the first one counts."""
