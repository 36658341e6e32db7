"""What a whole fleet draws, costs and can serve: the arithmetic of the 2023 articles as a question with an answer. Pure."""

from __future__ import annotations

from headwater.fleet.amounts import Answer, Capacity, Each
from headwater.fleet.answers import answer
from headwater.fleet.article import article_notes
from headwater.fleet.question import Fleet

__all__ = ["Answer", "Capacity", "Each", "Fleet", "answer", "article_notes"]
