"""The review of flagged labels: confirm, dismiss, accept, relabel, unsure, undo, apply, export.

Each sample stores its state and a log of all decisions on it. A decision is one atomic update of each sample in the
database: it appends to the log and sets the state in the same step. It reads the previous state from the database and
not from the caller. So two windows can review at the same time and lose nothing, decisions survive the App and the
database server, and each of them can be undone.

- `<key>_status`: unreviewed, confirmed (the label is wrong), relabelled (it is wrong, and the right label is known),
  dismissed (it is right), unsure (a person looked and could not say) or removed (the sample is to leave the dataset).
- `<key>_corrected`: the right label of relabelled samples.
- `<key>_decisions`: the log.
- A check of the audit (`check`) is a review of samples that are drawn by chance; `follow` uses its decisions.
- Only `apply_corrections` writes the user's label field. It keeps the overwritten label in `<key>_original`, and can be
  undone like any other decision.
"""

from integrations.fiftyone.review.cards import Past, SampleCard, StandingDecision, sample_cards
from integrations.fiftyone.review.check import (
    CHECK_SIZE,
    Check,
    CheckDecision,
    decide_check,
    decisions_to_verify,
    extend_check,
    find_check,
    start_check,
)
from integrations.fiftyone.review.check_progress import DECISIONS_BETWEEN_LOOKS, CheckProgress, check_progress
from integrations.fiftyone.review.class_matrix import ClassMatrix, class_matrix
from integrations.fiftyone.review.decide import (
    accept,
    apply_corrections,
    confirm,
    dismiss,
    label_of,
    note_label_by_hand,
    relabel,
    remove,
    unsure,
)
from integrations.fiftyone.review.export import EXPORT_COLUMNS, EXPORT_FORMATS, corrections, export_corrections
from integrations.fiftyone.review.follow import back_to_model, use_decisions
from integrations.fiftyone.review.import_decisions import ImportedDecisions, import_decisions
from integrations.fiftyone.review.log import Decided, corrected_since, decisions, this_user
from integrations.fiftyone.review.nearest import NearestPictures, NearPicture, nearest_pictures
from integrations.fiftyone.review.pairs import ClassPair, SheetPicture, class_pairs, contact_sheet
from integrations.fiftyone.review.plan import ReviewPlan, YieldBin, review_plan
from integrations.fiftyone.review.progress import ReviewProgress, keep_progress, kept_progress, review_progress
from integrations.fiftyone.review.queue import QueueFilter, next_to_review, upcoming
from integrations.fiftyone.review.suspects import Suspects, suspects_by_class
from integrations.fiftyone.review.team import (
    Agreement,
    Team,
    agreement,
    give_second_opinion,
    second_opinions,
)
from integrations.fiftyone.review.undo import Undone, undo_last

__all__ = [
    "CHECK_SIZE",
    "DECISIONS_BETWEEN_LOOKS",
    "EXPORT_COLUMNS",
    "EXPORT_FORMATS",
    "Agreement",
    "Check",
    "CheckDecision",
    "CheckProgress",
    "ClassMatrix",
    "ClassPair",
    "Decided",
    "ImportedDecisions",
    "NearPicture",
    "NearestPictures",
    "Past",
    "QueueFilter",
    "ReviewPlan",
    "ReviewProgress",
    "SampleCard",
    "SheetPicture",
    "StandingDecision",
    "Suspects",
    "Team",
    "Undone",
    "YieldBin",
    "accept",
    "agreement",
    "apply_corrections",
    "back_to_model",
    "check_progress",
    "class_matrix",
    "class_pairs",
    "confirm",
    "contact_sheet",
    "corrected_since",
    "corrections",
    "decide_check",
    "decisions",
    "decisions_to_verify",
    "dismiss",
    "export_corrections",
    "extend_check",
    "find_check",
    "give_second_opinion",
    "import_decisions",
    "keep_progress",
    "kept_progress",
    "label_of",
    "nearest_pictures",
    "next_to_review",
    "note_label_by_hand",
    "relabel",
    "remove",
    "review_plan",
    "review_progress",
    "sample_cards",
    "second_opinions",
    "start_check",
    "suspects_by_class",
    "this_user",
    "undo_last",
    "unsure",
    "upcoming",
    "use_decisions",
]
