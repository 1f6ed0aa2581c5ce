"""The options of `run` that are no settings of an audit: what is audited, where it goes, and what it is judged by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from integrations.cli.options import ADVANCED, COMMON, FLAGS
from integrations.sources.split_names import LAYOUTS
from reports.limit import BASES

RUN_EXAMPLES = """Examples:

influence-audit run pictures/
influence-audit run pictures/labels.csv --label-column breed --dry-run
influence-audit run pictures/ --weights bundled --no-fiftyone -o audit --open
influence-audit run pictures/ -q --history history --fail-new 20 --fail-above 0.05 --junit audit.xml

Exit codes: 0 done, 1 failed, 2 a mistake in what was asked, 3 above --fail-above, 4 some of several audits failed,
5 --fail-on found something, 6 another condition is not met, 130 interrupted."""

SourceArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="What to audit: a FiftyOne dataset, a folder with one folder per class, a table of labels (.csv, "
        ".tsv, .jsonl, .json, .parquet) or its folder, COCO's JSON, a dataset saved to disk, a Hugging Face "
        "dataset such as Maysee/tiny-imagenet, or 'digits'. The prefixes fiftyone:, hf:, folder:, table:, coco: "
        "and parquet: say which is meant. Several sources are audited one after the other.",
        metavar="SOURCE",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Show what the audit would do, and about how long it would take; write nothing.",
        rich_help_panel=COMMON,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        help="Name of the FiftyOne dataset that another source is imported into; default: made from its own name.",
        rich_help_panel=COMMON,
    ),
]
View = Annotated[
    str | None, typer.Option(help="A saved view of the FiftyOne dataset to audit.", rich_help_panel=COMMON)
]
LabelField = Annotated[
    list[str] | None,
    typer.Option(
        help="Field with the labels; default: ground_truth. If repeated, each field is audited, under the "
        "audit key AUDIT_KEY_FIELD. With --annotators, the label fields or columns of all annotators: a,b,c.",
        rich_help_panel=COMMON,
    ),
]
Annotators = Annotated[
    bool,
    typer.Option(
        "--annotators",
        help="The label fields or columns are those of several annotators of the same samples: estimate how good "
        "each one is, and audit their consensus.",
        rich_help_panel=ADVANCED,
    ),
]
KeepLabels = Annotated[
    list[str] | None,
    typer.Option(
        help="Classes to audit, by name or by number in the source: 90,100. May be repeated, for names that "
        "contain a comma.",
        rich_help_panel=COMMON,
    ),
]
ImageColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of a table or Hugging Face source with the images or their paths; default: found by what the "
        "columns hold.",
        rich_help_panel=COMMON,
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of a table or Hugging Face source with the labels; default: found by names and values.",
        rich_help_panel=COMMON,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the images that a table names; default: looked for beside the table.",
        rich_help_panel=COMMON,
    ),
]
Layout = Annotated[
    str | None,
    typer.Option(
        help="How to read an image folder: 'folders' if its outer folders are the classes, 'splits' if they are "
        "splits that hold the class folders; default: decided by what they hold.",
        autocompletion=lambda incomplete: [name for name in LAYOUTS if name.startswith(incomplete)],
        rich_help_panel=ADVANCED,
    ),
]
Embeddings = Annotated[
    list[str] | None,
    typer.Option(
        help="Embeddings of your own, in place of a backbone's: a vector field or a brain similarity run of the "
        "FiftyOne dataset, or FILE.npy or FILE.parquet with a row for each sample of the source, in its order or "
        "named in a column 'id'. May be repeated: several are used together.",
        rich_help_panel=COMMON,
    ),
]
Predictions = Annotated[
    str | None,
    typer.Option(
        help="Class predictions of a model of your own that was not trained on the sample, used beside the "
        "embeddings, or alone with --backbone none: a Classification field with logits, a field with vectors of "
        "probabilities, or FILE.npy (a column for each class, sorted) or FILE.parquet (columns named as the "
        "classes).",
        rich_help_panel=COMMON,
    ),
]
AuditKey = Annotated[
    str,
    typer.Option(help="Name under which FiftyOne keeps this audit's fields.", rich_help_panel=COMMON),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the summary as JSON to standard output, and everything else to standard error.",
        rich_help_panel=COMMON,
    ),
]
FailAbove = Annotated[
    float | None,
    typer.Option(
        help="Exit with code 3 if the share of wrong labels is above this; --fail-basis says which share.",
        rich_help_panel=FLAGS,
    ),
]
FailBasis = Annotated[
    str,
    typer.Option(
        help="What --fail-above judges: 'low', the low end of the range, which is sure under every model of the "
        "labels; 'estimate', the number that the noise model expects, which may be far off; 'verified', the number "
        "that decisions on drawn pictures give.",
        rich_help_panel=FLAGS,
        autocompletion=lambda: list(BASES),
    ),
]
FailOn = Annotated[
    str | None,
    typer.Option(
        help="Exit with code 5 if there are findings of these kinds: all, or names with commas between, such as "
        "leaks,duplicates,off-topic,bad-pictures,dataset,near-leak.",
        rich_help_panel=FLAGS,
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        help="Embed and train on Dask workers: local:N for N processes on this machine, or a scheduler's address, "
        "such as tcp://host:8786. Its workers must see the images and the cache folder under the same paths.",
        rich_help_panel=ADVANCED,
    ),
]
NoFiftyone = Annotated[
    bool,
    typer.Option(
        "--no-fiftyone",
        help="Audit without FiftyOne: only the result and its report are written, and no database is needed.",
        rich_help_panel=COMMON,
    ),
]
OpenReport = Annotated[
    bool, typer.Option("--open", help="Open the report in a browser when the audit is done.", rich_help_panel=COMMON)
]
FailNew = Annotated[
    int | None,
    typer.Option(
        help="Exit with code 6 if more flags than this are new: flags that the former result does not have. That is "
        "--since, or else the last run of --history, or else the result that this audit replaces.",
        rich_help_panel=FLAGS,
    ),
]
FailUnreadable = Annotated[
    float | None,
    typer.Option(help="Exit with code 6 if a larger share of the images is unreadable.", rich_help_panel=FLAGS),
]
FailCautions = Annotated[
    bool,
    typer.Option(
        "--fail-cautions",
        help="Exit with code 6 if the audit has a reason to doubt its own numbers.",
        rich_help_panel=FLAGS,
    ),
]
Since = Annotated[
    Path | None,
    typer.Option(help="The folder of a former result, for --fail-new.", rich_help_panel=FLAGS),
]
HistoryFolder = Annotated[
    Path | None,
    typer.Option(
        help="A folder that keeps a line a run and the last two results of each audit, for --fail-new, `compare` and "
        "the trend in the report.",
        rich_help_panel=FLAGS,
    ),
]
Junit = Annotated[
    Path | None,
    typer.Option(help="Write the conditions as JUnit XML, a test case each, into this file.", rich_help_panel=FLAGS),
]
Conditions = Annotated[
    Path | None,
    typer.Option(help="Write the conditions as JSON into this file (docs/ci.md).", rich_help_panel=FLAGS),
]
