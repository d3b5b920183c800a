"""``metric: {evaluate: NAME_OR_PATH}`` in a suite."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from multibench.errors import MultibenchError
from multibench.metrics.evaluate_adapter import local_module

__all__ = ["ModuleChoice"]


class ModuleChoice(BaseModel):
    """A module of ``evaluate`` that scores each run beside its task's metrics: once, so without an interval.

    Runs that are stored already are not scored again for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    evaluate: str = Field(min_length=1)
    """Its name on the Hub, or the path of a local one. Either is code that runs with the suite."""

    @field_validator("evaluate")
    @classmethod
    def _is_there(cls, source: str) -> str:
        try:
            local_module(source)
        except MultibenchError as error:
            raise ValueError(str(error)) from error
        return source
