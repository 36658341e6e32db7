"""Accounts -> statements. Rows from the ledger, one total that is their exact sum; renderers beside. No printing."""

from headwater.reports.accounts import Accounts, accounts
from headwater.reports.costs import Costs, costs
from headwater.reports.recompute import Restatement, restatement
from headwater.reports.render import as_csv, as_json, as_table, csv_pieces, json_pieces
from headwater.reports.restated import restated_csv, restated_json, restated_table
from headwater.reports.statement import Statement, month_now, statement
from headwater.reports.table import since_words, table

__all__ = [
    "Accounts",
    "Costs",
    "Restatement",
    "Statement",
    "accounts",
    "as_csv",
    "as_json",
    "as_table",
    "costs",
    "csv_pieces",
    "json_pieces",
    "month_now",
    "restated_csv",
    "restated_json",
    "restated_table",
    "restatement",
    "since_words",
    "statement",
    "table",
]
