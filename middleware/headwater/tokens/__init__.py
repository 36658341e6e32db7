"""Count tokens where the upstream does not say: by the model's own encoding, by one that is near, or by a rule of thumb.

Blocking and pure: no network, no clock. Every count says how it was made, and by which factor it may be off. The figures are
the catalog's (tokenizers, scripts, media).
"""

from __future__ import annotations

from headwater.tokens.counter import CountTokens, TokenCounter

__all__ = ["CountTokens", "TokenCounter"]
