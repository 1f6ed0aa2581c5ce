"""The subcommands that audit: `run` and `demo`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit.config import RECIPES, SettingValue
from audit.errors import InputError
from audit.extras import require, require_backbone, require_engine
from audit.findings.registry import check_looked_for
from integrations.cli.exit_codes import ExitCode, say, standard_output_for_json
from integrations.cli.interruption import Interruption
from integrations.cli.job import INDEX_FILE, AuditJob, jobs_of
from integrations.cli.options import MEASURING, WHERE, Output, Quiet, Verbose, takes_settings
from integrations.cli.options_file import layer_of, origin, read_options_file
from integrations.cli.outputs import check_page
from integrations.cli.root import cli, quieten_fiftyone
from integrations.fiftyone.database import connect
from integrations.sources.split_names import LAYOUTS
from reports.limit import BASES, Limit

if TYPE_CHECKING:
    from integrations.cli.terminal import Verbosity

DEMO_DATASET = "influence-audit-demo"
NO_FIFTYONE = typer.Option(
    "--no-fiftyone",
    help="Audit without FiftyOne: only the result and its report are written, and no database is needed.",
    rich_help_panel=WHERE,
)
GIVEN = ("environment", "commandline")
"""The layers above the file."""


def _read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Put the file's options between the defaults and the environment."""
    if path is not None and not context.resilient_parsing:
        context.default_map = {**(context.default_map or {}), **read_options_file(path, run).options}
    return path


def _read_recipe(context: typer.Context, name: str | None) -> str | None:
    """Put the recipe's settings between the defaults and the file, which may have named it."""
    if name is not None:
        if name not in RECIPES:
            raise InputError(f"recipe is {name!r}; it takes {' or '.join(RECIPES)}")
        context.default_map = {**RECIPES[name], **(context.default_map or {})}
    return name


@cli.command()
@takes_settings()
def run(
    context: typer.Context,
    source: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to audit: a FiftyOne dataset, a folder with one folder per class, a table of labels (.csv, "
            ".tsv, .jsonl, .json, .parquet) or its folder, COCO's JSON, a dataset saved to disk, a Hugging Face "
            "dataset such as Maysee/tiny-imagenet, or 'digits'. The prefixes fiftyone:, hf:, folder:, table:, coco: "
            "and parquet: say which is meant. Several sources are audited one after the other.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file with these options; `influence-audit config` prints one. Environment variables "
            "INFLUENCE_AUDIT_OPTION override it, and flags override both.",
            callback=_read_config,
            is_eager=True,
            rich_help_panel=WHERE,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Settings that belong together. 'original' repeats the recipe that this project started from: Adam "
            "without L2, a tenth of the training labels made wrong where they help most, trusted validation labels. "
            "Settings that are given as well override it.",
            callback=_read_recipe,
            is_eager=True,
            rich_help_panel=MEASURING,
            autocompletion=lambda: list(RECIPES),
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show what the audit would do, and about how long it would take; write nothing.",
            rich_help_panel=WHERE,
        ),
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Name of the FiftyOne dataset that another source is imported into; default: made from its own name.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="A saved view of the FiftyOne dataset to audit.", rich_help_panel=WHERE)
    ] = None,
    label_field: Annotated[
        list[str] | None,
        typer.Option(
            help="Field with the labels; default: ground_truth. If repeated, each field is audited, under the "
            "audit key AUDIT_KEY_FIELD. With --annotators, the label fields or columns of all annotators: a,b,c.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    annotators: Annotated[
        bool,
        typer.Option(
            "--annotators",
            help="The label fields or columns are those of several annotators of the same samples: estimate how good "
            "each one is, and audit their consensus.",
            rich_help_panel=WHERE,
        ),
    ] = False,
    keep_labels: Annotated[
        list[str] | None,
        typer.Option(
            help="Classes to audit, by name or by number in the source: 90,100. May be repeated, for names that "
            "contain a comma.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    image_column: Annotated[
        str | None,
        typer.Option(
            help="Column of a table or Hugging Face source with the images or their paths; default: found by what the "
            "columns hold.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            help="Column of a table or Hugging Face source with the labels; default: found by names and values.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the images that a table names; default: looked for beside the table.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="How to read an image folder: 'folders' if its outer folders are the classes, 'splits' if they are "
            "splits that hold the class folders; default: decided by what they hold.",
            autocompletion=lambda incomplete: [name for name in LAYOUTS if name.startswith(incomplete)],
            rich_help_panel=WHERE,
        ),
    ] = None,
    embeddings: Annotated[
        list[str] | None,
        typer.Option(
            help="Embeddings of your own, in place of a backbone's: a vector field or a brain similarity run of the "
            "FiftyOne dataset, or FILE.npy or FILE.parquet with a row for each sample of the source, in its order or "
            "named in a column 'id'. May be repeated: several are used together.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    predictions: Annotated[
        str | None,
        typer.Option(
            help="Class predictions of a model of your own that was not trained on the sample, used beside the "
            "embeddings, or alone with --backbone none: a Classification field with logits, a field with vectors of "
            "probabilities, or FILE.npy (a column for each class, sorted) or FILE.parquet (columns named as the "
            "classes).",
            rich_help_panel=WHERE,
        ),
    ] = None,
    output: Output = None,
    no_fiftyone: Annotated[bool, NO_FIFTYONE] = False,
    audit_key: Annotated[
        str,
        typer.Option(help="Name under which FiftyOne keeps this audit's fields.", rich_help_panel=WHERE),
    ] = "audit",
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print the summary as JSON to standard output, and everything else to standard error.",
            rich_help_panel=WHERE,
        ),
    ] = False,
    fail_above: Annotated[
        float | None,
        typer.Option(
            help="Exit with code 3 if the share of wrong labels is above this; --fail-basis says which share.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    fail_basis: Annotated[
        str,
        typer.Option(
            help="What --fail-above judges: 'low', the low end of the range, which is sure under every model of the "
            "labels; 'estimate', the number that the noise model expects, which may be far off; 'verified', the number "
            "that decisions on drawn pictures give.",
            rich_help_panel=WHERE,
            autocompletion=lambda: list(BASES),
        ),
    ] = "low",
    fail_on: Annotated[
        str | None,
        typer.Option(
            help="Exit with code 5 if there are findings of these kinds: all, or names with commas between, such as "
            "leaks,duplicates,off-topic,bad-pictures,dataset,near-leak.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Embed and train on Dask workers: local:N for N processes on this machine, or a scheduler's address, "
            "such as tcp://host:8786. Its workers must see the images and the cache folder under the same paths.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    *,
    settings: dict[str, SettingValue],
) -> None:
    """Audit the labels of SOURCE: scores and flags into FiftyOne, and an HTML report."""
    options: dict[str, object] = {"source": source, "dataset": dataset, "view": view, "label_field": label_field}
    options |= {"keep_labels": keep_labels, "image_column": image_column, "label_column": label_column}
    options |= {"images": images, "layout": layout, "no_fiftyone": no_fiftyone, "audit_key": audit_key}
    options |= {"embeddings": embeddings, "predictions": predictions, "annotators": annotators}
    jobs = _jobs(context, config, options, settings, output)
    limit = _limit(fail_above, fail_basis, fail_on, jobs)
    quieten_fiftyone()
    from integrations.cli.terminal import Verbosity

    verbosity = Verbosity(quiet, verbose, json)
    with standard_output_for_json(json):
        code = _carry_out(jobs, verbosity, limit, dry_run, scheduler, context.obj)
    raise typer.Exit(code)


@cli.command()
@takes_settings("seed", "inject", "weights", "device", "cache_dir", inject=0.1)
def demo(
    context: typer.Context,
    output: Output = None,
    no_fiftyone: Annotated[bool, NO_FIFTYONE] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    *,
    settings: dict[str, SettingValue],
) -> None:
    """Audit scikit-learn's handwritten digits with a tenth of the labels made wrong on purpose. Needs no network."""
    options: dict[str, object] = {"source": "digits", "dataset": DEMO_DATASET, "audit_key": "audit"}
    options |= {"keep_labels": None, "no_fiftyone": no_fiftyone}
    options |= dict.fromkeys(("view", "label_field", "image_column", "label_column", "images", "layout"))
    jobs = _jobs(context, None, options, settings, output)
    quieten_fiftyone()
    if not no_fiftyone:
        connect()
    from integrations.cli.batch import audit_one
    from integrations.cli.terminal import Verbosity

    verbosity = Verbosity(quiet, verbose)
    jobs[0].refuse_others_files()
    if not no_fiftyone:
        _name_database(verbosity)
    _watch(context.obj, jobs)
    audit_one(jobs[0], verbosity)


def _jobs(
    context: typer.Context,
    config: Path | None,
    options: Mapping[str, object],
    settings: dict[str, SettingValue],
    output: Path | None,
) -> list[AuditJob]:
    """What is asked for in all layers together."""
    tables: list[dict[str, Any]] = read_options_file(config, run).audits if config is not None else []
    if tables and layer_of(context, "source") in GIVEN:
        raise InputError(f"{config} names sources in [[audit]], and so does the command; name them in one place only")
    jobs = []
    for table in tables or [{}]:
        own = {name: value for name, value in table.items() if layer_of(context, name) not in GIVEN}
        try:
            jobs += jobs_of(
                {name: own.get(name, value) for name, value in options.items()},
                {name: own.get(name, value) for name, value in settings.items()},
                output,
            )
        except InputError as error:
            if error.setting is None:
                raise
            where = f" (in an [[audit]] of {config})" if error.setting in own else origin(context, error.setting)
            raise InputError(f"{error}{where}") from None
    return [dataclasses.replace(jobs[0], folder=output)] if len(jobs) == 1 else jobs


def _limit(fail_above: float | None, fail_basis: str, fail_on: str | None, jobs: list[AuditJob]) -> Limit:
    """What is not accepted.

    Raises:
        InputError: if a job makes labels wrong on purpose, or does not look for what it is to fail on.
    """
    limit = Limit.of(fail_above, fail_basis, fail_on)
    for job in jobs:
        check_looked_for(limit.kinds, job.config.findings)
    if fail_above is not None and any(job.config.inject for job in jobs):
        raise InputError(
            "--fail-above judges your own labels, and --inject makes some of them wrong; use only one of them"
        )
    return limit


def _watch(interruption: Interruption, jobs: list[AuditJob]) -> None:
    """Say where files are written, so that an interruption leaves no half of one."""
    from audit.images.embedding import default_cache_dir

    for job in jobs:
        interruption.folders |= {job.folder or job.root, Path(job.config.cache_dir or default_cache_dir())}


def _name_database(verbosity: Verbosity) -> None:
    """Say which database the audit writes into, and warn where it is not the one that the settings name."""
    from integrations.fiftyone.used_database import used_database

    used = used_database()
    if not verbosity.quiet:
        say(f"database {used.text}")
    if used.warning is not None:
        say(f"note: {used.warning}")


def _check_current_folder() -> None:
    """Refuse to work in a folder that was removed meanwhile: relative paths lead nowhere, and no program starts there.

    Raises:
        InputError: if there is no current folder.
    """
    try:
        os.getcwd()
    except OSError:
        raise InputError("the current folder was removed; change to one that exists") from None


def _carry_out(
    jobs: list[AuditJob],
    verbosity: Verbosity,
    limit: Limit,
    dry_run: bool,
    scheduler: str | None,
    interruption: Interruption,
) -> int:
    """Do what was ordered, or say what would be done; the exit code."""
    _check_current_folder()
    if scheduler is not None:
        require("dask", "--scheduler")
    for job in jobs:
        require_engine(job.config.engine)
        if job.uses_backbone:
            require_backbone(job.config.backbone)
        job.check_given()
        job.refuse_others_files()
    if len(jobs) > 1:
        check_page(jobs[0].root / INDEX_FILE)
    without_images = [job.table_without_images() is not None for job in jobs]
    if dry_run:
        from integrations.cli.dry_run import show_plans

        show_plans(jobs, verbosity)
        return ExitCode.DONE
    if any(job.in_fiftyone and not table for job, table in zip(jobs, without_images, strict=True)):
        connect()  # before seconds of imports, and before anything is computed
        _name_database(verbosity)
    from integrations.cli.batch import audit_all, audit_one, exit_code_of_audit

    _watch(interruption, jobs)
    if len(jobs) > 1:
        interruption.page = jobs[0].root / INDEX_FILE
        return audit_all(jobs, verbosity, limit, scheduler)
    return exit_code_of_audit(audit_one(jobs[0], verbosity, scheduler), limit)
