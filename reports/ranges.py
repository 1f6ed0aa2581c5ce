"""Numbers that are known within a range, in words. A point is printed only where the range is narrow."""

from __future__ import annotations

from dataclasses import dataclass

from reports.seals import Seal
from reports.text import count

WIDE = 0.25
"""A range that is wider than this share of its value is printed as a range."""

_NEARLY_NONE, _NEARLY_ALL = 0.0005, 0.995  # shares that would be printed as 0% and 100%
_AS_GOOD_AS_NONE = 0.01  # "at least 0.3%" says no more than "any share"


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
    low, high = count(number.low), count(number.high)
    if is_none(number):
        return "0"
    if is_any_number(number):
        return "any number"
    if number.low == number.high:
        return low
    if not has_wide_count(number):
        return f"≈\u00a0{count(number.value)}"
    if round(number.low) <= 0:
        return f"up to {high}"
    return f"at least {low}" if round(number.high) >= round(number.most) else f"{low} to {high}"


def count_phrase(number: Figure) -> str:
    """A count inside a sentence: 'about 174', 'between 47 and 388', 'any number'."""
    low, high = count(number.low), count(number.high)
    if is_none(number):
        return "none"
    if is_any_number(number):
        return "any number"
    if number.low == number.high:
        return low
    if not has_wide_count(number):
        return f"about {count(number.value)}"
    return f"at least {low}" if round(number.high) >= round(number.most) else f"between {low} and {high}"


def count_ends(number: Figure) -> str:
    """Both ends of a count's range: '47 to 388', or '12' where they are the same."""
    low, high = count(number.low), count(number.high)
    return low if low == high else f"{low} to {high}"


def share_range(number: Figure) -> str:
    """A share: '≈ 87%', '60% to 90%', 'up to 40%', 'at least 70%', 'any share'."""
    if number.high < _NEARLY_NONE:
        return "0%"
    none, everything = number.low < _NEARLY_NONE, number.high >= _NEARLY_ALL
    if everything and number.low < _AS_GOOD_AS_NONE:
        return "any share"
    if not number.is_wide:
        return "> 99%" if number.value >= _NEARLY_ALL else f"≈\u00a0{percent(number.value)}"
    if none:
        return f"up to {percent(number.high)}"
    return f"at least {percent(number.low)}" if everything else f"{percent(number.low)} to {percent(number.high)}"


def share_phrase(number: Figure) -> str:
    """A share inside a sentence: 'about 87%', '60% to 90%'."""
    return share_range(number).replace("≈\u00a0", "about ")


def percent(share: float) -> str:
    """A share in percent: whole, and with one decimal below 10 % where it is not 0."""
    text = f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.1f}".removesuffix(".0")
    return f"{text}%"
