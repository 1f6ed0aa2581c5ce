"""A browser's side of the panel 'Label audit', without the browser."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo

from integrations.fiftyone.plugin_install import PLUGIN

PANEL = f"{PLUGIN}/label_audit"
REVIEW = f"{PLUGIN}/review_samples"


class Window:
    """It keeps the panel's state, sends it with every event, and does what the answer says.

    Args:
        dataset: the one that is open.
        server: the address of a running App; by default events are dealt with in this process.
        panel: which panel it is.
    """

    def __init__(self, dataset: fo.Dataset, server: str | None = None, panel: str = PANEL) -> None:
        self.dataset = dataset
        self.panel = panel
        self.server = server
        self.state: dict[str, Any] = {}
        self.output: dict[str, Any] = {}
        self.said: list[str] = []
        self.view: list[dict[str, Any]] | None = None
        self.triggered: dict[str, Any] = {}

    def event(
        self, method: str, selected: list[str] | None = None, current_sample: str | None = None, **params: Any
    ) -> float:
        """Send an event and do what the answer says; how long the answer took, in seconds."""
        params = {"__method__": method, "panel_id": "panel", "panel_state": self.state, **params}
        began = time.perf_counter()
        answer = self._answer(params, selected or [], current_sample)
        seconds = time.perf_counter() - began
        self.triggered = {request["operator_uri"]: request["params"] for request in answer}
        for request in answer:
            params = request["params"]
            match request["operator_uri"]:
                case "patch_panel_state":
                    self.state |= params["state"]
                case "show_panel_output":
                    self.output = params["output"]
                case "notify":
                    self.said.append(params["message"])
                case "set_view" | "@influence-audit/influence-audit/show_named_view":
                    self.view = params["view"]
                case "clear_view":
                    self.view = None
        return seconds

    def ask(self, do: str, **params: Any) -> dict[str, Any]:
        """What the review in the browser is answered, for the audit, the filters and the view of this window."""
        filters = {
            name: self.state.get(name)
            for name in ("audit_key", "threshold", "class_label", "hide_injected", "suggested")
        }
        params = {"do": do, **filters, **params}
        if self.server is None:
            view = None if self.view is None else fo.DatasetView._build(self.dataset, self.view)
            answer = foo.execute_operator(REVIEW, {"dataset": self.dataset, "view": view}, params=params).result
        else:
            request = {"operator_uri": REVIEW, "dataset_name": self.dataset.name, "params": params}
            answer = self._post({**request, "view": self.view or []})["result"]
        return json.loads(json.dumps(answer, default=str))

    def queue(self, count: int = 50, **params: Any) -> list[str]:
        """The samples that are reviewed next."""
        return [card["sample"] for card in self.ask("queue", count=count, **params)["cards"]]

    def shows(self, text: str) -> bool:
        """Whether the panel says this somewhere."""
        return text in json.dumps(self.output)

    def shown_ids(self) -> list[str]:
        """The samples that the grid was told to show."""
        assert self.view is not None
        return fo.DatasetView._build(self.dataset, self.view).values("id")

    def _answer(self, params: dict[str, Any], selected: list[str], current_sample: str | None) -> list[dict[str, Any]]:
        if self.server is None:
            view = None if self.view is None else fo.DatasetView._build(self.dataset, self.view)
            opened = {"dataset": self.dataset, "view": view, "selected": selected, "current_sample": current_sample}
            result = foo.execute_operator(self.panel, opened, params=params)
            return result.executor.to_json()["requests"]
        request = {
            "operator_uri": self.panel,
            "dataset_name": self.dataset.name,
            "params": params,
            "selected": selected,
            "view": self.view or [],
            "current_sample": current_sample,
        }
        return self._post(request)["executor"]["requests"]

    def _post(self, request: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(request).encode()
        asked = urllib.request.Request(f"{self.server}/operators/execute", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked) as response:
            answer = json.load(response)
        assert not answer.get("error"), answer
        return answer


def opened(dataset: fo.Dataset) -> Window:
    """A window in which the panel was just opened."""
    window = Window(dataset)
    window.event("on_load")
    return window
