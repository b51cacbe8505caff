"""`/v1/files` and `/v1/batches`, as the gateway relays them: the errand that it signs says whose key asks.

The same rule as elsewhere in this room: a view reads or acts once.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, BinaryIO, cast
from uuid import UUID

import msgspec
from django.conf import settings
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.http.multipartparser import MultiPartParserError
from django.urls import path
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from proue.api import openai
from proue.api.errors import ApiError, respond, respond_to
from proue.api.urls import language
from proue.api.views import Asked
from proue.batches import access, actions, queries, rules
from proue.batches.access import Holder
from proue.kernel.dataclass import DataClass
from proue.kernel.refusal import NotFound, Refusal
from proue.store import files
from proue.store.access import scopes
from proue.wire import token

BLOCK_BYTES = 256 * 1024
MOST, USUAL = {"file": 1000, "batch": 100}, {"file": 1000, "batch": 20}
SECONDS = re.compile(r"\d{1,9}")
Answer = dict[str, Any] | HttpResponseBase
View = Callable[..., Answer]


class NewBatch(msgspec.Struct, frozen=True):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None


_new_batch = msgspec.json.Decoder(NewBatch)


# --- views


def receive(asked: Asked, holder: Holder) -> Answer:
    request = cast("HttpRequest", asked)
    try:
        sent, fields = request.FILES.get("file"), request.POST
    except (MultiPartParserError, BadRequest, SuspiciousOperation):
        raise ApiError(400, "form.malformed", _("Le formulaire n’est pas lisible.")) from None
    if sent is None:
        raise rules.FileMissing
    row = actions.receive_file(
        actor=holder,
        name=sent.name or "",
        purpose=fields.get("purpose", ""),
        blocks=sent.chunks(BLOCK_BYTES),
        seconds=_expiry(fields),
        at=asked.at,
    )
    return openai.file(row)


def _expiry(fields: Mapping[str, Any]) -> int | None:
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at" or not SECONDS.fullmatch(str(seconds)):
        raise rules.BadExpiry(least=int(rules.KEPT_LEAST.total_seconds()), longest=int(rules.KEPT.total_seconds()))
    return int(str(seconds))


def list_files(asked: Asked, holder: Holder) -> Answer:
    after, limit, ascending = _page(asked, openai.FILE, "file")
    rows = queries.files_of(holder, asked.at, purpose=asked.GET.get("purpose", "")[:16])
    found, more = queries.page(rows, after=after, limit=limit, ascending=ascending)
    return openai.listed([openai.file(one) for one in found], more=more)


def file(asked: Asked, holder: Holder, id: str) -> Answer:
    return openai.file(access.file_for(holder, openai.id_of(openai.FILE, id), asked.at))


def erase(asked: Asked, holder: Holder, id: str) -> Answer:
    row = access.file_for(holder, openai.id_of(openai.FILE, id), asked.at)
    answer = openai.deleted(row)
    actions.erase_file(actor=holder, file=row, at=asked.at)
    return answer


def content(asked: Asked, holder: Holder, id: str) -> Answer:
    row = access.file_for(holder, openai.id_of(openai.FILE, id), asked.at)
    try:
        source = files.opened(row.file)
    except (FileNotFoundError, files.Damaged):
        raise ApiError(
            500, "file.damaged", _("Ce fichier est abîmé : prévenez la personne qui exploite Proue.")
        ) from None
    response = StreamingHttpResponse(_blocks(source), content_type="application/jsonl")
    response["content-length"] = str(row.size)
    response["content-disposition"] = "attachment"
    response["cache-control"] = "private, no-store"
    return response


async def _blocks(source: BinaryIO) -> AsyncIterator[bytes]:
    """The file is open: no row is read any more, so no scope is entered."""
    try:
        while block := await asyncio.to_thread(source.read, BLOCK_BYTES):
            yield block
    finally:
        source.close()


def submit(asked: Asked, holder: Holder) -> Answer:
    try:
        body = _new_batch.decode(cast("HttpRequest", asked).body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, SuspiciousOperation) as error:
        sentence = _("Le corps de la requête n’a pas la forme attendue (%(why)s).") % {"why": str(error)[:200]}
        raise ApiError(400, "body.invalid", sentence) from None
    row = actions.submit_batch(
        actor=holder,
        input_id=_named(body.input_file_id),
        endpoint=body.endpoint,
        window=body.completion_window,
        metadata=body.metadata or {},
        at=asked.at,
    )
    return openai.batch(row)


def _named(text: str) -> UUID:
    try:
        return openai.id_of(openai.FILE, text)
    except NotFound:
        raise rules.FileUnknown from None


def list_batches(asked: Asked, holder: Holder) -> Answer:
    after, limit, ascending = _page(asked, openai.BATCH, "batch")
    found, more = queries.page(queries.batches_of(holder), after=after, limit=limit, ascending=ascending)
    return openai.listed([openai.batch(one) for one in found], more=more)


def batch(asked: Asked, holder: Holder, id: str) -> Answer:
    return openai.batch(access.batch_for(holder, openai.id_of(openai.BATCH, id)))


def cancel(asked: Asked, holder: Holder, id: str) -> Answer:
    row = access.batch_for(holder, openai.id_of(openai.BATCH, id))
    return openai.batch(actions.cancel_batch(actor=holder, batch=row, at=asked.at))


def _page(asked: Asked, prefix: str, kind: str) -> tuple[UUID | None, int, bool]:
    """OpenAI's cursor. Newest first, unless asked otherwise."""
    after, limit, order = (asked.GET.get(name) for name in ("after", "limit", "order"))
    if limit is not None and not (limit.isascii() and limit.isdigit() and len(limit) < 6 and int(limit)):
        raise ApiError(400, "limit.invalid", _("« limit » attend un nombre, à partir de 1."), "limit")
    if order not in {None, "asc", "desc"}:
        raise ApiError(400, "order.invalid", _("« order » attend asc ou desc."), "order")
    most = min(int(limit), MOST[kind]) if limit else USUAL[kind]
    return (openai.id_of(prefix, after) if after else None), most, order == "asc"


# --- dispatch


def _endpoint(**views: View) -> Callable[..., HttpResponseBase]:
    @csrf_exempt  # no session is read: the errand speaks
    def answer(request: HttpRequest, **captured: str) -> HttpResponseBase:
        with translation.override(language(request)):
            try:
                return _final(_answer(request, views, captured))
            except ApiError as error:
                return _final(respond(error))
            except NotFound as refusal:
                return _final(respond(_nowhere(refusal)))
            except Refusal as refusal:
                return _final(respond_to(refusal))

    return answer


def _answer(request: HttpRequest, views: Mapping[str, View], captured: Mapping[str, str]) -> HttpResponseBase:
    errand = _errand(request)
    view = views.get(request.method or "")
    if view is None:
        allowed = ", ".join(views)
        sentence = _("Cette adresse n’accepte pas cette méthode.")
        raise ApiError(405, "method.not_allowed", sentence, headers=(("Allow", allowed),))
    asked = cast("Asked", request)
    with scopes([access.scope_for(errand.institution)]):
        holder = access.holder_of(UUID(errand.key_id), DataClass(errand.data_class), asked.at)
        found = view(asked, holder, **captured)
    return (
        found if isinstance(found, HttpResponseBase) else JsonResponse(found, json_dumps_params={"ensure_ascii": False})
    )


def _errand(request: HttpRequest) -> token.Errand:
    """Nobody but the gateway makes one: without it there is nothing here."""
    key = token.token_key(settings.SECRET_KEY, token.Errand)
    try:
        return token.verify(key, request.headers.get("x-proue-errand", ""), token.Errand, now=time.time())
    except token.BadToken:
        raise NotFound("route") from None


def _nowhere(refusal: NotFound) -> ApiError:
    if refusal.kind == "key":
        return ApiError(401, "key.unknown", _("Cette clé n’est plus en service."))
    sentences = {
        "file": _("Ce fichier n’existe pas ou plus, ou appartient à un autre usage."),
        "batch": _("Ce lot n’existe pas, ou appartient à un autre usage."),
    }
    return ApiError(404, refusal.code, sentences.get(refusal.kind, _("Cette adresse n’existe pas.")))


def _final(response: HttpResponseBase) -> HttpResponseBase:
    """Asked again, a refusal would be the same: OpenAI's clients retry 409 and 429 unless told so."""
    if 400 <= response.status_code < 500:
        response["x-should-retry"] = "false"
    return response


def _unknown(request: HttpRequest, rest: str = "") -> HttpResponse:
    with translation.override(language(request)):
        return respond(_nowhere(NotFound("route")))


urlpatterns = [
    path("files", _endpoint(POST=receive, GET=list_files)),
    path("files/<str:id>", _endpoint(GET=file, DELETE=erase)),
    path("files/<str:id>/content", _endpoint(GET=content)),
    path("batches", _endpoint(POST=submit, GET=list_batches)),
    path("batches/<str:id>", _endpoint(GET=batch)),
    path("batches/<str:id>/cancel", _endpoint(POST=cancel)),
    path("<path:rest>", csrf_exempt(_unknown)),
]
