"""What all sections of the settings are."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1)]


class Section(BaseModel):
    """Unknown settings are errors; what was read does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
