"""The `influence-audit` command."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audit import __version__
from audit.config import AuditConfig, help_of
from audit.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from audit.result import AuditResult
    from integrations.benchmark import Measurement
    from integrations.sources import Source

DEMO_DATASET = "influence-audit-demo"
RESULTS_FOLDER = "audit-results"
REPORT_FILE = "report.html"
MARKDOWN_FILE = "summary.md"
CLASSES_IN_SUMMARY = 10

cli = typer.Typer(
    name="influence-audit",
    help="Find wrong labels in image datasets, review them in FiftyOne, and report how far to trust the flags.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=True,
)


def _option(setting: str, *names: str, panel: str) -> Any:
    return typer.Option(*names, help=help_of(setting), rich_help_panel=panel, show_default=True)


_DEFAULT = AuditConfig()
_WHERE = "Where labels come from and results go"
_MEASURING = "Measuring the audit"
_BACKBONE = "Backbone"
_HEAD = "Head, influence and flags"

Seed = Annotated[int, _option("seed", "--seed", panel=_MEASURING)]
Inject = Annotated[float, _option("inject", "--inject", panel=_MEASURING)]
InjectStrategy = Annotated[str, _option("inject_strategy", "--inject-strategy", panel=_MEASURING)]
InjectInto = Annotated[str, _option("inject_into", "--inject-into", panel=_MEASURING)]
TrainSize = Annotated[float, _option("train_size", "--train-size", panel=_MEASURING)]
ValidationSize = Annotated[float, _option("validation_size", "--validation-size", panel=_MEASURING)]
TestSize = Annotated[float, _option("test_size", "--test-size", panel=_MEASURING)]
UseSplits = Annotated[bool, _option("use_splits", "--use-splits", panel=_MEASURING)]
BackboneName = Annotated[str, _option("backbone", "--backbone", panel=_BACKBONE)]
Weights = Annotated[str, _option("weights", "--weights", panel=_BACKBONE)]
ImageSize = Annotated[int | None, _option("image_size", "--image-size", panel=_BACKBONE)]
Device = Annotated[str, _option("device", "--device", panel=_BACKBONE)]
BatchSize = Annotated[int, _option("batch_size", "--batch-size", panel=_BACKBONE)]
CacheDir = Annotated[str | None, _option("cache_dir", "--cache-dir", panel=_BACKBONE)]
Trainer = Annotated[str, _option("trainer", "--trainer", panel=_HEAD)]
L2 = Annotated[float | None, _option("l2", "--l2", panel=_HEAD)]
Damping = Annotated[float, _option("damping", "--damping", panel=_HEAD)]
Epochs = Annotated[int, _option("epochs", "--epochs", panel=_HEAD)]
LearningRate = Annotated[float, _option("learning_rate", "--learning-rate", panel=_HEAD)]
HeadBatchSize = Annotated[int, _option("head_batch_size", "--head-batch-size", panel=_HEAD)]
ValidationTrusted = Annotated[bool, _option("validation_trusted", "--validation-trusted", panel=_HEAD)]
Engine = Annotated[str, _option("engine", "--engine", panel=_HEAD)]
Solver = Annotated[str, _option("solver", "--solver", panel=_HEAD)]
Threshold = Annotated[float | None, _option("threshold", "--threshold", panel=_HEAD)]
TargetPrecision = Annotated[float | None, _option("target_precision", "--target-precision", panel=_HEAD)]
MaxReview = Annotated[int | None, _option("max_review", "--max-review", panel=_HEAD)]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder of the result and its report; default: audit-results/DATASET/AUDIT_KEY.",
        rich_help_panel=_WHERE,
    ),
]
AuditKey = Annotated[
    str,
    typer.Option("--audit-key", help="Name under which FiftyOne keeps this audit's fields.", rich_help_panel=_WHERE),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the summary as JSON on standard output, all else on standard error.",
        rich_help_panel=_WHERE,
    ),
]
FailAbove = Annotated[
    float | None,
    typer.Option(
        help="Exit with code 3 when the estimated share of wrong labels is above this.", rich_help_panel=_WHERE
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show notes and the summary only.", rich_help_panel=_WHERE)]


@cli.command()
def run(
    source: Annotated[
        str,
        typer.Argument(
            help="A FiftyOne dataset, a folder with one folder a class, parquet files, a dataset saved to disk, a "
            "Hugging Face name such as Maysee/tiny-imagenet, or 'digits'. Prefixes fiftyone:, hf:, folder: and "
            "parquet: take it at its word.",
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Name of the FiftyOne dataset that other sources become; default: from theirs.", rich_help_panel=_WHERE
        ),
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="A saved view of the FiftyOne dataset to audit.", rich_help_panel=_WHERE)
    ] = None,
    label_field: Annotated[
        str | None,
        typer.Option(help="Field with the labels; default: ground_truth.", rich_help_panel=_WHERE),
    ] = None,
    keep_labels: Annotated[
        str | None,
        typer.Option(help="Classes to keep, by name or by their number in the source: 90,100.", rich_help_panel=_WHERE),
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Image column of a Hugging Face or parquet source.", rich_help_panel=_WHERE)
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Label column of a Hugging Face or parquet source.", rich_help_panel=_WHERE)
    ] = None,
    output: Output = None,
    audit_key: AuditKey = "audit",
    as_json: AsJson = False,
    fail_above: FailAbove = None,
    quiet: Quiet = False,
    seed: Seed = _DEFAULT.seed,
    inject: Inject = _DEFAULT.inject,
    inject_strategy: InjectStrategy = _DEFAULT.inject_strategy,
    inject_into: InjectInto = _DEFAULT.inject_into,
    train_size: TrainSize = _DEFAULT.train_size,
    validation_size: ValidationSize = _DEFAULT.validation_size,
    test_size: TestSize = _DEFAULT.test_size,
    use_splits: UseSplits = _DEFAULT.use_splits,
    backbone: BackboneName = _DEFAULT.backbone,
    weights: Weights = _DEFAULT.weights,
    image_size: ImageSize = _DEFAULT.image_size,
    device: Device = _DEFAULT.device,
    batch_size: BatchSize = _DEFAULT.batch_size,
    cache_dir: CacheDir = _DEFAULT.cache_dir,
    trainer: Trainer = _DEFAULT.trainer,
    l2: L2 = _DEFAULT.l2,
    damping: Damping = _DEFAULT.damping,
    epochs: Epochs = _DEFAULT.epochs,
    learning_rate: LearningRate = _DEFAULT.learning_rate,
    head_batch_size: HeadBatchSize = _DEFAULT.head_batch_size,
    validation_trusted: ValidationTrusted = _DEFAULT.validation_trusted,
    engine: Engine = _DEFAULT.engine,
    solver: Solver = _DEFAULT.solver,
    threshold: Threshold = _DEFAULT.threshold,
    target_precision: TargetPrecision = _DEFAULT.target_precision,
    max_review: MaxReview = _DEFAULT.max_review,
) -> None:
    """Audit the labels of SOURCE: scores and flags into FiftyOne, and an HTML report."""
    with _one_line_errors():
        config = AuditConfig(
            seed=seed,
            inject=inject,
            inject_strategy=inject_strategy,
            inject_into=inject_into,
            train_size=train_size,
            validation_size=validation_size,
            test_size=test_size,
            use_splits=use_splits,
            backbone=backbone,
            weights=weights,
            image_size=image_size,
            device=device,
            batch_size=batch_size,
            cache_dir=cache_dir,
            trainer=trainer,
            l2=l2,
            damping=damping,
            epochs=epochs,
            learning_rate=learning_rate,
            head_batch_size=head_batch_size,
            validation_trusted=validation_trusted,
            engine=engine,
            solver=solver,
            threshold=threshold,
            target_precision=target_precision,
            max_review=max_review,
        )
        _check_audit_key(audit_key)
        if fail_above is not None and inject:
            raise InputError("--fail-above asks about your own labels, and --inject makes some wrong; leave one out")
        from integrations.sources import resolve_source

        resolved = resolve_source(
            source,
            dataset=dataset,
            view=view,
            label_field=label_field,
            image_column=image_column,
            label_column=label_column,
            keep_labels=[part.strip() for part in keep_labels.split(",")] if keep_labels else None,
        )
        result = _audit(resolved, config, audit_key, output, quiet, as_json)
    wrong = result.summary["estimates"]["mistakes"] / result.summary["counts"]["samples"]
    if fail_above is not None and wrong > fail_above:
        typer.echo(f"about {wrong:.1%} of the labels look wrong, above the limit of {fail_above:.1%}", err=True)
        raise typer.Exit(3)


@cli.command()
def demo(
    output: Output = None,
    quiet: Quiet = False,
    seed: Seed = _DEFAULT.seed,
    inject: Inject = 0.1,
    weights: Weights = _DEFAULT.weights,
    device: Device = _DEFAULT.device,
    cache_dir: CacheDir = _DEFAULT.cache_dir,
) -> None:
    """Audit scikit-learn's handwritten digits with a tenth of the labels made wrong on purpose. Needs no network."""
    with _one_line_errors():
        config = AuditConfig(seed=seed, inject=inject, weights=weights, device=device, cache_dir=cache_dir)
        from integrations.sources import resolve_source

        _audit(resolve_source("digits", dataset=DEMO_DATASET), config, "audit", output, quiet)


@cli.command()
def report(
    result_folder: Annotated[Path, typer.Argument(help="The folder that `influence-audit run` named.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The HTML file to write; default: report.html in the result's folder."),
    ] = None,
) -> None:
    """Write the HTML report of a saved result again; it needs nothing but the folder."""
    with _one_line_errors():
        from reports.html import write_report

        path = write_report(result_folder, output or result_folder / REPORT_FILE)
        typer.echo(f"report: {path.resolve()}")


@cli.command()
def benchmark(
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Sources whose labels count as right, as `run` takes them; default: digits."),
    ] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(help="Noise to inject, KIND:SHARE with KIND uniform or class-pair; may be repeated."),
    ] = None,
    label_column: Annotated[
        list[str] | None,
        typer.Option(help="A column with labels that people gave, to audit against the right ones; may be repeated."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds of noise, folds and splits.")] = "0,1,2",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of measurements.json and table.md.")] = Path(
        "audit-benchmark"
    ),
    backbone: BackboneName = _DEFAULT.backbone,
    weights: Weights = _DEFAULT.weights,
    image_size: ImageSize = _DEFAULT.image_size,
    device: Device = _DEFAULT.device,
    quiet: Quiet = False,
) -> None:
    """Compare the audit with cleanlab, FiftyOne Brain and others, on the same embeddings and labels."""
    with _one_line_errors():
        noises = [_noise(text) for text in (noise if noise is not None else [] if label_column else ["uniform:0.1"])]
        numbers = _seeds(seeds)
        from rich.console import Console

        from integrations.terminal import StageDisplay

        _quieten_fiftyone()
        with StageDisplay(Console(stderr=True), quiet) as display:
            from audit.backbone import load_backbone
            from audit.progress import Step
            from integrations.benchmark import run_cases, save_measurements, source_cases

            loaded = load_backbone(
                backbone, weights, image_size, device, note=lambda text: display(Step("backbone", note=text))
            )
            cases = [
                case
                for source in sources or ["digits"]
                for case in source_cases(source, loaded, noises, label_column or [], numbers, display)
            ]
            measurements = run_cases(cases, display)
            table = save_measurements(measurements, loaded, output)
        Console().print(_benchmark_table(measurements))
        typer.echo(f"all methods: {table.resolve()}")


def _benchmark_table(measurements: list[Measurement]) -> Any:
    """Ours and the best peer by case, means over seeds."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from integrations.benchmark import OURS, mean_by_case

    table = Table(box=box.SIMPLE, title="Average precision, and flags as precision / recall", title_justify="left")
    for name in ("labels", "ours", "best peer", "our flags", "estimated precision"):
        table.add_column(name, justify="left" if name in ("labels", "best peer") else "right")
    average = mean_by_case(measurements, "average_precision")
    flags = {name: mean_by_case(measurements, name) for name in ("precision", "recall", "estimated_precision")}
    for case, by_method in average.items():
        peer = max((name for name in by_method if name != OURS), key=lambda name: by_method[name] or 0.0)
        shown = {name: values[case][OURS] or 0.0 for name, values in flags.items()}
        table.add_row(
            escape(case),
            f"{by_method[OURS]:.3f}",
            f"{by_method[peer]:.3f} {peer}",
            f"{shown['precision']:.3f} / {shown['recall']:.3f}",
            f"{shown['estimated_precision']:.3f}",
        )
    return table


def _noise(text: str) -> tuple[str, float]:
    kind, _, share = text.partition(":")
    try:
        fraction = float(share)
    except ValueError:
        fraction = 0.0
    if kind not in ("uniform", "class-pair") or not 0 < fraction <= 0.5:
        raise InputError(f"noise {text!r} is unknown; it takes KIND:SHARE, as in uniform:0.1 or class-pair:0.2")
    return kind, fraction


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"seeds {text!r} are no numbers; it takes them as in 0,1,2") from None


@cli.command(name="app")
def open_dataset(
    dataset: Annotated[str, typer.Argument(help="Name of the FiftyOne dataset.")],
    port: Annotated[int, typer.Option(help="Port of the App.")] = 5151,
    address: Annotated[
        str, typer.Option(help="Address the App listens at; it can read any file you can.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Open the FiftyOne App on a dataset, at its flagged samples. Ctrl+C ends it."""
    with _one_line_errors():
        _quieten_fiftyone()
        from integrations.fiftyone.app import open_app
        from integrations.fiftyone.plugin_install import install_plugin

        install_plugin()
        open_app(
            dataset, address=address, port=port, browser=browser, ready=lambda url: typer.echo(f"FiftyOne App: {url}")
        )


plugin_cli = typer.Typer(help="The FiftyOne plugin: operators and the panel 'Label audit'.", no_args_is_help=True)
cli.add_typer(plugin_cli, name="plugin")


@plugin_cli.command(name="install")
def install() -> None:
    """Make the plugin available to FiftyOne, however the App is started. `influence-audit app` does so too."""
    with _one_line_errors():
        _quieten_fiftyone()
        from integrations.fiftyone.plugin_install import PLUGIN, install_plugin

        typer.echo(f"{PLUGIN}: {install_plugin(enable=True)}")


@cli.command()
def doctor() -> None:
    """Check versions, GPU, weights, MongoDB and disk, and say how to mend what is wrong."""
    with _one_line_errors():
        from rich.console import Console
        from rich.markup import escape

        _quieten_fiftyone()
        from integrations.doctor import examine

        console = Console()
        marks = {"ok": "[green]✓[/green]", "note": "[yellow]–[/yellow]", "problem": "[red]✗[/red]"}
        problems = 0
        for finding in examine():
            console.print(
                f"{marks[finding.state]} {finding.name:9} {escape(finding.text)}", soft_wrap=True, highlight=False
            )
            if finding.remedy:
                console.print(f"            → {escape(finding.remedy)}", soft_wrap=True, highlight=False)
            problems += finding.state == "problem"
    if problems:
        raise typer.Exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"influence-audit {__version__}")
        raise typer.Exit()


@cli.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What comes before the subcommand."""


def _audit(
    source: Source, config: AuditConfig, audit_key: str, output: Path | None, quiet: bool, as_json: bool = False
) -> AuditResult:
    """Open the source, audit it, write FiftyOne and the report, and say where they are."""
    import json

    from rich.console import Console

    from integrations.terminal import StageDisplay

    _quieten_fiftyone()
    with StageDisplay(Console(stderr=True), quiet) as display:
        from audit.progress import Step
        from integrations.fiftyone import audit_dataset

        collection = source.open(display)
        dataset = collection._root_dataset.name
        folder = output or Path(RESULTS_FOLDER) / _folder_name(dataset) / audit_key
        result = audit_dataset(collection, source.label_field, audit_key, config, display, save_to=folder)
        display(Step("report"))
        from reports.html import write_report
        from reports.markdown import write_markdown

        path = write_report(result, folder / REPORT_FILE)
        write_markdown(result, folder / MARKDOWN_FILE)
        display(Step("report", 1, 1))
    _show_summary(Console(stderr=as_json), result, dataset, path)
    if as_json:
        typer.echo(json.dumps(result.summary, ensure_ascii=False))
    return result


def _show_summary(console: Console, result: AuditResult, dataset: str, report_path: Path) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    summary = result.summary
    counts, estimates = summary["counts"], summary["estimates"]
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1), title="Label audit", title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    left_out = [
        f"{counts[name]} {text}"
        for name, text in (("without_label", "without a label"), ("unreadable", "unreadable"))
        if counts[name]
    ]
    table.add_row(
        "samples",
        f"{counts['samples']} in {counts['classes']} classes"
        + (f" (left out: {', '.join(left_out)})" if left_out else ""),
    )
    table.add_row("flagged", f"[bold]{counts['flagged']}[/bold] at suspicion ≥ {summary['threshold']:.3f}")
    table.add_row(
        "wrong labels, estimated",
        f"≈ {estimates['mistakes']:.0f} ({estimates['mistakes_low']:.0f} to {estimates['mistakes_high']:.0f})",
    )
    if estimates["precision"] is not None:
        table.add_row(
            "flags, estimated",
            f"≈ {estimates['precision']:.0%} right, ≈ {estimates['recall']:.0%} of the mistakes found",
        )
    if measured := summary["detection"]:
        table.add_row(
            f"flags, measured on {measured['injected']} injected",
            f"precision {measured['precision']:.3f}, recall {measured['recall']:.3f}, F1 {measured['f1']:.3f}, "
            f"AP {measured['average_precision']:.3f}, AUROC {measured['auroc']:.3f}",
        )
    for name, head in summary["heads"].items():
        table.add_row(
            f"head on {name} labels", f"test F1 {head['test']['f1']:.3f}, accuracy {head['test']['accuracy']:.3f}"
        )
    if summary["backbone"]:
        backbone = summary["backbone"]
        table.add_row("backbone", f"{backbone['name']}, {backbone['weights']} weights, {backbone['image_size']} px")
    console.print(table)
    console.print(_influence_table(summary))
    flagged_view = f"{summary['source']['audit_key']}: flagged"
    console.print(f"report    {escape(str(report_path.resolve()))}", soft_wrap=True, highlight=False)
    console.print(
        f"FiftyOne  dataset {escape(dataset)!r}, view {escape(flagged_view)!r}", soft_wrap=True, highlight=False
    )
    console.print(
        f"next      influence-audit app {escape(dataset)}    review the flagged samples",
        soft_wrap=True,
        highlight=False,
    )


def _influence_table(summary: dict[str, Any]) -> Any:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    rows = summary["influence_by_class"]
    shown = [*rows[:-1][:CLASSES_IN_SUMMARY], rows[-1]]
    injected = bool(summary["detection"])
    table = Table(box=box.SIMPLE, title="Mean influence", title_justify="left")
    table.add_column("class")
    table.add_column("clean" if injected else "all samples", justify="right")
    if injected:
        table.add_column("corrupted", justify="right")
    for row in shown:
        name = "all classes" if row["class"] is None else escape(str(row["class"]))
        values = [row["clean"], row["corrupted"]] if injected else [row["clean"]]
        table.add_row(name, *("–" if value is None else f"{value:+.4f}" for value in values))
    left_out = len(rows) - len(shown)
    if left_out:
        table.caption = f"{left_out} more classes are in the report"
    return table


def _check_audit_key(key: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", key):
        raise InputError(f"audit key {key!r} is no identifier; use letters, digits and underscores, a letter first")


def _folder_name(dataset: str) -> str:
    """The dataset's name with what a folder name cannot hold made into '-'."""
    return re.sub(r"[^\w.-]+", "-", dataset).strip(".-") or "dataset"


def _quieten_fiftyone() -> None:
    """Keep FiftyOne's own chatter (MongoDB's age, progress bars) out of the way, unless the user set these."""
    os.environ.setdefault("FIFTYONE_DATABASE_VALIDATION", "false")
    os.environ.setdefault("FIFTYONE_SHOW_PROGRESS_BARS", "false")


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Exit code 2 for a user's mistake, 1 for a failed run, 130 for Ctrl+C; one line each."""
    try:
        yield
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; embeddings computed so far are kept, run the same command to go on", err=True)
        raise typer.Exit(130) from None
    except typer.Exit:
        raise
    except Exception as error:
        if os.environ.get("INFLUENCE_AUDIT_DEBUG"):
            raise
        reason = str(error).splitlines()[0] if str(error) else ""
        typer.echo(
            f"failed: {type(error).__name__}: {reason} (INFLUENCE_AUDIT_DEBUG=1 shows where)".replace(": :", ":"),
            err=True,
        )
        raise typer.Exit(1) from None


def main() -> None:
    """The console script."""
    cli(prog_name="influence-audit")


if __name__ == "__main__":
    main()
