"""docs/reference/errors.md says every refusal of the gateway, in both languages.

Write it anew with `python -m tests.unit.test_errors_documented`.
"""

from pathlib import Path

from proue.gateway.errors import SENTENCES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
HEAD = """# Errors of the gateway

Every error under `/v1` has the shape of OpenAI's: `{"error": {"message", "type", "code", "param"}}`. `code` is stable.
`policy.gate_closed` adds `clauses`, each with its `clause`, `requirement`, `check`, `need`, `commitment`, `verdict` and
`reason`; the header `x-proue-route-reason` names them too. `shield.personal_data` adds `found`, the number of different
values of each kind, and never a value.
The message is French, or English when `Accept-Language` prefers it. After the first event of a stream an error comes in
the stream, without `[DONE]`.

`x-should-retry: false` marks a definitive refusal. A saturation (429, 503, 529) says `true` with `retry-after-ms` and
`retry-after`: the engine's own delay, else a second; a delay of more than two minutes is `false`, for no client waits
so long. Other errors leave it to the client.

A refusal of an engine (400, 404, 413, 422…) keeps its status and its words; its 401 and 403 refuse our key, not yours:
`upstream.unauthorized`. What failed before the first event was first asked of every other endpoint that may answer.

Under `/v1/messages` the shape is Anthropic's, `{"type": "error", "error": {"type", "message", …}, "request_id"}`, with
the same `code`, `param` and `clauses` inside; in a stream it is `event: error`. In a stream of `/v1/responses` it is
`response.failed`.

| code | status | français | English |
|---|---|---|---|
"""


def page() -> str:
    known = sorted(SENTENCES.items())
    rows = (f"| `{code}` | {one.status} | {one.french} | {one.english} |" for code, one in known)
    return HEAD + "\n".join(rows) + "\n"


def test_the_page_of_errors_is_complete_and_true():
    assert PAGE.read_text() == page()


if __name__ == "__main__":
    PAGE.write_text(page())
