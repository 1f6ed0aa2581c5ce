"""The subcommands that audit: `run` and `demo`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit import __version__
from audit.config import RECIPES, SettingValue
from audit.errors import InputError
from audit.extras import require, require_backbone, require_engine
from audit.findings.registry import check_looked_for
from integrations.cli.early_checks import check_computing, check_environment, check_former, with_flags
from integrations.cli.exit_codes import ExitCode, say, standard_output_for_json
from integrations.cli.first_line import FirstLine
from integrations.cli.interruption import Interruption
from integrations.cli.job import INDEX_FILE, AuditJob, jobs_of
from integrations.cli.options import ADVANCED, COMMON, Output, Quiet, Verbose, takes_settings
from integrations.cli.options_file import layer_of, option_kinds, origin, read_options_file
from integrations.cli.outputs import check_page, open_page
from integrations.cli.root import cli, quieten_fiftyone
from integrations.cli.run_options import (
    RUN_EXAMPLES,
    Annotators,
    AuditKey,
    Conditions,
    Dataset,
    DryRun,
    Embeddings,
    FailAbove,
    FailBasis,
    FailCautions,
    FailNew,
    FailOn,
    FailUnreadable,
    HistoryFolder,
    ImageColumn,
    Images,
    Json,
    Junit,
    KeepLabels,
    LabelColumn,
    LabelField,
    Layout,
    NoFiftyone,
    OpenReport,
    Predictions,
    Scheduler,
    Since,
    SourceArgument,
    View,
)
from integrations.fiftyone.database import check_server, connect, require_fiftyone
from reports.limit import Limit

if TYPE_CHECKING:
    from integrations.cli.terminal import Verbosity

DEMO_DATASET = "influence-audit-demo"
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


Config = Annotated[
    Path | None,
    typer.Option(
        help="A TOML file with these options; `influence-audit config` prints one. Environment variables "
        "INFLUENCE_AUDIT_OPTION override it, and flags override both.",
        callback=_read_config,
        is_eager=True,
        rich_help_panel=COMMON,
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        help="Settings that belong together. 'original' repeats the recipe that this project started from: Adam "
        "without L2, a tenth of the training labels made wrong where they help most, trusted validation labels. "
        "Settings that are given as well override it.",
        callback=_read_recipe,
        is_eager=True,
        rich_help_panel=ADVANCED,
        autocompletion=lambda: list(RECIPES),
    ),
]


@cli.command(epilog=RUN_EXAMPLES)
@takes_settings()
def run(
    context: typer.Context,
    source: SourceArgument = None,
    output: Output = None,
    label_column: LabelColumn = None,
    label_field: LabelField = None,
    images: Images = None,
    image_column: ImageColumn = None,
    keep_labels: KeepLabels = None,
    no_fiftyone: NoFiftyone = False,
    dataset: Dataset = None,
    view: View = None,
    audit_key: AuditKey = "audit",
    embeddings: Embeddings = None,
    predictions: Predictions = None,
    config: Config = None,
    dry_run: DryRun = False,
    open: OpenReport = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    fail_above: FailAbove = None,
    fail_basis: FailBasis = "low",
    fail_on: FailOn = None,
    fail_new: FailNew = None,
    fail_unreadable: FailUnreadable = None,
    fail_cautions: FailCautions = False,
    since: Since = None,
    history: HistoryFolder = None,
    junit: Junit = None,
    conditions: Conditions = None,
    recipe: Recipe = None,
    layout: Layout = None,
    annotators: Annotators = False,
    scheduler: Scheduler = None,
    *,
    settings: dict[str, SettingValue],
) -> None:
    """Audit the labels of SOURCE: scores and flags into FiftyOne, and an HTML report."""
    options: dict[str, object] = {"source": source, "dataset": dataset, "view": view, "label_field": label_field}
    options |= {"keep_labels": keep_labels, "image_column": image_column, "label_column": label_column}
    options |= {"images": images, "layout": layout, "no_fiftyone": no_fiftyone, "audit_key": audit_key}
    options |= {"embeddings": embeddings, "predictions": predictions, "annotators": annotators}
    check_variables(context)
    jobs = _jobs(context, config, options, settings, output)
    limit = Limit.of(
        fail_above, fail_basis, fail_on, new_flags=fail_new, unreadable=fail_unreadable, cautions=fail_cautions
    )
    _check_judged(limit, jobs)
    check_former(since)
    quieten_fiftyone()
    from integrations.cli.terminal import Verbosity

    order = Order(Verbosity(quiet, verbose, json), dry_run, scheduler, open, (since, history, junit, conditions))
    with standard_output_for_json(json):
        code = _carry_out(jobs, order, limit, context.obj)
    raise typer.Exit(code)


@cli.command()
@takes_settings("seed", "inject", "weights", "device", "cache_dir", inject=0.1)
def demo(
    context: typer.Context,
    output: Output = None,
    no_fiftyone: NoFiftyone = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    *,
    settings: dict[str, SettingValue],
) -> None:
    """Audit scikit-learn's handwritten digits with a tenth of the labels made wrong on purpose. Needs no network."""
    options: dict[str, object] = {"source": "digits", "dataset": DEMO_DATASET, "audit_key": "audit"}
    options |= {"keep_labels": None, "no_fiftyone": no_fiftyone}
    options |= dict.fromkeys(("view", "label_field", "image_column", "label_column", "images", "layout"))
    check_variables(context)
    jobs = _jobs(context, None, options, settings, output)
    quieten_fiftyone()
    jobs[0].refuse_others_files()
    if not no_fiftyone:
        require_fiftyone()
        check_server()
    if not quiet:
        say(f"influence-audit {__version__}: starting the demo")
    if not no_fiftyone:
        connect()
    from integrations.cli.batch import audit_one
    from integrations.cli.terminal import Verbosity

    verbosity = Verbosity(quiet, verbose)
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
            for job in jobs:
                check_computing(job.config, job.uses_backbone)
                require_engine(job.config.engine)
                if job.uses_backbone:
                    require_backbone(job.config.backbone)
        except InputError as error:
            raise InputError(_in_words_of_the_user(error, context, config, own, settings)) from None
    return [dataclasses.replace(jobs[0], folder=output)] if len(jobs) == 1 else jobs


def _in_words_of_the_user(
    error: InputError,
    context: typer.Context,
    config: Path | None,
    own: Mapping[str, object],
    settings: Mapping[str, object],
) -> str:
    """A mistake in a setting by the name that the user gave it: a flag's, a variable's, or a file's."""
    text = str(error)
    if error.setting is None:
        by_flag = any(layer_of(context, name) == "commandline" for name in settings)
        return with_flags(text, settings) if by_flag else text
    if error.setting in own:
        return f"{text} (in an [[audit]] of {config})"
    if layer_of(context, error.setting) in ("commandline", "default"):
        text = with_flags(text, settings)
    return f"{text}{origin(context, error.setting)}"


def _check_judged(limit: Limit, jobs: list[AuditJob]) -> None:
    """Refuse a limit that the jobs cannot be judged by.

    Raises:
        InputError: if a job makes labels wrong on purpose, or does not look for what it is to fail on.
    """
    for job in jobs:
        check_looked_for(limit.kinds, job.config.findings)
    asked = "--fail-above" if limit.share is not None else "--fail-new" if limit.new_flags is not None else None
    if asked is not None and any(job.config.inject for job in jobs):
        raise InputError(f"{asked} judges your own labels, and --inject makes some of them wrong; use only one of them")


def check_variables(context: typer.Context) -> None:
    """Refuse environment variables that are misspelt options of a command, and note those that mean nothing.

    Raises:
        InputError: naming the variable.
    """
    options = {parameter.name for parameter in context.command.params if parameter.name is not None}
    for name in check_environment({*options, *option_kinds(run)}):
        if not context.params.get("quiet"):
            say(f"note: the environment variable {name} is no option of influence-audit, and changes nothing")


def _watch(interruption: Interruption, jobs: list[AuditJob]) -> None:
    """Say where files are written, so that an interruption leaves no half of one."""
    from audit.images.embedding import default_cache_dir

    for job in jobs:
        interruption.folders |= {job.folder or job.root, Path(job.config.cache_dir or default_cache_dir())}


def _name_database(verbosity: Verbosity) -> None:
    """Say which database the audit writes into, and warn where it is not the one that the settings name."""
    from integrations.fiftyone.used_database import used_database

    used = used_database()
    if verbosity.quiet:
        return
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


@dataclass(frozen=True)
class Order:
    """How a call is to be carried out.

    Attributes:
        verbosity: how much is shown.
        dry_run: whether nothing is to be done.
        scheduler: of Dask; None to compute in this process.
        open: whether the report is opened.
        places: the former result, the history, and the files for the conditions, as in `Judging`.
    """

    verbosity: Verbosity
    dry_run: bool
    scheduler: str | None
    open: bool
    places: tuple[Path | None, Path | None, Path | None, Path | None]


def _carry_out(jobs: list[AuditJob], order: Order, limit: Limit, interruption: Interruption) -> int:
    """Do what was ordered, or say what would be done; the exit code."""
    verbosity = order.verbosity
    _check_current_folder()
    if order.scheduler is not None:
        require("dask", "--scheduler")
    for job in jobs:
        job.check_given()
        job.refuse_others_files()
    if len(jobs) > 1:
        check_page(jobs[0].root / INDEX_FILE)
        if order.places[0] is not None:
            raise InputError(f"--since names one former result, and {len(jobs)} audits are asked for; use --history")
    doing = "planning the" if order.dry_run else "starting the"
    begin = FirstLine(f"{doing} audit of {', '.join(dict.fromkeys(job.source for job in jobs))}", verbosity.quiet)
    if not all(job.uses_backbone and not job.predictions for job in jobs):
        begin()  # a table is read to know whether it has images
    jobs = [job.without_backbone() for job in jobs]
    in_fiftyone = any(job.in_fiftyone and job.table_without_images() is None for job in jobs)
    if in_fiftyone and not order.dry_run:
        require_fiftyone()
        check_server()
    begin()
    if order.dry_run:
        from integrations.cli.dry_run import show_plans

        show_plans(jobs, verbosity)
        return ExitCode.DONE
    from integrations.cli.judging import Judging

    judging = Judging(limit, *order.places)
    judging.check()
    if in_fiftyone:
        connect()  # before seconds of imports, and before anything is computed
        _name_database(verbosity)
    from integrations.cli.batch import audit_all, audit_one

    _watch(interruption, jobs)
    if len(jobs) > 1:
        interruption.page = jobs[0].root / INDEX_FILE
        code = audit_all(jobs, verbosity, judging, order.scheduler)
        page = jobs[0].root / INDEX_FILE
    else:
        done = audit_one(jobs[0], verbosity, judging, order.scheduler)
        code, page = done.code, done.report
    if order.open:
        open_page(page)
    return code
