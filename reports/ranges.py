"""Numbers that are known within a range, in words. A point is printed only where the range is narrow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from reports.seals import Seal
from reports.text import count

WIDE = 0.25
"""A range that is wider than this share of its value is printed as a range."""

NEARLY_NONE, NEARLY_ALL = 0.0005, 0.995
"""Shares below the one and from the other on would be printed as 0% and 100%."""

AS_GOOD_AS_NONE = 0.01
"""'at least 0.3%' says no more than 'any share'."""

WHOLE_PERCENT = 0.0995
"""Shares from this on are printed without decimals."""


@dataclass(frozen=True)
class Figure:
    """A number that is known within a range.

    Attributes:
        value: the expected number, between low and high.
        low, high: the ends of the range.
        most: the largest number that is possible: 1 for a share.
        seal: how the number is known.
    """

    value: float
    low: float
    high: float
    most: float
    seal: Seal

    @property
    def is_wide(self) -> bool:
        """Whether the range is too wide for a point."""
        return self.high - self.low > WIDE * self.value

    def scaled(self, factor: float, most: float) -> Figure:
        """The figure times a factor, and at most `most`."""
        value, low, high = (min(most, number * factor) for number in (self.value, self.low, self.high))
        return Figure(value, low, high, most, self.seal)


def figure(value: float, low: float, high: float, most: float, seal: Seal) -> Figure:
    """A figure whose ends are possible, and whose value lies between them."""
    low = min(max(low, 0.0), most)
    high = min(max(low, high), most)
    return Figure(min(max(value, low), high), low, high, most, seal)


def anything(most: float, seal: Seal = "modelled", low: float = 0.0) -> Figure:
    """A figure of which nothing is known but its least value."""
    return figure((low + most) / 2, low, most, most, seal)


def is_any_number(number: Figure) -> bool:
    """Whether the range of a count covers everything that is possible."""
    return round(number.low) <= 0 and round(number.high) >= round(number.most) > 0


def is_none(number: Figure) -> bool:
    """Whether the range of a count holds nothing but zero."""
    return round(number.high) == 0


def has_wide_count(number: Figure) -> bool:
    """Whether a count is printed as a range."""
    return number.is_wide and round(number.low) != round(number.high)


def count_range(number: Figure) -> str:
    """A count: '≈ 174', '47 to 388', 'up to 388', 'at least 47', 'any number'."""
    return _in_words(_printed_count(number), _Words("0", "any number"))


def count_phrase(number: Figure) -> str:
    """A count inside a sentence: 'about 174', 'between 47 and 388', 'any number'."""
    return _in_words(_printed_count(number), _Words("none", "any number", "about ", "between {} and {}", None))


def count_ends(number: Figure) -> str:
    """Both ends of a count's range: '47 to 388', or '12' where they are the same."""
    low, high = count(number.low), count(number.high)
    return low if low == high else f"{low} to {high}"


def share_range(number: Figure) -> str:
    """A share: '≈ 87%', '60% to 90%', 'up to 40%', 'at least 70%', 'any share'."""
    return _in_words(_printed_share(number), _Words("0%", "any share"))


def share_phrase(number: Figure) -> str:
    """A share inside a sentence: 'about 87%', '60% to 90%'."""
    return share_range(number).replace("≈\u00a0", "about ")


def percent(share: float) -> str:
    """A share in percent: whole, and with one decimal below 10 % where it is not 0."""
    text = f"{100 * share:.0f}" if share >= WHOLE_PERCENT else f"{100 * share:.1f}".removesuffix(".0")
    return f"{text}%"


@dataclass(frozen=True)
class _Printed:
    """What is printed of a range.

    Attributes:
        low, high: its ends.
        point: its value, if that is exact or the range is narrow; None if the range is printed.
        is_exact: whether the point stands without "about".
        is_none: whether the range holds nothing but zero.
        is_anything: whether it covers everything that is possible.
        from_none, to_all: whether it begins at zero, and ends at the most that is possible.
    """

    low: str
    high: str
    point: str | None
    is_exact: bool
    is_none: bool
    is_anything: bool
    from_none: bool
    to_all: bool


class _Words(NamedTuple):
    """The words for a range: for zero, for anything, before a point, between two ends, and up to an end."""

    none: str
    anything: str
    about: str = "≈\u00a0"
    between: str = "{} to {}"
    up_to: str | None = "up to {}"


def _in_words(printed: _Printed, words: _Words) -> str:
    if printed.is_none:
        return words.none
    if printed.is_anything:
        return words.anything
    if printed.point is not None:
        return printed.point if printed.is_exact else words.about + printed.point
    if printed.from_none and words.up_to is not None:
        return words.up_to.format(printed.high)
    return f"at least {printed.low}" if printed.to_all else words.between.format(printed.low, printed.high)


def _printed_count(number: Figure) -> _Printed:
    is_exact = number.low == number.high
    is_point = is_exact or not has_wide_count(number)
    return _Printed(
        low=count(number.low),
        high=count(number.high),
        point=count(number.low if is_exact else number.value) if is_point else None,
        is_exact=is_exact,
        is_none=is_none(number),
        is_anything=is_any_number(number),
        from_none=round(number.low) <= 0,
        to_all=round(number.high) >= round(number.most),
    )


def _printed_share(number: Figure) -> _Printed:
    is_nearly_all, to_all = number.value >= NEARLY_ALL, number.high >= NEARLY_ALL
    point = "> 99%" if is_nearly_all else percent(number.value)
    return _Printed(
        low=percent(number.low),
        high=percent(number.high),
        point=None if number.is_wide else point,
        is_exact=is_nearly_all,
        is_none=number.high < NEARLY_NONE,
        is_anything=to_all and number.low < AS_GOOD_AS_NONE,
        from_none=number.low < NEARLY_NONE,
        to_all=to_all,
    )
