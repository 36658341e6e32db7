"""A chat endpoint with Django's ASGI handler, wrapped: uvicorn examples.django_app:app

In a project of your own, this is what goes into asgi.py: `application = FootprintMiddleware(get_asgi_application())`.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from headwater import FootprintMiddleware

SETTINGS = {"deployment": [{"model": "llama-3.1-8b", "hardware": "hgx-h100", "accelerators": 1, "engine": "vllm-0.11"}]}
WORDS = ["Hello", ", ", "world", "."]


@csrf_exempt  # type: ignore[untyped-decorator]
async def chat(request: HttpRequest) -> HttpResponseBase:
    """Stands for your model."""
    body = json.loads(request.body)
    if body.get("stream"):
        return StreamingHttpResponse(events(body["model"]), content_type="text/event-stream")
    return JsonResponse(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": body["model"],
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "".join(WORDS)}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
        }
    )


async def events(model: str) -> AsyncIterator[str]:
    """The same answer as server-sent events."""
    head: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": model}
    for word in WORDS:
        yield event({**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
    yield event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield "data: [DONE]\n\n"


def event(document: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(document)}\n\n"


urlpatterns = [path("v1/chat/completions", chat)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
app = FootprintMiddleware(get_asgi_application(), settings=SETTINGS)
