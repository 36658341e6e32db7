"""Accounts, recounted: from every single charge, in whole numbers, and compared to the last unit with what the store says."""

from headwater.audit.records import Audit, Difference
from headwater.audit.render import as_document, as_text
from headwater.audit.run import audit

__all__ = ["Audit", "Difference", "as_document", "as_text", "audit"]
