"""Accounts -> statements. Rows from the ledger, one total that is their exact sum; renderers beside. No printing."""

from headwater.reports.costs import Costs, costs
from headwater.reports.recompute import Restatement, restatement
from headwater.reports.render import as_csv, as_json, as_table
from headwater.reports.restated import restated_csv, restated_json, restated_table
from headwater.reports.statement import Statement, month_now, statement

__all__ = [
    "Costs",
    "Restatement",
    "Statement",
    "as_csv",
    "as_json",
    "as_table",
    "costs",
    "month_now",
    "restated_csv",
    "restated_json",
    "restated_table",
    "restatement",
    "statement",
]
