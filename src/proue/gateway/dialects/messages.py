"""Anthropic's messages. Of the conversation nothing is lost but what no engine of ours could keep: cache marks, the
signatures of thinking (we sign none), and the identity in `metadata`, which is nobody's business up there."""

from typing import Any

from proue.gateway.dialects import reading
from proue.gateway.dialects.reading import encode, mapping, mappings, text, unsupported, word, wrong
from proue.gateway.dialects.turn import Block, Kind, Turn, told
from proue.gateway.errors import object_of
from proue.gateway.meter import count
from proue.gateway.sse import UNREADABLE

# Read here, or Anthropic's own affair. Any other field passes as it came.
READ = frozenset(
    {
        "model", "messages", "system", "max_tokens", "stop_sequences", "stream", "tools", "tool_choice", "thinking",
        "output_config", "output_format", "metadata", "cache_control", "context_management", "service_tier", "betas",
        "container", "mcp_servers", "inference_geo", "speed", "diagnostics", "user_profile_id", "workspace_id",
        "anthropic_beta", "anthropic_version",
    }
)  # fmt: skip
REFUSED = ("mcp_servers", "container")  # done on Anthropic's machines
STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
CHOICES = {"auto": "auto", "any": "required", "none": "none"}
TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
    504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


def error_type(status: int) -> str:
    return TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")


class Messages:
    def read(self, data: bytes, id: str) -> "Speech":
        return Speech(chat_of(reading.whole(data)), id)

    def refusal(self, status: int, body: bytes, request_id: str) -> bytes:
        """Our code, its clauses and whatever else we say stay beside what Anthropic's clients read."""
        error = {**object_of(body), "type": error_type(status)}
        return encode({"type": "error", "error": error, "request_id": request_id})


class Speech:
    def __init__(self, chat: dict[str, Any], id: str) -> None:
        self.chat = encode(chat)
        self._model = chat.get("model")
        self._id = id

    def whole(self, answer: bytes) -> bytes:
        said = told(answer, self._id)
        blocks = [content(block) for block in said.blocks]
        stop = stopped(said.finish, said.matched)
        return encode({**message(self._id, self._model, usage(said.usage)), "content": blocks, **stop})

    def stream(self, limit: int) -> "Events":
        return Events(self._id, self._model, limit)


# --- the request


def chat_of(asked: dict[str, Any]) -> dict[str, Any]:
    """Raises GatewayError."""
    for name in REFUSED:
        if asked.get(name):
            raise unsupported(name, name)
    chat = {name: value for name, value in asked.items() if name not in READ}
    chat["model"] = asked.get("model")
    chat["messages"] = [*system(asked.get("system")), *conversation(asked)]
    for ours, theirs in (("max_tokens", "max_tokens"), ("stop_sequences", "stop")):
        if asked.get(ours) is not None:
            chat[theirs] = asked[ours]
    if asked.get("tools"):
        chat["tools"] = [tool(one, field) for one, field in mappings(asked["tools"], "tools")]
    if asked.get("tool_choice") is not None:
        chat |= tool_choice(mapping(asked["tool_choice"], "tool_choice"))
    chat |= output(asked)
    if asked.get("stream") is True:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return chat


def output(asked: dict[str, Any]) -> dict[str, Any]:
    config = mapping(asked.get("output_config") or {}, "output_config")
    made: dict[str, Any] = {}
    if config.get("effort") is not None:
        if word(config, "effort") not in EFFORTS:
            raise wrong("output_config.effort")
        made["reasoning_effort"] = EFFORTS[config["effort"]]
    wanted = config.get("format") or asked.get("output_format")
    if wanted is not None:
        field = "output_config.format"
        if word(mapping(wanted, field)) != "json_schema":
            raise wrong(field)
        schema = {"name": "answer", "schema": wanted.get("schema"), "strict": True}
        made["response_format"] = {"type": "json_schema", "json_schema": schema}
    return made


def system(given: object) -> list[dict[str, Any]]:
    if given is None or isinstance(given, str):
        return [{"role": "system", "content": given}] if given else []
    parts = [text(block.get("text"), field) for block, field in mappings(given, "system")]
    return [{"role": "system", "content": "\n\n".join(parts)}] if parts else []


def conversation(asked: dict[str, Any]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for one, field in mappings(asked.get("messages"), "messages"):
        role, content = word(one, "role"), one.get("content")
        if role not in {"user", "assistant", "system"}:
            raise wrong(f"{field}.role")
        if isinstance(content, str):
            made.append({"role": role, "content": content})
        elif role == "assistant":
            made.append(assistant(content, f"{field}.content"))
        else:
            made += user(role, content, f"{field}.content")
    if not made:
        raise wrong("messages")
    return made


def user(role: str, content: object, field: str) -> list[dict[str, Any]]:
    """Results of tools are messages of their own, before what the person says of them."""
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block, at in mappings(content, field):
        if block.get("type") == "tool_result":
            result, images = tool_result(block, at)
            results.append(result)
            parts += images
        else:
            parts.append(part(block, at))
    return [*results, *([{"role": role, "content": reading.plain(parts)}] if parts else [])]


def part(block: dict[str, Any], field: str) -> dict[str, Any]:
    kind = word(block)
    if kind == "text":
        return reading.text_part(text(block.get("text"), f"{field}.text"))
    if kind == "image":
        return image(mapping(block.get("source"), f"{field}.source"), f"{field}.source")
    if kind == "document":
        return document(block, field)
    if kind == "search_result":
        said = [text(one.get("text"), at) for one, at in mappings(block.get("content"), f"{field}.content")]
        return reading.text_part("\n\n".join([str(block.get("title") or ""), str(block.get("source") or ""), *said]))
    raise unsupported(kind, field)


def image(source: dict[str, Any], field: str) -> dict[str, Any]:
    if source.get("type") == "url":
        return reading.image_part(text(source.get("url"), f"{field}.url"))
    if source.get("type") == "base64":
        kind, data = text(source.get("media_type"), f"{field}.media_type"), text(source.get("data"), f"{field}.data")
        return reading.image_part(f"data:{kind};base64,{data}")
    raise unsupported(f"source {source.get('type')}", field)


def document(block: dict[str, Any], field: str) -> dict[str, Any]:
    """Text stays text; a PDF is for an engine that reads files, which the others say themselves."""
    at = f"{field}.source"
    source = mapping(block.get("source"), at)
    kind, title = word(source), word(block, "title")
    if kind == "text":
        return reading.text_part("\n\n".join([*([title] if title else []), text(source.get("data"), f"{at}.data")]))
    if kind == "content":
        inner = source.get("content")
        said = [inner] if isinstance(inner, str) else [text(one.get("text"), here) for one, here in mappings(inner, at)]
        return reading.text_part("\n\n".join([title, *said] if title else said))
    if kind == "base64":
        media, data = text(source.get("media_type"), f"{at}.media_type"), text(source.get("data"), f"{at}.data")
        if media == "text/plain":
            return reading.text_part(reading.decoded(data, f"{at}.data"))
        return reading.file_part(f"data:{media};base64,{data}", title or "document.pdf")
    raise unsupported(f"source {kind}", at)


def tool_result(block: dict[str, Any], field: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A tool says text; the images that it gives follow as the person's, where engines read them."""
    content = block.get("content")
    parts = (
        [reading.text_part(content)]
        if isinstance(content, str)
        else [part(one, at) for one, at in mappings(content, f"{field}.content")]
    )
    said = "\n\n".join(one["text"] for one in parts if one["type"] == "text")
    others = [one for one in parts if one["type"] != "text"]
    if block.get("is_error") is True:
        said = f"Error: {said}"
    id = text(block.get("tool_use_id"), f"{field}.tool_use_id")
    return {"role": "tool", "tool_call_id": id, "content": said}, others


def assistant(content: object, field: str) -> dict[str, Any]:
    said, thought, calls = [], [], []
    for block, at in mappings(content, field):
        kind = word(block)
        if kind == "text":
            said.append(text(block.get("text"), f"{at}.text"))
        elif kind == "thinking":
            thought.append(text(block.get("thinking"), f"{at}.thinking"))
        elif kind == "tool_use":
            arguments = encode(mapping(block.get("input"), f"{at}.input")).decode()
            calls.append(reading.call(block.get("id"), block.get("name"), arguments, at))
        elif kind != "redacted_thinking":  # only who encrypted it can read it
            raise unsupported(kind, at)
    made: dict[str, Any] = {"role": "assistant", "content": "".join(said) or (None if calls else "")}
    if thought:
        made["reasoning_content"] = "".join(thought)
    if calls:
        made["tool_calls"] = calls
    return made


def tool(given: dict[str, Any], field: str) -> dict[str, Any]:
    if given.get("type") is not None and word(given) != "custom":
        raise unsupported(str(given["type"]), field)
    schema = given.get("input_schema")
    return reading.function(given.get("name"), field, description=given.get("description"), parameters=schema)


def tool_choice(given: dict[str, Any]) -> dict[str, Any]:
    kind = word(given)
    made: dict[str, Any] = {}
    if kind == "tool":
        name = text(given.get("name"), "tool_choice.name")
        made["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif kind in CHOICES:
        made["tool_choice"] = CHOICES[kind]
    else:
        raise wrong("tool_choice.type")
    if given.get("disable_parallel_tool_use") is True:
        made["parallel_tool_calls"] = False
    return made


# --- the answer


def message(id: str, model: object, used: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_{id}", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": used,
    }  # fmt: skip


def usage(given: dict[str, Any]) -> dict[str, Any]:
    """Anthropic counts apart what came from the cache: the sum of the three is what was read."""
    details, thought = given.get("prompt_tokens_details"), given.get("completion_tokens_details")
    read = count(given.get("prompt_tokens")) or 0
    cached = min((count(details.get("cached_tokens")) or 0) if isinstance(details, dict) else 0, read)
    made: dict[str, Any] = {
        "input_tokens": read - cached, "cache_creation_input_tokens": 0, "cache_read_input_tokens": cached,
        "output_tokens": count(given.get("completion_tokens")) or 0,
    }  # fmt: skip
    if isinstance(thought, dict) and count(thought.get("reasoning_tokens")):
        made["output_tokens_details"] = {"thinking_tokens": thought["reasoning_tokens"]}
    if "impacts" in given:
        made["impacts"] = given["impacts"]
    return made


def stopped(finish: str, matched: str | None) -> dict[str, Any]:
    if matched is not None and finish == "stop":
        return {"stop_reason": "stop_sequence", "stop_sequence": matched}
    return {"stop_reason": STOP_REASONS.get(finish, "end_turn"), "stop_sequence": None}


def content(block: Block) -> dict[str, Any]:
    if block.kind is Kind.TOOL:
        return {"type": "tool_use", "id": block.call_id, "name": block.name, "input": arguments(block.text)}
    if block.kind is Kind.THINKING:
        return {"type": "thinking", "thinking": block.text, "signature": ""}
    return {"type": "text", "text": block.text}


def arguments(said: str) -> dict[str, Any]:
    """A model may write what is no JSON; its client can do nothing with half a call, and must see what was said."""
    try:
        return reading.object_decode(said)
    except UNREADABLE:
        return {"_unparsed": said}


EMPTY: dict[Kind, dict[str, Any]] = {
    Kind.TEXT: {"type": "text", "text": ""},
    Kind.THINKING: {"type": "thinking", "thinking": "", "signature": ""},
}
DELTAS = {
    Kind.TEXT: ("text_delta", "text"),
    Kind.THINKING: ("thinking_delta", "thinking"),
    Kind.TOOL: ("input_json_delta", "partial_json"),
}


class Events(Turn):
    def __init__(self, id: str, model: object, limit: int) -> None:
        super().__init__(id, limit)
        self._model = model

    def begun(self) -> None:
        """The engine counts at the end: message_delta has the figures, which are totals."""
        self.emit("message_start", message=message(self.id, self._model, usage({})))
        self.alive()

    def alive(self) -> None:
        self.emit("ping")

    def opened(self, block: Block) -> None:
        tool = {"type": "tool_use", "id": block.call_id, "name": block.name, "input": {}}
        self.emit("content_block_start", index=block.index, content_block=EMPTY.get(block.kind, tool))

    def said(self, block: Block, text: str) -> None:
        type, name = DELTAS[block.kind]
        self.emit("content_block_delta", index=block.index, delta={"type": type, name: text})

    def closed(self, block: Block) -> None:
        self.emit("content_block_stop", index=block.index)

    def ended(self) -> None:
        self.emit("message_delta", delta=stopped(self.finish_reason, self.matched), usage=usage(self.usage))
        self.emit("message_stop")

    def failed(self, error: dict[str, Any]) -> None:
        known = {"rate_limit_error", "authentication_error", "permission_error", "timeout_error", "overloaded_error"}
        kind = word(error)
        self.emit("error", error={**error, "type": kind if kind in known else "api_error"})
