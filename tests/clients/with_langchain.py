"""`langchain-openai`: base URL and key, then moves."""

import sys
from typing import Any

import driver
import langchain_openai
import pydantic
import tiktoken
from langchain_core.tools import tool

# Its embeddings are sent as token ids of an encoding that it would download: bytes, here.
tiktoken.registry.ENCODINGS["cl100k_base"] = tiktoken.Encoding(
    "cl100k_base", pat_str=r"(?s).+", mergeable_ranks={bytes([byte]): byte for byte in range(256)}, special_tokens={}
)
MEANS = {"base_url": sys.argv[1], "api_key": sys.argv[2], "model": "modele", "timeout": 10, "max_retries": 0}


class Answer(pydantic.BaseModel):
    oui: bool


@tool
def lire(chemin: str) -> str:
    """Lit."""
    return chemin


@tool
def noter(note: int) -> str:
    """Note."""
    return str(note)


def version() -> str:
    from importlib.metadata import version as of

    return of("langchain-openai")


def _model(**settings: Any) -> Any:
    return langchain_openai.ChatOpenAI(**{**MEANS, **settings})


def chat(messages: Any = "Bonjour", **settings: Any) -> Any:
    return (
        _model(**settings).invoke([tuple(one) for one in messages] if isinstance(messages, list) else messages).dict()
    )


def look(url: str) -> Any:
    parts = [{"type": "text", "text": "Que vois-tu ?"}, {"type": "image_url", "image_url": {"url": url}}]
    return _model().invoke([{"role": "user", "content": parts}]).dict()


def stream(tools: bool = False, **settings: Any) -> Any:
    asked = _model(stream_usage=True, **settings)
    if tools:
        asked = asked.bind_tools([lire, noter])
    whole = None
    for chunk in asked.stream("Bonjour"):
        driver.seen.append(chunk.text if isinstance(chunk.text, str) else chunk.text())
        whole = chunk if whole is None else whole + chunk
    return {**whole.dict(), "blocks": whole.content_blocks}


def parse() -> Any:
    return _model().with_structured_output(Answer, method="json_schema", strict=True).invoke("Bonjour").model_dump()


def embed(texts: list[str], **settings: Any) -> Any:
    return langchain_openai.OpenAIEmbeddings(**{**MEANS, **settings}).embed_documents(texts)


def as_another(key: str) -> Any:
    return _model(api_key=key).invoke("Bonjour").dict()


driver.serve(version, chat, look, stream, parse, embed, as_another)
