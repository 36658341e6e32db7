"""`[retention]`: how long the ledger keeps what."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400
_YEAR_DAYS: Final = 366
"""A leap year: never a day less than was asked for."""
LEAST_DAYS: Final = 35
"""A whole month, and time to close it: costs and another factor set are computed from single charges."""
_MOST_YEARS: Final = 100


class RetentionSettings(BaseModel):
    """`[retention]`. Receipts are found for hours; single charges and days are kept for days, months for years."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    receipts_hours: Annotated[int, Field(ge=1)] = 48
    days: Annotated[int, Field(ge=LEAST_DAYS)] = 400
    months_years: Annotated[int, Field(ge=1, le=_MOST_YEARS)] = 6

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.receipts_hours * _HOUR_S > self.days * _DAY_S:
            raise ValueError(
                f"receipts_hours = {self.receipts_hours} is more than days = {self.days}: a receipt is made from its single "
                "charge; lower receipts_hours, or raise days"
            )
        if self.days > self.months_years * _YEAR_DAYS:
            raise ValueError(
                f"days = {self.days} is more than months_years = {self.months_years}: single charges would outlive the accounts "
                "that they are checked against; lower days, or raise months_years"
            )
        return self

    def seconds(self) -> dict[str, int]:
        """The lifetimes, as the ledger takes them."""
        return {
            "receipts_s": self.receipts_hours * _HOUR_S,
            "days_s": self.days * _DAY_S,
            "months_s": self.months_years * _YEAR_DAYS * _DAY_S,
        }
