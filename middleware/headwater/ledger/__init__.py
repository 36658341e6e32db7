"""Accounts. A charge counts exactly once, whatever dies: journalled here, kept in Redis."""

from headwater.ledger.ledger import Ledger
from headwater.ledger.reader import Reader
from headwater.ledger.schema import Retention
from headwater.ledger.shipper import Outside, Timing
from headwater.ledger.stats import Stats

__all__ = ["Ledger", "Outside", "Reader", "Retention", "Stats", "Timing"]
