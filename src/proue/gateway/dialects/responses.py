"""OpenAI's responses, stateless: the client sends the whole conversation each time, and nothing is kept of it."""

from collections.abc import Iterator
from typing import Any

from proue.gateway.dialects import reading
from proue.gateway.dialects.reading import encode, mapping, mappings, text, unsupported, word, wrong
from proue.gateway.dialects.turn import Block, Kind, Told, Turn, told
from proue.gateway.errors import GatewayError
from proue.gateway.meter import count

# Read here, or said of what is kept and how it is shown: we keep nothing. Any other field passes as it came.
READ = frozenset(
    {
        "model", "input", "instructions", "max_output_tokens", "reasoning", "text", "tools", "tool_choice", "stream",
        "stream_options", "store", "include", "truncation", "metadata", "client_metadata", "max_tool_calls",
        "previous_response_id", "conversation", "background", "prompt", "service_tier", "context_management",
        "prompt_cache_retention", "prompt_cache_options", "top_logprobs", "moderation",
    }
)  # fmt: skip
KEPT = ("previous_response_id", "conversation")
REFUSED = ("background", "prompt")
CHOICES = ("auto", "none", "required")
SYSTEM = ("system", "developer")
TOLD = (
    "instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "prompt_cache_key", "reasoning",
    "safety_identifier", "temperature", "text", "tool_choice", "tools", "top_p", "user",
)  # fmt: skip
DEFAULTS: dict[str, object] = {
    "instructions": None, "max_output_tokens": None, "metadata": {}, "parallel_tool_calls": True, "reasoning": None,
    "temperature": None, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": None,
}  # fmt: skip
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Responses:
    def read(self, data: bytes, id: str) -> "Speech":
        return Speech(reading.whole(data), id)

    def refusal(self, status: int, body: bytes, request_id: str) -> bytes:
        return body


class Speech:
    def __init__(self, asked: dict[str, Any], id: str) -> None:
        self.chat = encode(chat_of(asked))
        self._asked = asked
        self._id = id

    def whole(self, answer: bytes) -> bytes:
        said = told(answer, self._id)
        return encode(response(self._asked, self._id, said))

    def stream(self, limit: int) -> "Events":
        return Events(self._id, self._asked, limit)


# --- the request


def chat_of(asked: dict[str, Any]) -> dict[str, Any]:
    """Raises GatewayError."""
    for name in KEPT:
        if asked.get(name) is not None:
            raise GatewayError("request.stateless", param=name, field=name)
    for name in REFUSED:
        if asked.get(name):
            raise unsupported(name, name)
    chat = {name: value for name, value in asked.items() if name not in READ and value is not None}
    chat["model"] = asked.get("model")
    chat["messages"] = conversation(asked)
    if asked.get("max_output_tokens") is not None:
        chat["max_tokens"] = asked["max_output_tokens"]
    effort = mapping(asked.get("reasoning") or {}, "reasoning").get("effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    chat |= tools(asked)
    chat |= output(mapping(asked.get("text") or {}, "text"))
    if asked.get("stream") is True:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return chat


def output(given: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if given.get("verbosity") is not None:
        made["verbosity"] = given["verbosity"]
    format = mapping(given.get("format") or {"type": "text"}, "text.format")
    kind = word(format)
    if kind == "json_schema":
        schema = {name: format[name] for name in ("name", "description", "schema", "strict") if name in format}
        made["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind == "json_object":
        made["response_format"] = {"type": "json_object"}
    elif kind != "text":
        raise unsupported(kind, "text.format.type")
    return made


def tools(asked: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    given = [tool(one, field, space) for space, one, field in functions(asked)]
    names = [one["function"]["name"] for one in given]
    if len(set(names)) < len(names):  # one would be called for another
        raise wrong("tools")
    choice = asked.get("tool_choice")
    if isinstance(choice, dict):
        if word(choice) == "allowed_tools":
            chosen = mappings(choice.get("tools"), "tool_choice.tools")
            allowed = {flat(word(one, "namespace"), word(one, "name")) for one, _ in chosen}
            given = [one for one in given if one["function"]["name"] in allowed]
            choice = choice.get("mode")
        elif word(choice) == "function":
            choice = {"type": "function", "function": {"name": text(choice.get("name"), "tool_choice.name")}}
        else:
            raise unsupported(word(choice), "tool_choice")
    if choice is not None:
        if not isinstance(choice, dict) and choice not in CHOICES:
            raise wrong("tool_choice")
        made["tool_choice"] = choice
    if given:
        made["tools"] = given
    return made


def functions(asked: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Each with its namespace and its place. A namespace is how Codex groups the functions of a server or of agents."""
    for one, field in mappings(asked.get("tools"), "tools"):
        if word(one) == "namespace":
            space = text(one.get("name"), f"{field}.name")
            for inner, at in mappings(one.get("tools"), f"{field}.tools"):
                yield space, inner, at
        else:
            yield "", one, field


def flat(space: str, name: str) -> str:
    """Chat completions know no namespace."""
    return f"{space}__{name}" if space else name


def spaces(asked: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What a flat name stands for."""
    found = ((space, word(one, "name")) for space, one, _ in functions(asked) if space)
    return {flat(space, name): (space, name) for space, name in found}


def tool(given: dict[str, Any], field: str, space: str = "") -> dict[str, Any]:
    """A tool of OpenAI's own (web_search, file_search…) would have to be run: refused, never dropped in silence."""
    if word(given) != "function":
        raise unsupported(word(given), field)
    strict = {} if given.get("strict") is None else {"strict": given["strict"]}
    about, schema = given.get("description"), given.get("parameters")
    name = flat(space, text(given.get("name"), f"{field}.name")) if space else given.get("name")
    return reading.function(name, field, description=about, parameters=schema, **strict)


def conversation(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Instructions and what leads are one system message: templates know one, and at the beginning."""
    given = asked.get("input")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else turns(given)
    if not messages:
        raise wrong("input")
    instructions = asked.get("instructions")
    lead = [text(instructions, "instructions")] if instructions else []
    while messages and messages[0]["role"] == "system" and isinstance(messages[0]["content"], str):
        lead.append(messages.pop(0)["content"])
    return [*([{"role": "system", "content": "\n\n".join(lead)}] if lead else []), *messages]


def turns(given: object) -> list[dict[str, Any]]:
    """What a model said in one turn (reasoning, text, calls) is one message again."""
    made: list[dict[str, Any]] = []
    thought: list[str] = []
    for item, field in mappings(given, "input"):
        kind = word(item) or "message"
        if kind == "reasoning":
            thought += reasoning(item, field)
        elif kind == "function_call":
            arguments = text(item.get("arguments"), f"{field}.arguments")
            space, name = word(item, "namespace"), item.get("name")
            name = flat(space, text(name, f"{field}.name")) if space else name
            call = reading.call(item.get("call_id"), name, arguments, field)
            last = _turn(made, thought)
            last["content"] = last["content"] or None
            last.setdefault("tool_calls", []).append(call)
        elif kind == "function_call_output":
            made += result(item, field)
        elif kind == "message":
            _said(made, thought, item, field)
        else:
            raise unsupported(kind, field)
    return made


def _turn(made: list[dict[str, Any]], thought: list[str]) -> dict[str, Any]:
    """The assistant's message under way; reasoning begins another one when the last has already called tools."""
    if not made or made[-1]["role"] != "assistant" or (thought and made[-1].get("tool_calls")):
        made.append({"role": "assistant", "content": ""})
    if thought:
        made[-1]["reasoning_content"] = made[-1].get("reasoning_content", "") + "".join(thought)
        thought.clear()
    return made[-1]


def _said(made: list[dict[str, Any]], thought: list[str], item: dict[str, Any], field: str) -> None:
    role, content = word(item, "role"), item.get("content")
    if role == "assistant":
        said = content if isinstance(content, str) else "".join(words(content, f"{field}.content"))
        if made and made[-1]["role"] == "assistant" and made[-1]["content"] and not thought:
            made.append({"role": "assistant", "content": ""})
        _turn(made, thought)["content"] = said
    elif role in {"user", *SYSTEM}:
        parts = content if isinstance(content, str) else reading.plain(_parts(content, f"{field}.content"))
        made.append({"role": "system" if role in SYSTEM else role, "content": parts})
    else:
        raise wrong(f"{field}.role")


def words(content: object, field: str) -> list[str]:
    """Of what a model said."""
    found = []
    for part, at in mappings(content, field):
        if word(part) == "refusal":
            found.append(text(part.get("refusal"), f"{at}.refusal"))
        elif word(part) in {"output_text", "input_text", "text"}:
            found.append(text(part.get("text"), f"{at}.text"))
        else:
            raise unsupported(word(part), at)
    return found


def _parts(content: object, field: str) -> list[dict[str, Any]]:
    return [_part(part, at) for part, at in mappings(content, field)]


def _part(part: dict[str, Any], field: str) -> dict[str, Any]:
    kind = word(part)
    if part.get("file_id") is not None:
        raise unsupported("file_id", field)
    if kind in {"input_text", "output_text", "text"}:
        return reading.text_part(text(part.get("text"), f"{field}.text"))
    if kind == "input_image":
        more = {} if part.get("detail") is None else {"detail": part["detail"]}
        return reading.image_part(text(part.get("image_url"), f"{field}.image_url"), **more)
    if kind == "input_file" and part.get("file_data") is not None:
        return reading.file_part(
            text(part["file_data"], f"{field}.file_data"), word(part, "filename") or "document.pdf"
        )
    raise unsupported(kind, field)


def reasoning(item: dict[str, Any], field: str) -> list[str]:
    """Encrypted reasoning is its maker's: there is none of ours."""
    return [text(one.get("text"), f"{at}.text") for one, at in mappings(item.get("content"), f"{field}.content")]


def result(item: dict[str, Any], field: str) -> list[dict[str, Any]]:
    output = item.get("output")
    parts = [reading.text_part(output)] if isinstance(output, str) else _parts(output, f"{field}.output")
    said = "\n\n".join(one["text"] for one in parts if one["type"] == "text")
    others = [one for one in parts if one["type"] != "text"]
    made = [{"role": "tool", "tool_call_id": text(item.get("call_id"), f"{field}.call_id"), "content": said}]
    return [*made, {"role": "user", "content": others}] if others else made


# --- the answer


def frame(asked: dict[str, Any], id: str, **more: object) -> dict[str, Any]:
    """The response object: what was asked is told again, what we never keep is said not to be kept."""
    told = {name: asked[name] for name in TOLD if asked.get(name) is not None}
    return {
        "id": f"resp_{id}", "object": "response", "created_at": _seconds(id), "status": "in_progress",
        "background": False, "error": None, "incomplete_details": None, "model": asked.get("model"), "output": [],
        "previous_response_id": None, "service_tier": "default", "store": False, "truncation": "disabled",
        "usage": None, **DEFAULTS, **told, **more,
    }  # fmt: skip


def _seconds(id: str) -> int:
    """A UUIDv7 begins with its instant, in milliseconds."""
    return int(id.replace("-", "")[:12], 16) // 1000


def response(asked: dict[str, Any], id: str, said: Told) -> dict[str, Any]:
    output = [item(block, id, spaces(asked), done=True) for block in said.blocks]
    return frame(asked, id, output=output, usage=usage(said.usage), **status(said.finish))


def status(finish: str) -> dict[str, Any]:
    reason = INCOMPLETE.get(finish)
    if reason is None:
        return {"status": "completed"}
    return {"status": "incomplete", "incomplete_details": {"reason": reason}}


def usage(given: dict[str, Any]) -> dict[str, Any]:
    read, written = count(given.get("prompt_tokens")) or 0, count(given.get("completion_tokens")) or 0
    made: dict[str, Any] = {
        "input_tokens": read,
        "input_tokens_details": {
            "cached_tokens": _detail(given, "prompt_tokens_details", "cached_tokens"), "cache_write_tokens": 0
        },
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": _detail(given, "completion_tokens_details", "reasoning_tokens")},
        "total_tokens": read + written,
    }  # fmt: skip
    if "impacts" in given:
        made["impacts"] = given["impacts"]
    return made


def _detail(given: dict[str, Any], group: str, name: str) -> int:
    details = given.get(group)
    return (count(details.get(name)) or 0) if isinstance(details, dict) else 0


PREFIXES = {Kind.TEXT: "msg", Kind.THINKING: "rs", Kind.TOOL: "fc"}


def item_id(block: Block, id: str) -> str:
    return f"{PREFIXES[block.kind]}_{id}_{block.index}"


def item(block: Block, id: str, known: dict[str, tuple[str, str]], *, done: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"id": item_id(block, id), "status": "completed" if done else "in_progress"}
    parts = [part(block)] if done else []
    if block.kind is Kind.TOOL:
        arguments = block.text if done else ""
        space, name = known.get(block.name, ("", block.name))
        made |= {"type": "function_call", "call_id": block.call_id, "name": name, "arguments": arguments}
        return {**made, "namespace": space} if space else made
    if block.kind is Kind.THINKING:
        return {**made, "type": "reasoning", "summary": [], "content": parts}
    return {**made, "type": "message", "role": "assistant", "content": parts}


def part(block: Block, *, empty: bool = False) -> dict[str, Any]:
    said = "" if empty else block.text
    if block.kind is Kind.THINKING:
        return {"type": "reasoning_text", "text": said}
    noted = [] if empty else [annotation(one) for one in block.annotations]
    return {"type": "output_text", "text": said, "annotations": noted, "logprobs": []}


def annotation(given: Any) -> Any:
    """Chat nests what responses say flat."""
    if isinstance(given, dict) and isinstance(inner := given.get(word(given)), dict):
        return {"type": given["type"], **inner}
    return given


class Events(Turn):
    def __init__(self, id: str, asked: dict[str, Any], limit: int) -> None:
        super().__init__(id, limit)
        self._asked = asked
        self._spaces = spaces(asked)
        self._number = 0

    def tell(self, type: str, **fields: object) -> None:
        self.emit(type, sequence_number=self._number, **fields)
        self._number += 1

    def begun(self) -> None:
        self.tell("response.created", response=frame(self._asked, self.id))
        self.tell("response.in_progress", response=frame(self._asked, self.id))

    def alive(self) -> None:
        self._out.append(b": ping\n\n")

    def opened(self, block: Block) -> None:
        self.tell(
            "response.output_item.added", output_index=block.index, item=item(block, self.id, self._spaces, done=False)
        )
        if block.kind is not Kind.TOOL:
            self.tell("response.content_part.added", part=part(block, empty=True), **self._place(block))

    def said(self, block: Block, text: str) -> None:
        if block.kind is Kind.TOOL:
            self.tell("response.function_call_arguments.delta", delta=text, **self._item(block))
        elif block.kind is Kind.THINKING:
            self.tell("response.reasoning_text.delta", delta=text, **self._place(block))
        else:
            self.tell("response.output_text.delta", delta=text, logprobs=[], **self._place(block))

    def annotated(self, block: Block, annotations: list[Any]) -> None:
        if block.kind is Kind.TEXT:
            first = len(block.annotations) - len(annotations)
            for rank, one in enumerate(annotations, first):
                noted = annotation(one)
                place = self._place(block)
                self.tell("response.output_text.annotation.added", annotation=noted, annotation_index=rank, **place)

    def closed(self, block: Block) -> None:
        said = block.text
        if block.kind is Kind.TOOL:
            _, name = self._spaces.get(block.name, ("", block.name))
            self.tell("response.function_call_arguments.done", arguments=said, name=name, **self._item(block))
        elif block.kind is Kind.THINKING:
            self.tell("response.reasoning_text.done", text=said, **self._place(block))
        else:
            self.tell("response.output_text.done", text=said, logprobs=[], **self._place(block))
        if block.kind is not Kind.TOOL:
            self.tell("response.content_part.done", part=part(block), **self._place(block))
        self.tell(
            "response.output_item.done", output_index=block.index, item=item(block, self.id, self._spaces, done=True)
        )

    def ended(self) -> None:
        ending = status(self.finish_reason)
        whole = frame(self._asked, self.id, output=self._output(), usage=usage(self.usage), **ending)
        self.tell(f"response.{ending['status']}", response=whole)

    def failed(self, error: dict[str, Any]) -> None:
        """What was said stays said; the response is failed, which its clients raise or show."""
        self._begin()
        told = {**error, "code": str(error.get("code") or "server_error"), "message": str(error.get("message") or "")}
        whole = frame(self._asked, self.id, output=self._output(), status="failed", error=told)
        self.tell("response.failed", response=whole)

    def _output(self) -> list[dict[str, Any]]:
        open = self._open
        return [item(block, self.id, self._spaces, done=True) for block in self.blocks if block is not open]

    def _item(self, block: Block) -> dict[str, Any]:
        return {"item_id": item_id(block, self.id), "output_index": block.index}

    def _place(self, block: Block) -> dict[str, Any]:
        return {**self._item(block), "content_index": 0}
