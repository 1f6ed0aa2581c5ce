"""The built-in kinds of findings: what each is called, what it means, and what to do."""

from __future__ import annotations

from typing import Final

from audit.findings.contract import KEEP, MERGE, MOVE, REMOVE, Kind

DUPLICATE_LABELS: Final = "duplicate-labels"
SPLIT_LEAK: Final = "split-leak"
CLASS_NAMES: Final = "class-names"
NO_VALIDATION: Final = "class-without-validation"
NEAR_DUPLICATES: Final = "near-duplicates"
NEAR_DUPLICATE_LABELS: Final = "near-duplicate-labels"
NEAR_LEAK: Final = "near-leak"
FITS_NO_CLASS: Final = "fits-no-class"

_COUNTED = "Counted, not estimated."
_MEASURED = "Not estimated: this is a measure of the picture. Whether the picture is bad, a person must say."
_OF_CLASSES = "Not estimated: this is a fault of classes or splits, and there are too few of them."

COPIES = (
    Kind(
        name=DUPLICATE_LABELS,
        title="Duplicates with different labels",
        meaning="Identical samples have different labels: at most one of the labels can be right.",
        advice="Give all of them the right label, or keep only one.",
        decisions=(REMOVE, MERGE, KEEP),
        group="duplicates",
        precision=_COUNTED,
    ),
    Kind(
        name=SPLIT_LEAK,
        title="Leaks between splits",
        meaning="Identical samples are in the training split and in a held-out one: the head is measured on what it "
        "was trained on.",
        advice="Remove the copies from one of the splits.",
        decisions=(REMOVE, MOVE, KEEP),
        group="leaks",
        precision=_COUNTED,
    ),
    Kind(
        name=CLASS_NAMES,
        title="Doubtful class names",
        meaning="Class names that are probably one class, or no class at all: they were audited as they are.",
        advice="Merge the classes, or correct the names.",
        decisions=(KEEP,),
        group="dataset",
        precision=_COUNTED,
    ),
    Kind(
        name=NO_VALIDATION,
        title="Classes without validation samples",
        meaning="Classes without a validation sample: the influence of their samples says nothing about them.",
        advice="Add validation samples of these classes.",
        decisions=(KEEP,),
        group="dataset",
        precision=_COUNTED,
    ),
)

_COPY = (
    "A pair is reported if the pictures agree after alignment, mirrored or not, far better than neighbours in this "
    "dataset usually do."
)
DUPLICATES = (
    Kind(
        name=NEAR_DUPLICATES,
        title="Near-duplicates in one class",
        meaning="Pictures that are copies of each other, perhaps cropped, resized, mirrored or compressed, with the "
        "same label.",
        advice="Keep one of them; the others teach a model nothing new.",
        threshold=_COPY,
    ),
    Kind(
        name=NEAR_DUPLICATE_LABELS,
        title="Near-duplicates with different labels",
        meaning="Pictures that are copies of each other have different labels: at most one of the labels can be right.",
        advice="Give all of them the right label, or keep only one.",
        decisions=(REMOVE, MERGE, KEEP),
        threshold=_COPY,
    ),
)
LEAKS = (
    Kind(
        name=NEAR_LEAK,
        title="Near-duplicates across splits",
        meaning="Copies of a picture, perhaps changed, are in the training split and in a held-out one: scores on the "
        "held-out split are better than they should be.",
        advice="Remove the copies from one of the splits.",
        decisions=(REMOVE, MOVE, KEEP),
        threshold=_COPY,
    ),
)
OFF_TOPIC = (
    Kind(
        name=FITS_NO_CLASS,
        title="Pictures that fit no class",
        meaning="Pictures unlike those of every class: probably none of the classes is right.",
        advice="Remove the picture, or add a class for it.",
        threshold="A picture is reported if the estimated probability that it fits no class is 0.5 or higher. The "
        "estimate comes from pictures of each class, seen by a model that does not know this class.",
        precision="Not estimated: where 4 to 21 % of the pictures fitted no class, 57 to 100 % of those reported were "
        "right; of 11,500 pictures in datasets without any, 0.4 % were reported.",
    ),
)


def _picture(name: str, title: str, meaning: str, threshold: str, advice: str = "") -> Kind:
    beside = " It must also be unusual in this dataset: outside the usual range of the measure."
    usual = "Look at the picture; replace or remove it if a person cannot tell its class."
    return Kind(
        name=name,
        title=title,
        meaning=meaning,
        advice=advice or usual,
        threshold=threshold + beside,
        precision=_MEASURED,
    )


BAD_PICTURES = (
    _picture(
        "dark",
        "Dark pictures",
        "Nearly the whole picture is dark.",
        "99 % of the pixels are darker than 0.32 of the brightest.",
    ),
    _picture(
        "bright",
        "Bright pictures",
        "Nearly the whole picture is white.",
        "95 % of the pixels are brighter than 0.95 of the brightest.",
    ),
    _picture(
        "low-contrast",
        "Pictures of low contrast",
        "All pixels have nearly the same brightness.",
        "The brightness of 98 % of the pixels spans less than 0.1 of the range.",
    ),
    _picture(
        "blurred",
        "Blurred pictures",
        "The picture has no sharp edges.",
        "The edges, at 64 pixels, are less than 0.35 as strong as the contrast.",
    ),
    _picture(
        "low-information",
        "Pictures with little information",
        "The picture has few shades: it is empty or nearly so.",
        "The entropy of its shades is below 3 bits.",
    ),
    _picture(
        "odd-aspect",
        "Pictures of an odd shape",
        "The picture is a narrow strip.",
        "The shorter side is less than 0.35 of the longer.",
        "Crop the picture to the object.",
    ),
    _picture(
        "odd-size",
        "Pictures of an odd size",
        "The picture is far larger or smaller than the others.",
        "The size is more than three interquartile ranges from the middle half.",
        "Check where the picture comes from.",
    ),
    _picture(
        "grey",
        "Grey pictures among colour",
        "The picture has no colour, and most others have.",
        "All three channels are the same.",
        "Check where the picture comes from; a model may learn the difference.",
    ),
)
DATASET = (
    Kind(
        name="small-class",
        title="Small classes",
        meaning="The class has too few samples to learn or to measure.",
        advice="Add samples, or merge the class with another.",
        decisions=(KEEP,),
        threshold="Fewer than 10 samples, or less than a hundredth of the largest class.",
        precision=_OF_CLASSES,
    ),
    Kind(
        name="imbalance",
        title="Imbalance",
        meaning="A few classes have most of the samples.",
        advice="Weight the classes, or add samples to the small ones.",
        decisions=(KEEP,),
        threshold="The largest class has more than 10 times the samples of the median class.",
        precision=_OF_CLASSES,
    ),
    Kind(
        name="classes-alike",
        title="Classes that look alike",
        meaning="Two classes cannot be told apart by their pictures: they may be one.",
        advice="Look at both classes; merge them, or say how they differ.",
        decisions=(MERGE, KEEP),
        threshold="A classifier of these two classes alone is right in fewer than 60 % of balanced cases.",
        precision=_OF_CLASSES,
    ),
    Kind(
        name="class-in-two",
        title="Classes in two clusters",
        meaning="The pictures of a class lie in two clusters, as far apart as two classes are: it may be two classes. "
        "The samples are those of the smaller cluster.",
        advice="Look at both clusters; make two classes of them, or keep the class.",
        decisions=(KEEP,),
        threshold="The clusters are at least 4 standard deviations apart, and farther than two classes of this dataset "
        "usually are.",
        precision=_OF_CLASSES,
    ),
    Kind(
        name="split-shift",
        title="Splits that differ",
        meaning="The pictures of a split differ from those of the training split: scores on it tell of other pictures.",
        advice="Draw the splits again at random, or find out why they differ.",
        decisions=(KEEP,),
        threshold="A classifier of the splits is right in more than 60 % of balanced cases, and that is no chance "
        "(three standard errors above a half).",
        precision=_OF_CLASSES,
    ),
    Kind(
        name="shortcut",
        title="Labels that follow from the file",
        meaning="The label can be predicted without the picture, from the order, size, shape or type of the files: a "
        "model may learn that instead.",
        advice="Store all classes in the same way and order, or find out whether a model relies on it.",
        decisions=(KEEP,),
        threshold="A classifier of these alone is right in twice as many balanced cases as chance, and that is no "
        "chance (three standard errors).",
        precision=_OF_CLASSES,
    ),
    Kind(
        name="background",
        title="Classes that the background gives away",
        meaning="The border of a picture, without its centre, tells this class from the others: a frame, a background "
        "or a mark in a corner. A model may learn that instead of the object. The samples are those that are "
        "recognised by it.",
        advice="Crop or vary the background, or add pictures of the class with other backgrounds; keep one that "
        "belongs to the class, such as water under ships.",
        decisions=(KEEP,),
        threshold="The border recognises more than half of the class, and takes 1 % of the others for it; the centre "
        "recognises fewer (for a mark in one place, at most half as many).",
        precision=_OF_CLASSES,
    ),
)
