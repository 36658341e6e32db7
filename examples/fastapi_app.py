"""A chat endpoint of your own, wrapped: uvicorn examples.fastapi_app:app, then POST to /v1/chat/completions."""

from typing import Any

from fastapi import FastAPI

from headwater import FootprintMiddleware

app = FastAPI()
app.add_middleware(
    FootprintMiddleware,
    settings={
        "deployment": [
            {
                "match": ["llama-3.1-70b*"],
                "model": "llama-3.1-70b",
                "hardware": "hgx-h100",
                "accelerators": 4,
                "engine": "vllm-0.11",
            }
        ]
    },
)


@app.post("/v1/chat/completions")
async def chat(body: dict[str, Any]) -> dict[str, Any]:
    """Stands for your model: any reply in OpenAI's shape will do, with usage or without."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": body["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    }
