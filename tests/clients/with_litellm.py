"""`litellm` as a library: base URL and key, then moves."""

import asyncio
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would be downloaded

import driver
import litellm

litellm.telemetry = False
litellm.suppress_debug_info = True
URL, KEY = sys.argv[1:3]
MEANS = {"api_base": URL, "api_key": KEY, "timeout": 10, "num_retries": 0, "max_retries": 0}
# It only pretends to stream the responses of a model that it does not know.
litellm.register_model({"openai/modele": {"litellm_provider": "openai", "supports_native_streaming": True}})
QUESTION = {"model": "openai/modele", "messages": [{"role": "user", "content": "Bonjour"}], **MEANS}


def version() -> str:
    from importlib.metadata import version as of

    return of("litellm")


def chat(**changes: Any) -> Any:
    return litellm.completion(**{**QUESTION, **changes}).model_dump()


def stream(**changes: Any) -> Any:
    """Async, put together by the library."""

    async def read() -> Any:
        chunks = []
        async for chunk in await litellm.acompletion(**{**QUESTION, **changes}, stream=True):
            chunks.append(chunk)
            driver.seen.extend(choice.delta.content or "" for choice in chunk.choices)
        return litellm.stream_chunk_builder(chunks).model_dump()

    return asyncio.run(read())


CLAUDE = {"model": "anthropic/modele", "api_base": URL.removesuffix("/v1"), "max_tokens": 9}


def claude(**changes: Any) -> Any:
    """The same question in Anthropic's dialect."""
    return chat(**{**CLAUDE, **changes})


def claude_stream() -> Any:
    return stream(**CLAUDE)


def embed(**given: Any) -> Any:
    return litellm.embedding(model="openai/modele", **MEANS, **given).model_dump()


def respond(**changes: Any) -> Any:
    return litellm.responses(**{"model": "openai/modele", "input": "Bonjour", **MEANS, **changes}).model_dump()


def respond_stream(**changes: Any) -> Any:
    asked = {"model": "openai/modele", "input": "Bonjour", **MEANS, **changes}
    return [str(getattr(event.type, "value", event.type)) for event in litellm.responses(**asked, stream=True)]


def transcribe(path: str) -> Any:
    with open(path, "rb") as file:  # noqa: PTH123
        return litellm.transcription(model="openai/modele", file=file, language="fr", **MEANS).model_dump()


def rank(**given: Any) -> Any:
    return litellm.rerank(model="hosted_vllm/modele", **{**MEANS, **given}).model_dump()


def as_another(key: str) -> Any:
    return litellm.completion(**{**QUESTION, "api_key": key}).model_dump()


driver.serve(version, chat, stream, claude, claude_stream, embed, respond, respond_stream, transcribe, rank, as_another)
