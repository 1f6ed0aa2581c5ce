"""How fast the App's side is on 50 000 samples: `python -m tests.benchmarks.app [line ...]`, or `make bench`.

Writing is compared with FiftyOne's `set_values` in one process, in turns. The panel's events go over HTTP to the real
App's server, as the browser sends them. Lines that are not named keep the figures that app.json has of them.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

os.environ.setdefault("FIFTYONE_DATABASE_NAME", f"influence_audit_bench_{os.getpid()}")
os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"

import fiftyone as fo
import pandas as pd

from integrations.fiftyone import write_result
from integrations.fiftyone.fields import STATUS, UNREVIEWED
from tests.benchmarks.influence import machine
from tests.benchmarks.review import review
from tests.benchmarks.thousand import thousand
from tests.fiftyone.made_up import made_up_result
from tests.fiftyone.panel_window import Window

HERE = Path(__file__).parent
SAMPLES, CLASSES = 50_000, 20
REPEATS = 5
MOST_MILLISECONDS = 300
LEAST_RATE = 0.8
PORT = 5390
SERVE = (
    "import sys; from integrations.fiftyone.app import open_app; "
    "from integrations.fiftyone.plugin_install import install_plugin; install_plugin(); "
    "open_app(sys.argv[1], port=int(sys.argv[2]), browser=False, ready=lambda address: print(address, flush=True))"
)


def many_samples() -> fo.Dataset:
    """A dataset of labelled file paths; neither writing nor the panel opens the files."""
    dataset = fo.Dataset(f"bench {uuid4().hex}", persistent=True)
    samples = (
        fo.Sample(f"/nowhere/{number}.png", ground_truth=fo.Classification(label=f"class {number % CLASSES}"))
        for number in range(SAMPLES)
    )
    dataset.add_samples(samples, progress=False, num_samples=SAMPLES)
    return dataset


def writing() -> dict[str, Any]:
    """Writing a whole audit of 50 000 samples, against one bare `set_values` call a field with the same values."""
    dataset = many_samples()
    result = made_up_result(dataset, inject=False)
    columns = bare_columns(result.scores)
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    try:
        for _ in range(3):
            began = time.perf_counter()
            write_result(dataset, result)
            seconds["ours"].append(time.perf_counter() - began)
            dataset.delete_run("audit")
            began = time.perf_counter()
            for name, values in columns.items():
                dataset.set_values(f"bare_{name}", values, progress=False)
            seconds["bare"].append(time.perf_counter() - began)
            dataset.delete_sample_fields([f"bare_{name}" for name in columns])
    finally:
        fo.delete_dataset(dataset.name)
    ours, bare = (statistics.median(seconds[name]) for name in ("ours", "bare"))
    return {
        "fields": len(columns),
        "ours_s": ours,
        "set_values_s": bare,
        "rate_to_set_values": bare / ours,
        "target": f"at least {LEAST_RATE}",
        "included": "ours: declaring fields, indexes, saved views, sidebar, the panel's overview, registering the run",
    }


def bare_columns(scores: pd.DataFrame) -> dict[str, list[Any]]:
    """The same fields' values as lists that `set_values` takes as they are."""
    names = ("suspicion", "influence", "self_influence", "loo_probability", "flag", "split")
    columns = {name: scores[name].tolist() for name in names}
    columns["suggested"] = [
        fo.Classification(label=label, confidence=confidence)
        for label, confidence in zip(scores["suggested_label"], scores["suggested_probability"], strict=True)
    ]
    columns[STATUS.suffix] = [UNREVIEWED] * len(scores)
    return columns


def panel() -> dict[str, Any]:
    """Events of the panel on 50 000 samples, milliseconds from request to answer: median, and the slowest of five."""
    dataset = many_samples()
    write_result(dataset, made_up_result(dataset, inject=False))
    command = [sys.executable, "-c", SERVE, dataset.name, str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        address = next(line for line in server.stdout if line.startswith("http"))
        found = events(dataset, "/".join(address.split("/")[:3]))
    finally:
        server.terminate()
        server.wait(timeout=30)
        fo.delete_dataset(dataset.name)
    slowest = max(event["slowest"] for event in found.values())
    return {**found, "slowest_of_all": slowest, "target": f"below {MOST_MILLISECONDS} each"}


def events(dataset: fo.Dataset, server: str) -> dict[str, Any]:
    """Milliseconds of each event."""
    window = Window(dataset, server)
    window.event("show_all")  # the server imports the plugin at its first request of all
    first = round(window.event("on_load") * 1000)
    flagged = dataset.load_saved_view("audit: flagged").values("id")
    thresholds = iter([0.3, 0.5, 0.7, 0.85, 0.9, 0.95])
    jobs: dict[str, Callable[[], float]] = {
        "load": lambda: window.event("on_load"),
        "threshold": lambda: window.event("move_threshold", value=next(thresholds)),
        "class": lambda: window.event("choose_class", row=3),
        "unreviewed": lambda: window.event("toggle_unreviewed"),
        "view": lambda: view_of_another_state(window),
        "all": lambda: window.event("show_all"),
        "queue": lambda: seconds_of(lambda: window.ask("queue", count=40)),
        "accept": lambda: seconds_of(lambda: decide(window, "accept", flagged[:1])),
        "dismiss_1000": lambda: seconds_of(lambda: decide(window, "dismiss", flagged[:1000])),
        "undo_1000": lambda: seconds_of(lambda: window.ask("undo")),
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(REPEATS):
        for name, job in jobs.items():
            seconds[name].append(job() * 1000)
    medians = {
        name: {"median": round(statistics.median(values)), "slowest": round(max(values))}
        for name, values in seconds.items()
    }
    return {"first_load": {"median": first, "slowest": first}, **medians}


def seconds_of(job: Callable[[], Any]) -> float:
    """How long a job takes."""
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def decide(window: Window, action: str, samples: list[str]) -> None:
    """A decision, as the review in the browser sends it."""
    window.ask("decide", decisions=[{"action": action, "samples": samples}])


def view_of_another_state(window: Window) -> float:
    """The grid has another view than the panel knows of."""
    window.state["class_label"] = "another"
    return window.event("on_change_view")


LINES: dict[str, Callable[[], dict[str, Any]]] = {
    "writing": writing,
    "panel": panel,
    "review": review,
    "thousand": thousand,
}


def table(results: dict[str, Any]) -> str:
    """Markdown of all lines that were measured."""
    rows = ["# The FiftyOne App on many samples", "", "Made by `python -m tests.benchmarks.app`.", ""]
    for name, job in LINES.items():
        if name not in results:
            continue
        found = dict(results[name])
        where = found.pop("machine")
        rows += [f"## {name}", "", inspect.cleandoc(str(job.__doc__)), "", "| figure | value |", "|---|---|"]
        rows += [f"| {figure.replace('_', ' ')} | {_shown(value)} |" for figure, value in found.items()]
        rows += ["", f"{where['date']}, {where['system']}, fiftyone {fo.__version__}", ""]
    return "\n".join(rows)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['median']} ms, slowest {value['slowest']} ms"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure the lines that are named, all by default, and write app.json and app.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lines", nargs="*", help=", ".join(LINES))
    stored = HERE / "app.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    try:
        for name in parser.parse_args().lines or list(LINES):
            print(f"{name} ...", flush=True)
            results[name] = LINES[name]() | {"machine": machine()}
            print(json.dumps(results[name], indent=1))
            stored.write_text(json.dumps(results, indent=1) + "\n")
            (HERE / "app.md").write_text(table(results))
    finally:
        fo.core.odm.drop_database()


if __name__ == "__main__":
    main()
