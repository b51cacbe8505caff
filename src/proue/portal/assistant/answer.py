"""A whole answer of the gateway, read with caution: whatever is not of the expected shape is left out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import ngettext

from proue.portal.markdown import Block, Links, blocks
from proue.portal.words import PERSONAL

MAX_ANSWER = 200_000
SOURCES = re.compile(r"\n+Sources\n\[1\][\s\S]*$")


@dataclass(frozen=True, slots=True)
class Source:
    number: int
    href: str
    title: str
    quote: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    blocks: list[Block]
    sources: tuple[Source, ...]
    model: str = ""
    endpoint: str = ""
    impacts: Mapping[str, Any] = field(default_factory=dict)


def read(body: Mapping[str, Any], endpoint: str, origins: Sequence[str]) -> Answer:
    choices = body.get("choices") or [{}]
    message = choices[0].get("message") or {}
    sources = tuple(_sources(message, Links({}, origins)))
    text = without_sources(str(message.get("content") or "")[:MAX_ANSWER], listed=bool(sources))
    return Answer(
        blocks=blocks(text, Links({one.number: one.href for one in sources}, origins)),
        sources=sources,
        model=str(body.get("model") or ""),
        endpoint=endpoint,
        impacts=(body.get("usage") or {}).get("impacts") or {},
    )


MASKED = re.compile(r"([A-Z]+)=(\d{1,6})")


def masked(header: str) -> str:
    """The shield's one sentence, from `EMAIL=1,PHONE=2`; nothing when nothing was masked."""
    counts = {kind: int(count) for kind, count in MASKED.findall(header)}
    total = sum(counts.values())
    if not total:
        return ""
    what = ", ".join(f"{PERSONAL.get(kind, kind)} × {count}" for kind, count in counts.items())
    return masked_words(total).format(n=total, what=what)


def masked_words(total: int) -> str:
    """With {n} and {what} to fill in."""
    return ngettext(
        "{n} élément masqué avant l’envoi, rétabli ici : {what}.",
        "{n} éléments masqués avant l’envoi, rétablis ici : {what}.",
        total,
    )


def without_sources(text: str, *, listed: bool) -> str:
    """The engine ends with its sources for programs that show text only; the page lists them itself."""
    return SOURCES.sub("", text) if listed else text


def _sources(message: Mapping[str, Any], links: Links) -> Iterator[Source]:
    cited = message.get("citations")
    if not cited:
        cited = [one.get("url_citation") or {} for one in message.get("annotations") or []]
    number = 0
    for one in cited:
        href = links.own_path(str(one.get("url", "")))
        if not href:
            continue
        number += 1
        where = " · ".join(str(one[name]) for name in ("institution", "section", "date") if one.get(name))
        quote = str(one.get("quote") or "")
        already = str(one.get("shown") or quote) in str(message.get("content") or "")
        yield Source(number, href, str(one.get("title") or href), "" if already else quote, where)
