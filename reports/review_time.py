"""How long a review takes, so that a lead can plan it."""

from __future__ import annotations

SECONDS_A_PICTURE = 6
"""Seconds for one decision on a flagged picture: look, decide by key. An assumption, which the report states."""

SECONDS_A_CHECK = 10
"""Seconds for one decision on a picture of the verification sample, which is shown without a suggestion."""

BASIS = f"at {SECONDS_A_PICTURE} seconds a picture, which is a guess: your own pace may differ"
"""What the estimated time rests on."""


def review_time(pictures: int, seconds_each: float = SECONDS_A_PICTURE) -> str:
    """The time to decide on so many pictures: 'under a minute', 'about 12 min', 'about 1 h 20'.

    Rounded to a minute below ten minutes, to five below an hour, to ten below ten hours, and to hours from there on.
    """
    minutes = pictures * seconds_each / 60
    if minutes < 1:
        return "under a minute"
    step = 1 if minutes < 10 else 5 if minutes < 60 else 10 if minutes < 600 else 60
    rounded = max(step, round(minutes / step) * step)
    hours, rest = divmod(rounded, 60)
    if not hours:
        return f"about {rest} min"
    return f"about {hours} h {rest:02}" if rest else f"about {hours} h"
