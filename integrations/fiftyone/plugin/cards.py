"""The numbers at the top of the panel: those of the audit, or those at the slider's place and of the chosen class."""

from __future__ import annotations

from typing import Any

from integrations.fiftyone.review import Suspects

from .check_layout import percent_range, verified_cards
from .claims_shown import modelled_cards
from .operators.sentences import counted
from .panel_parts import plain


def cards(state: Any) -> list[tuple[str, str]]:
    """Numbers, each with what it is.

    Args:
        state: of the panel: summary, progress, class_sizes, suspects, of_pair, threshold, own_threshold, class_label,
            suggested and hide_injected.
    """
    if state.class_label is None and state.threshold == state.own_threshold and not state.hide_injected:
        samples = state.summary.get("counts", {}).get("samples", 0)
        shown = [(f"{samples:,}", "samples"), (f"{state.progress['flagged']:,}", "flagged")]
        return shown + (modelled_cards(state.summary) or verified_cards(state.summary))
    return _cards_at_the_slider(state)


def suspects_shown(state: Any) -> Suspects:
    """The samples at the slider's place, of the chosen class or class pair where there is one."""
    if state.suggested is not None:
        return state.of_pair or Suspects(0, 0.0)
    by_class: dict[str, Suspects] = state.suspects
    if state.class_label is not None:
        return by_class.get(state.class_label, Suspects(0, 0.0))
    return Suspects(
        sum(found.count for found in by_class.values()), sum(found.expected_wrong for found in by_class.values())
    )


def slider_label(state: Any) -> str:
    """What the slider shows: the threshold, and how many samples are at or above it."""
    count = suspects_shown(state).count
    of_class = "" if state.class_label is None else f" of class {state.class_label}"
    of_class += "" if state.suggested is None else f" with {state.suggested} suggested"
    of_class += ", injected ones hidden" if state.hide_injected else ""
    return f"Show suspicion of at least {state.threshold:.2f}: {counted(count, 'sample')}{of_class}"


def _cards_at_the_slider(state: Any) -> list[tuple[str, str]]:
    sizes: dict[str, int] = state.class_sizes
    label, found = state.class_label, suspects_shown(state)
    whose = "samples" if label is None else f"samples of class {plain(label)}"
    size = sum(sizes.values()) if label is None else sizes.get(label, 0)
    pair = "" if state.suggested is None else f", {plain(state.suggested)} suggested"
    shown = [(f"{size:,}", whose), (f"{found.count:,}", f"at or above {state.threshold:.2f}{pair}")]
    if not found.count:
        return shown
    verified = None if label is not None or state.hide_injected else _verified_share(state.summary, found.count)
    if verified is not None:
        return [*shown, (verified, "of these wrong, verified")]
    shown.append((f"{found.expected_wrong:,.0f}", "of these expected to be wrong, modelled"))
    return [*shown, (f"{found.expected_wrong / found.count:.0%}", "of these wrong, modelled")]


def _verified_share(summary: dict[str, Any], count: int) -> str | None:
    """The verified share of wrong labels among about so many of the most suspicious samples, as a range."""
    rows = (summary.get("verified") or {}).get("by_threshold")
    if not rows:
        return None
    nearest = min(rows, key=lambda row: abs(row["samples"] - count))
    precision = nearest["precision"]
    return percent_range(precision["anytime_low"], precision["anytime_high"])
