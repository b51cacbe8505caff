"""`openai`, of any major: base URL and key, then moves."""

import sys
from typing import Any

import driver
import openai
import pydantic

client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], timeout=10, max_retries=0)
QUESTION = {"model": "modele", "messages": [{"role": "user", "content": "Bonjour"}]}


class Answer(pydantic.BaseModel):
    oui: bool


def version() -> str:
    return openai.__version__


def chat(**changes: Any) -> Any:
    answered = client.chat.completions.create(**{**QUESTION, **changes})
    return {**answered.model_dump(), "request_id": answered._request_id}


def stream(**changes: Any) -> Any:
    chunks = []
    for chunk in client.chat.completions.create(**{**QUESTION, **changes}, stream=True):
        chunks.append(chunk.model_dump(exclude_unset=True))
        driver.seen.extend(choice.delta.content or "" for choice in chunk.choices)
    return chunks


def accumulate(**changes: Any) -> Any:
    """The library's own accumulation of deltas."""
    with client.chat.completions.stream(**{**QUESTION, **changes}) as events:
        return events.get_final_completion().model_dump()


def parse(**changes: Any) -> Any:
    answered = client.chat.completions.parse(**{**QUESTION, **changes}, response_format=Answer)
    return answered.choices[0].message.parsed.model_dump()


def embed(**given: Any) -> Any:
    return client.embeddings.create(model="modele", **given).model_dump()


def respond(**changes: Any) -> Any:
    return client.responses.create(**{"model": "modele", "input": "Bonjour", **changes}).model_dump()


def respond_stream(**changes: Any) -> Any:
    with client.responses.stream(**{"model": "modele", "input": "Bonjour", **changes}) as events:
        kinds = []
        for event in events:
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                driver.seen.append(event.delta)
        return {"events": kinds, "response": event.response.model_dump()}


def models() -> Any:
    return [model.id for model in client.models.list()]


def model(name: str) -> Any:
    return client.models.retrieve(name).model_dump()


def transcribe(path: str) -> Any:
    with open(path, "rb") as file:  # noqa: PTH123
        return client.audio.transcriptions.create(model="modele", file=file, language="fr").model_dump()


def as_another(key: str) -> Any:
    return client.with_options(api_key=key).chat.completions.create(**QUESTION).model_dump()


def patient() -> Any:
    return client.with_options(max_retries=1).chat.completions.create(**QUESTION).choices[0].message.content


driver.serve(
    version, chat, stream, accumulate, parse, embed, respond, respond_stream, models, model, transcribe, as_another,
    patient,
)  # fmt: skip
