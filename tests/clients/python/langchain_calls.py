"""The calls that are made with every chat model of LangChain. A streamed reply is the sum of its chunks, as LangChain adds them."""

from __future__ import annotations

import functools
import operator
from typing import Any

from tests.clients.python import common
from tests.clients.python.common import seen

QUESTION = "Why is the sky blue?"
# LangChain numbers the runs of this process where a reply has no id of its own.
_OWN = {"id"}


def _seen(message: Any) -> dict[str, Any]:
    headers = (message.response_metadata or {}).pop("headers", None)
    calls = [(call["name"], call["args"]) for call in message.tool_calls]
    return seen(message.model_dump(mode="json", exclude=_OWN), text=str(message.text), calls=calls, headers=headers)


def whole(chat: Any) -> dict[str, Any]:
    return _seen(chat.invoke(QUESTION))


def stream(chat: Any) -> dict[str, Any]:
    return _seen(functools.reduce(operator.add, list(chat.stream(QUESTION))))


def cases(api: str, chat: Any, *, streamed: Any) -> common.Cases:
    """The cases of one chat model; `streamed` is the same one as it is used for streams."""
    return {
        api: lambda: whole(chat),
        f"{api} tool": lambda: whole(chat.bind_tools(common.TOOLS)),
        f"{api} stream asked": lambda: stream(streamed),
        f"{api} stream asked tool": lambda: stream(streamed.bind_tools(common.TOOLS)),
    }
