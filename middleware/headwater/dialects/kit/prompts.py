"""Collect what of a request can be counted: texts, tools, the sizes of pictures, the length of sound. Opens no address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headwater.dialects.kit.lenient import objects, string, within
from headwater.dialects.kit.pictures import picture_size
from headwater.dialects.kit.sounds import sound_s
from headwater.records import Picture, Prompt, Tool


class PromptBuilder:
    """Collects the countable parts of requests of any shape."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._tools: list[Tool] = []
        self._schemas: list[Mapping[str, Any]] = []
        self._pictures: list[Picture] = []
        self._audio_s = 0.0
        self._messages_count = self._names_count = self._tokens_count = self._uncounted_parts_count = 0
        self._is_whole = True

    def done(self) -> Prompt:
        """What was collected."""
        return Prompt(
            texts=tuple(self._texts),
            messages_count=self._messages_count,
            names_count=self._names_count,
            tools=tuple(self._tools),
            schemas=tuple(self._schemas),
            pictures=tuple(self._pictures),
            audio_s=self._audio_s,
            tokens_count=self._tokens_count,
            uncounted_parts_count=self._uncounted_parts_count,
            is_whole=self._is_whole,
        )

    def begin_message(self) -> None:
        """One more message, which the chat format wraps into tokens of its own."""
        self._messages_count += 1

    def add_name(self, name: Any) -> None:
        """The name of who speaks, where there is one."""
        if isinstance(name, str):
            self._names_count += 1
            self._texts.append(name)

    def add_text(self, *texts: Any) -> None:
        """Texts, in order; what is none is left out."""
        self._texts += [text for text in texts if isinstance(text, str)]

    def add_json(self, value: Any) -> None:
        """A value that the model gets to see as JSON."""
        if isinstance(value, str):
            self._texts.append(value)
        elif value is not None:
            try:
                self._texts.append(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
            except RecursionError:
                self._uncounted_parts_count += 1

    def add_schema(self, schema: Any) -> None:
        """A JSON schema that the answer must fit."""
        if isinstance(schema, dict):
            self._schemas.append(schema)

    def add_tokens(self, tokens_count: int) -> None:
        """Tokens that came as such."""
        self._tokens_count += tokens_count

    def add_tool(self, tool: Any) -> None:
        """A tool in OpenAI's shape, in Anthropic's, or bare: name, description, parameters or input_schema."""
        function = within(tool, "function") or within(tool)
        name = string(function.get("name"))
        if not name:
            self.add_json(tool)
            return
        schema = next((within(function, key) for key in ("parameters", "input_schema") if within(function, key)), {})
        self._tools.append(Tool(name=name, description=string(function.get("description")), schema=schema))

    def add_tools(self, tools: Any) -> None:
        """A list of tools."""
        for tool in objects(tools):
            self.add_tool(tool)

    def add_picture(self, address: Any, detail: Any = None) -> None:
        """A picture by its address: a data URL tells its size, any other is not opened."""
        width_px, height_px = picture_size(address) or (None, None)
        self._pictures.append(Picture(width_px=width_px, height_px=height_px, detail=string(detail) or "auto"))

    def add_audio(self, data: Any, encoding: Any = None) -> None:
        """Sound, base64; its length by its header and its size."""
        found_s = sound_s(data, encoding)
        if found_s is None:
            self._uncounted_parts_count += 1
        else:
            self._audio_s += found_s

    def add_uncounted(self) -> None:
        """A part that nobody can count from outside."""
        self._uncounted_parts_count += 1

    def add_unseen(self) -> None:
        """Context of any length that the server has and the request only names: the prompt cannot be counted."""
        self._is_whole = False
