"""One finding for many classes that have the same fault, so that a thousand classes do not make a thousand findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from audit.findings.contract import Finding

NAMED = 3  # classes that the sentence names; the finding has all of them


def one_or_each(found: Sequence[Finding], together: str, most: int) -> Iterator[Finding]:
    """The findings as they are, or, where there are more than `most`, one about all of their classes.

    Args:
        found: of one kind, each about one class; the worst first.
        together: a sentence on all of them, without their names.
        most: findings that are not put together.
    """
    if len(found) <= most:
        yield from found
        return
    classes = [name for finding in found for name in finding.classes]
    named = ", ".join(repr(name) for name in classes[:NAMED])
    yield Finding(
        kind=found[0].kind,
        evidence=f"{together}: {named} and {len(classes) - NAMED:,} others",
        score=max(finding.score for finding in found),
        classes=tuple(classes),
    )
