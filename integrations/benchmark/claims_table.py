"""Claims as Markdown: each group in numbers, and every audit, the weakest first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from audit.files.storage import replace_file
from integrations.benchmark.claims import Claims, Interval
from integrations.benchmark.table import described_origin


def save_claims(claims: Sequence[Claims], origin: dict[str, Any], folder: Path) -> Path:
    """Write claims.json and claims.md; the path of the latter.

    Args:
        claims: of all audits.
        origin: when, where and on what they were made (`table.origin_of`).
        folder: made where it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = {"origin": origin, "claims": [asdict(claim) for claim in claims]}
    replace_file(folder / "claims.json", (json.dumps(records, indent=1) + "\n").encode())
    text = f"{described_origin(origin)}\n\n{claims_markdown(claims)}"
    return replace_file(folder / "claims.md", text.encode())


def claims_markdown(claims: Sequence[Claims]) -> str:
    """The groups, and every audit."""
    lines = [
        "*holds*: share of the audits whose 95 % range holds the real number. *width*: median width of the range, as "
        "a share of the samples; of precision, in itself. *of the noise model's*: median width over that of the noise "
        "model's own interval, and the share of audits in which it is over 2. *after N*: share of simulated reviews of "
        "N decisions whose 90 % interval holds the real number, for mistakes / for precision, and how far the estimate "
        "of precision is off.",
        "",
        *groups_table(claims),
        "",
        "The audits, those first whose range does not hold the real number:",
        "",
        *_audits(claims),
    ]
    return "\n".join(lines) + "\n"


def groups_table(claims: Sequence[Claims]) -> Iterable[str]:
    """A row a group, and whether its clean sets are taken for wrong."""
    yield _row(
        *("group", "audits", "mistakes: holds", "width", "of the noise model's", "precision: holds", "width"),
        *("flagged where clean", "after 60", "after 120"),
    )
    yield _row(*["---"] * 10)
    for group in dict.fromkeys(claim.group for claim in claims):
        of_group = [claim for claim in claims if claim.group == group]
        flagged = [claim for claim in of_group if claim.precision is not None]
        clean = [claim.flagged / claim.samples for claim in of_group if claim.mistakes.real == 0]
        ratios = [_width(claim.mistakes) / max(1.0, claim.noise_model_width) for claim in of_group]
        yield _row(
            group,
            str(len(of_group)),
            _mean([claim.mistakes.holds for claim in of_group]),
            f"{np.median([_width(claim.mistakes) / claim.samples for claim in of_group]):.3f}",
            f"{np.median(ratios):.1f}; {np.mean(np.array(ratios) > 2.01):.2f}",
            _mean([claim.precision.holds for claim in flagged if claim.precision]),
            f"{np.median([_width(claim.precision) for claim in flagged if claim.precision]):.2f}" if flagged else "",
            f"{np.mean(clean):.3f}" if clean else "",
            *(_after(of_group, decisions) for decisions in (60, 120)),
        )


def _after(claims: Sequence[Claims], decisions: int) -> str:
    found = [each for claim in claims for each in claim.reviewed if each.decisions == decisions]
    if not found:
        return ""
    precision = [each.precision_holds for each in found if each.precision_holds is not None]
    errors = [each.precision_error for each in found if each.precision_error is not None]
    return f"{np.mean([each.holds for each in found]):.2f} / {_mean(precision)}; {_mean(errors)}"


def _audits(claims: Sequence[Claims]) -> Iterable[str]:
    yield _row("labels", "seed", "samples", "wrong", "stated", "flags", "really right", "stated", "F1")
    yield _row(*["---"] * 9)
    for claim in sorted(claims, key=_weakness):
        precision = claim.precision
        yield _row(
            *(claim.case, str(claim.seed), str(claim.samples), f"{claim.mistakes.real:.0f}"),
            f"{claim.mistakes.low:.0f} to {claim.mistakes.high:.0f}" + ("" if claim.mistakes.holds else " **no**"),
            str(claim.flagged),
            "" if precision is None else f"{precision.real:.2f}",
            ""
            if precision is None
            else f"{precision.low:.2f} to {precision.high:.2f}" + ("" if precision.holds else " **no**"),
            f"{claim.f1:.2f}" if claim.mistakes.real else "",
        )


def _weakness(claim: Claims) -> tuple[bool, bool, str, str, int]:
    """Sorts audits whose ranges do not hold before the others."""
    holds = claim.precision is None or claim.precision.holds
    return claim.mistakes.holds, holds, claim.group, claim.case, claim.seed


def _width(interval: Interval) -> float:
    return interval.high - interval.low


def _mean(values: Sequence[float | bool]) -> str:
    return f"{np.mean(values):.2f}" if len(values) else ""


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
