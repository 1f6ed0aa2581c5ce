"""The first flagged samples as the page shows them without JavaScript; with it, the script replaces these cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.galleries import Galleries, ShownSample
from reports.page_texts import WORDS

CARDS = 10
"""Flagged samples that are in the page for readers without JavaScript."""

NEAREST = 2
"""Pictures of a class beside a card's own, as on the cards of the script."""


@dataclass(frozen=True)
class Picture:
    """A picture of a card.

    Attributes:
        image: base64 WebP; None where there is none.
        alt: what it is, for those who do not see it.
        suspect: whether its own label is suspect too.
    """

    image: str | None
    alt: str
    suspect: bool = False


@dataclass(frozen=True)
class Side:
    """The pictures with one label that are most like a card's own.

    Attributes:
        label: their label.
        pictures: the nearest first.
    """

    label: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class FirstCard:
    """A card.

    Attributes:
        name: of the sample where it has no picture: its file or its id.
        given, suggested: labels as text; suggested is None where the given one is the likeliest.
        picture: the sample's own.
        nearest: pictures of the given and of the suggested class; empty where there are none.
    """

    name: str
    given: str
    suggested: str | None
    picture: Picture
    nearest: tuple[Side, ...]


def first_cards(galleries: Galleries) -> list[FirstCard]:
    """The first flagged samples, the most suspicious first."""
    places = [place for place in galleries.suspects if galleries.samples[place].flag][:CARDS]
    return [_card(galleries, place) for place in places]


def _card(galleries: Galleries, place: int) -> FirstCard:
    sample = galleries.samples[place]
    name = sample.path.rsplit("/", 1)[-1] if sample.path else sample.id
    other = None if sample.other == sample.given else sample.other
    return FirstCard(name, sample.given, other, _picture(galleries, sample), _nearest(galleries, place))


def _nearest(galleries: Galleries, place: int) -> tuple[Side, ...]:
    found = galleries.nearest.get(place)
    if found is None:
        return ()
    sample = galleries.samples[place]
    sides = ((sample.given, found.given), (sample.other or "", found.other))
    made = (Side(label, _pictures(galleries, places)) for label, places in sides)
    return tuple(side for side in made if side.pictures)


def _pictures(galleries: Galleries, places: Sequence[int]) -> tuple[Picture, ...]:
    samples = [galleries.samples[place] for place in places]
    shown = [sample for sample in samples if sample.thumbnail is not None][:NEAREST]
    return tuple(_picture(galleries, sample, beside=True) for sample in shown)


def _picture(galleries: Galleries, sample: ShownSample, beside: bool = False) -> Picture:
    image = None if sample.thumbnail is None else galleries.thumbnails[sample.thumbnail]
    suspect = beside and sample.flag
    text = WORDS["suspect_too" if suspect else "picture_of"]
    return Picture(image, text.format(label=sample.given if sample.given.strip() else WORDS["empty"]), suspect)
