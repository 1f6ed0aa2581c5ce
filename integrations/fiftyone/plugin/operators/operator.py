"""The base class of all operators: a form and its work, which both raise an InputError for a user's mistake."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.core.collections import SampleCollection
from fiftyone.operators import types
from fiftyone.operators.executor import ExecutionError

from audit.errors import ConvergenceError, InputError

ICON = "fact_check"
MISTAKES = (InputError, ConvergenceError)
"""Errors whose message is shown to the user in one line. Any other error is a bug, and keeps its traceback."""

_FORM_MISTAKE = re.compile(r"Validation error. Path: (.*?). Reason: (.*)", re.DOTALL)


class AuditOperator(foo.Operator):
    """An operator with the form `form` and the work `work`. Both raise an InputError for a user's mistake."""

    name_ = ""
    label = ""
    description = ""
    icon = ICON
    dynamic = True
    generator = False
    unlisted = False
    risk = types.RiskLevel.MEDIUM

    @property
    def config(self) -> foo.OperatorConfig:
        """The description of the operator that FiftyOne asks for."""
        return foo.OperatorConfig(
            name=self.name_,
            label=f"Label audit: {self.label}",
            description=self.description,
            icon=self.icon,
            dynamic=self.dynamic,
            execute_as_generator=self.generator,
            unlisted=self.unlisted,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=self.risk,
        )

    def resolve_input(self, ctx: Any) -> types.Property:
        """The form, or a message about what is wrong."""
        inputs = types.Object()
        try:
            self.form(ctx, dataset_of(ctx), inputs)
        except MISTAKES as mistake:
            refuse(inputs, str(mistake))
        view = types.PromptView(label=f"Label audit: {self.label}", submit_button_label=self.submit(ctx))
        return types.Property(inputs, view=view)

    def execute(self, ctx: Any) -> Any:
        """Do the work. A user's mistake becomes a notification in the App, and {'error': ...} for callers from
        Python."""
        try:
            return self.work(ctx, dataset_of(ctx))
        except MISTAKES as mistake:
            if ctx.delegated:  # FiftyOne shows the message of the failed run
                raise
            ctx.ops.notify(str(mistake), variant="error")
            return {"error": str(mistake)}

    def form(self, ctx: Any, dataset: fo.Dataset, inputs: types.Object) -> None:
        """Define the inputs of the form."""
        raise NotImplementedError

    def work(self, ctx: Any, dataset: fo.Dataset) -> dict[str, Any] | None:
        """Do the work, and return the result for callers from Python."""
        raise NotImplementedError

    def submit(self, ctx: Any) -> str:
        """The text of the form's button."""
        return self.label

    def call(
        self,
        samples: SampleCollection,
        params: dict[str, Any],
        delegate: bool = False,
        selected: list[str] | None = None,
    ) -> Any:
        """Execute from Python.

        Returns:
            What `work` returned. If it is delegated, the execution result; in a notebook, FiftyOne's task.

        Raises:
            InputError: if the user made a mistake.
        """
        dataset = samples if isinstance(samples, fo.Dataset) else None
        view = None if dataset is not None else samples
        given = {name: value for name, value in params.items() if value is not None}
        try:
            result = foo.execute_operator(
                self.uri,
                {"dataset": dataset, "view": view, "selected": selected or []},
                params=given,
                request_delegation=delegate,
            )
        except ExecutionError as error:
            if mistake := _FORM_MISTAKE.fullmatch(str(error)):
                path, reason = mistake.groups()
                general = reason.startswith(("Value", "Invalid", "Required"))
                raise InputError(f"{path}: {reason[0].lower()}{reason[1:]}" if general else reason) from None
            raise
        if isinstance(result, asyncio.Task) or result.delegated:
            return result
        outcome = result.result
        if isinstance(outcome, dict) and set(outcome) == {"error"}:
            raise InputError(outcome["error"])
        return outcome


def dataset_of(ctx: Any) -> fo.Dataset:
    """The dataset that is open in the App.

    Raises:
        InputError: if no dataset is open, or it was deleted.
    """
    try:
        dataset = ctx.dataset
    except ValueError:
        raise InputError("the dataset was deleted meanwhile; open another") from None
    if dataset is None:
        raise InputError("no dataset is open; open one first")
    return dataset


def refuse(inputs: types.Object, message: str, name: str = "problem") -> None:
    """Show a mistake in the form, so that it cannot be submitted."""
    problem = inputs.view(name, types.Error(label=message))
    problem.invalid = True
    problem.error_message = message
