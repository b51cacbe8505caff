"""`proue apply`: every error with its line, all or nothing, twice is once. `proue engine connect`: one line."""

import json
import re
import socket
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from proue.config import engines, keys
from proue.config.apply import BadDeclaration, apply
from proue.config.environment import BadSetting
from proue.config.jobs import look_at_engines
from proue.config.prepare import declare_own_engine
from proue.institutions.access import Job
from proue.institutions.models import Institution
from proue.kernel.clock import utc_now
from proue.kernel.dataclass import DataClass
from proue.ledger.models import Fact
from proue.metering.models import Budget
from proue.serving import queries as serving
from proue.serving.models import SnapshotPart
from proue.store.access import scopes, system
from proue.supply import actions as supply
from proue.supply import queries
from proue.supply.models import ApiKey, Endpoint, Model, Provider, Use
from proue.wire.token import key_digest

INTERFACE = """\
institutions:
  - {uai: 0999901A, name: Université des Deux-Rives}
providers:
  - {code: rives, name: Deux-Rives, hq_country: FR, noneu_share_total: 0, snc_status: aucun}
endpoints:
  - code: rives-petit
    provider: rives
    base_url: http://127.0.0.1:9001/v1     # any OpenAI-compatible engine; `api_key_env: NAME` for its key
    country: FR
    clearance: personal                     # highest data class it may receive
    site: {pue: 1.3, grid_zone: FRA}
    hardware: {gpu: H100, gpus: 1}
    models:
      - {name: mistral-small-3.2, served_as: mistral-small, class: medium, params_total_b: 24, params_active_b: 24, precision_bits: 16, price: {in: 0.1, out: 0.3}}
uses:                                       # a declared use: who, why, which data, under which legal basis
  - {code: assistance-scolarite, institution: 0999901A, purpose: "Répondre aux questions de scolarité", data_class: personal, ai_act: limited, shield: mask, models: ["*"]}
budgets:
  - {institution: 0999901A, per: month, tokens: 50000000, ghg_g: 20000}   # or use:/key:/person:
keys:
  - {use: assistance-scolarite, name: bench, secret_env: PROUE_BENCH_KEY}
"""  # noqa: E501 - as the interface writes it
SECRET = "sk-proue-" + "b" * 40


@pytest.fixture
def files(committed, tmp_path, monkeypatch):
    monkeypatch.setenv("PROUE_BENCH_KEY", SECRET)

    def write(text, name="declare.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def run(*paths, now, **options):
    return apply(paths, actor=Job(), at=now, wait=False, **options)


def counted():
    with system("demo"):
        return [kind.objects.count() for kind in (Institution, Provider, Endpoint, Model, Use, ApiKey, Budget)]


def problems(*paths, now):
    with pytest.raises(BadDeclaration) as refused:
        run(*paths, now=now)
    return str(refused.value).replace("\u00a0", " ").replace("\u202f", " ").splitlines()


def test_a_budget_warns_from_the_share_that_is_declared(files, now):
    text = INTERFACE.replace("per: month,", "per: month, warn_at: {share},")
    assert text != INTERFACE
    for share in (60, 90):
        assert run(files(text.replace("{share}", str(share))), now=now).changed
        with system("demo"):
            assert Budget.objects.get().warn_at == share
    assert any("pourcentage" in line for line in problems(files(text.replace("{share}", "101")), now=now))


def test_the_interfaces_example_applies_twice_and_changes_once(files, now):
    path = files(INTERFACE)
    first = run(path, now=now)
    said = str(first)
    for line in ("+ institution 0999901A", "+ provider rives", "+ endpoint rives-petit", "+ key bench @ assistance"):
        assert line in said
    assert "+ model mistral-small-3.2 @ rives-petit" in said
    assert "+ budget 0999901A / month" in said
    assert counted() == [1] * 7
    with system("demo"):
        told = queries.attributes_in_force(Provider.objects.get().pk)
        assert {name: one.value for name, one in told.items()} == {"noneu_share_total": 0, "snc_status": "aucun"}
        assert Use.objects.get().shield == "mask"
        assert bytes(ApiKey.objects.get().digest) == key_digest(SECRET)
        model = Model.objects.get()
        assert (float(model.price_in), model.price_cached, float(model.price_out)) == (0.1, None, 0.3)
        facts = Fact.objects.count()
    second = run(path, now=now)
    assert not second.changed
    assert "+" not in str(second)
    assert "~" not in str(second)
    assert "inchangé" in str(second)
    assert counted() == [1] * 7
    with system("demo"):
        assert Fact.objects.count() == facts, "what did not change is no fact"


def test_it_is_published_when_it_returns(files, now):
    run(files(INTERFACE), now=now)
    with scopes([]):
        seen = serving.published()
    assert seen.grants[key_digest(SECRET)].use == "assistance-scolarite"
    assert seen.routes["mistral-small-3.2"][0].served_as == "mistral-small"


def test_a_dry_run_says_the_same_and_leaves_nothing(files, now):
    path = files(INTERFACE)
    tried = run(path, now=now, dry_run=True)
    assert "+ endpoint rives-petit" in str(tried)
    assert "Essai seulement" in str(tried)
    assert counted() == [0] * 7
    with system("demo"):
        assert SnapshotPart.objects.count() == 0
        assert Fact.objects.count() == 0
    real = run(path, now=now)
    assert [str(one) for one in tried.changes] == [str(one) for one in real.changes]


def test_a_change_is_said_with_before_and_after(files, now):
    run(files(INTERFACE), now=now)
    text = INTERFACE.replace("data_class: personal", "data_class: sensitive").replace(
        "clearance: personal", "clearance: public"
    )
    said = str(run(files(text), now=now))
    assert "~ use assistance-scolarite (data_class: personal → sensitive)" in said
    assert "~ endpoint rives-petit (clearance: personal → public)" in said


def test_an_engines_key_is_read_from_the_environment_and_never_said(files, now, monkeypatch):
    text = INTERFACE.replace("    country: FR\n", "    country: FR\n    api_key_env: ENGINE_KEY\n")
    path = files(text)
    (line,) = problems(path, now=now)
    assert "ligne 10" in line
    assert "ENGINE_KEY" in line
    monkeypatch.setenv("ENGINE_KEY", "a-secret-of-the-engine")
    assert "a-secret" not in str(run(path, now=now))
    monkeypatch.setenv("ENGINE_KEY", "another-secret-of-the-engine")
    said = str(run(path, now=now))
    assert "~ endpoint rives-petit (clé renouvelée)" in said
    assert "another-secret" not in said
    assert not run(path, now=now).changed


def test_a_renewed_key_says_that_the_older_one_lives(files, now, monkeypatch):
    path = files(INTERFACE)
    run(path, now=now)
    monkeypatch.setenv("PROUE_BENCH_KEY", "sk-proue-" + "c" * 40)
    said = str(run(path, now=now))
    assert "+ key bench" in said
    assert "reste valable" in said
    assert "cccc" not in said


def test_a_short_chosen_key_is_accepted_and_said(files, now, monkeypatch):
    monkeypatch.setenv("PROUE_BENCH_KEY", "sk-proue-12345678")
    assert "courte" in str(run(files(INTERFACE), now=now))


def test_a_revoked_key_does_not_come_back(files, now):
    path = files(INTERFACE)
    run(path, now=now)
    with system("demo"):
        supply.revoke_key(actor=Job(), key=ApiKey.objects.select_related("use").get(), at=now)
    (line,) = problems(path, now=now)
    assert "révoquée" in line


def test_several_files_are_one_declaration(files, now):
    parts = yaml.safe_load(INTERFACE)
    later = files(
        yaml.safe_dump({name: parts[name] for name in ("uses", "keys", "budgets")}, allow_unicode=True), "a.yaml"
    )
    first = files(yaml.safe_dump({n: parts[n] for n in ("institutions", "providers", "endpoints")}), "b.yaml")
    run(later, first, now=now)
    assert counted() == [1] * 7


# --- errors ------------------------------------------------------------------------------------------------------

ALIASES = """\
aliases:
  - {name: recent, model: mistral-small-3.2, retires_on: 2031-03-01, replaced_by: mistral-small-3.2}
"""


def test_an_alias_is_declared_changed_and_announced(files, now):
    text = INTERFACE + ALIASES
    assert "+ alias recent" in str(run(files(text), now=now))
    assert not run(files(text), now=now).changed
    more = "      - {name: mistral-4, class: medium, retires_on: 2032-01-01}\nuses:"
    text = text.replace("uses:", more, 1)
    silent = text.replace("recent, model: mistral-small-3.2", "recent, model: mistral-4")
    (line,) = problems(files(silent), now=now)
    assert "désigne « mistral-small-3.2 »" in line
    assert "annoncez le jour avec « from »" in line
    said = str(run(files(silent.replace("retires_on: 2031", "from: 2030-01-01, retires_on: 2031")), now=now))
    assert "~ alias recent (then: — → mistral-4" in said
    with scopes([]):
        seen = serving.published()
    assert seen.aliases["recent"].model_at(now.timestamp()) == "mistral-small-3.2"
    assert seen.models["mistral-4"].retirement is not None


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("{name: recent, model: mistral-smal-3.2}", "Vouliez-vous dire « mistral-small-3.2 »"),
        ("{name: mistral-small-3.2, model: mistral-small-3.2}", "est déjà un modèle"),
        ("{name: recent, model: mistral-small-3.2, retires_on: 2020-01-01}", "un retrait s’annonce"),
        ("{name: recent, model: mistral-small-3.2, replaced_by: x}", "va avec « retires_on »"),
        ("{name: recent}", "Il manque « model »"),
        ("{name: recent, model: mistral-small-3.2, retires_on: 2031-01-01, replaced_by: recent}", "par lui-même"),
        ("{name: recent, model: recent}", "est un alias"),
    ],
)
def test_a_bad_alias_is_said_with_its_line(files, now, given, sentence):
    path = files(INTERFACE + f"aliases:\n  - {given}\n")
    (line,) = problems(path, now=now)
    assert line.startswith(f"{path}, ligne 22 : "), line
    assert sentence in line


BAD = [
    # (what is replaced, by what, line, what the sentence says)
    ("hq_country: FR", "hq_contry: FR", 4, "Vouliez-vous dire « hq_country »"),
    ("hq_country: FR, ", "", 4, "Il manque « hq_country »"),
    ("hq_country: FR", "hq_country: France", 4, "code de pays"),
    ("uai: 0999901A, name", "uai: 12, name", 2, "code UAI"),
    ("providers:", "provider:", 3, "Vouliez-vous dire « providers »"),
    ("provider: rives", "provider: rive", 7, "Vouliez-vous dire « rives »"),
    ("clearance: personal", "clearance: secret", 10, "public, internal, personal, sensitive, restricted"),
    ("http://127.0.0.1:9001/v1 ", "http://u:motdepasse@h/v1 ", 8, "mot de passe"),
    ("pue: 1.3", "pue: 0.3", 11, "« site » ne peut pas contenir « pue: 0.3 »"),
    ("{pue: 1.3", "{pu: 1.3", 11, "Vouliez-vous dire « pue »"),
    ("gpus: 1", "gpus: deux", 12, "« hardware » ne peut pas contenir « gpus: deux »"),
    ("class: medium", "class: moyenne", 14, "small, medium, large"),
    ("params_active_b: 24", "params_active_b: 25", 14, "ne dépassent pas le total"),
    ("params_total_b: 24", "params_total_b: beaucoup", 14, "attend un nombre"),
    ("precision_bits: 16", "precision_bits: 1e9", 14, "attend un nombre entier"),
    ("in: 0.1", "en: 0.1", 14, "in, cached ou out"),
    ("shield: mask", "shield: masque", 16, "allow, mask, block, cleared-only"),
    ("institution: 0999901A, purpose", "institution: 0999902B, purpose", 16, "n’est pas déclaré"),
    ("code: assistance-scolarite", "code: Assistance Scolarité", 16, "n’est pas un code"),
    ("data_class: personal,", "data_class: personal, ceiling: public,", 16, "sous la classe"),
    ("tokens: 50000000, ghg_g: 20000", "tokens: -1", 18, "attend un nombre positif"),
    ("tokens: 50000000, ghg_g: 20000", "tokens: 1.5", 18, "entier pour des demandes"),
    ("http://127.0.0.1:9001/v1 ", "node:autre ", 8, "et le code du moteur"),
    (", tokens: 50000000, ghg_g: 20000", "", 18, "borne au moins une chose"),
    ("institution: 0999901A, per", "institution: 0999901A, use: x, per", 18, "une chose et une seule"),
    ("per: month", "per: year", 18, "minute, day, month"),
    ("secret_env: PROUE_BENCH_KEY", "secret_env: NOBODY_SET_THIS", 20, "NOBODY_SET_THIS n’est pas donnée"),
    (", secret_env: PROUE_BENCH_KEY", "", 20, "Il manque « secret_env »"),
    ("use: assistance-scolarite", "use: assistance-scolarites", 20, "Vouliez-vous dire « assistance-scolarite »"),
    ("name: bench,", "name: bench, name: banc,", 20, "donné deux fois"),
    ("budgets:\n", "budgets: {}\nother:\n", 17, "attend une liste"),
]


OWN = """owner: 0999901A
    sharing: private-first
    capacity: 8                             # requests at once
    shares: {0999901A: 30}                  # percent
    country: FR"""


def test_an_endpoint_is_shared_as_its_owner_decides(files, now):
    run(files(INTERFACE), now=now)
    again = run(
        files(
            INTERFACE.replace("\n    country: FR", f"\n    {OWN}", 1).replace(
                "shield: mask", "shield: mask, names: true, priority: batch"
            )
        ),
        now=now,
    )
    assert (
        "~ endpoint rives-petit (owner: — → Université des Deux-Rives, sharing: any → private-first, capacity: — → 8"
        in str(again)
    )
    with system("demo"):
        row = Endpoint.objects.get()
        assert (row.owner.uai, row.sharing, row.capacity, row.shares) == (
            "0999901A",
            "private-first",
            8,
            {"0999901A": 30},
        )
        assert (Use.objects.get().priority, Use.objects.get().names) == ("batch", True)
        assert Fact.objects.filter(kind="endpoint.declared").count() == 2


@pytest.mark.parametrize(
    ("new", "line", "sentence"),
    [
        ("owner: 0999909Z\n    country: FR", 9, "L’établissement « 0999909Z »"),
        ("sharing: private-only\n    country: FR", 9, "un établissement pour « owner »"),
        ("sharing: mine\n    country: FR", 9, "ne peut pas valoir « mine »"),
        (OWN.replace("capacity: 8 ", "position: 8"), 6, "donnez « capacity »"),
        (OWN.replace("capacity: 8 ", "capacity: 0 "), 11, "de 1 à 10000"),
        (OWN.replace("30}", "130}"), 12, "0999901A: 130"),
        (OWN.replace("0999901A: 30", "0999909Z: 30"), 12, "0999909Z: 30"),
        (OWN.replace("{0999901A: 30}", "30"), 12, "attend une table"),
        (OWN.replace("0999901A: 30", "0999901A: 30, 0999901A: 20"), 12, "deux fois « 0999901A »"),
    ],
)
def test_what_is_wrong_of_its_sharing_is_said(files, now, new, line, sentence):
    path = files(INTERFACE.replace("\n    country: FR", f"\n    {new}", 1))
    lines = problems(path, now=now)
    assert [one for one in lines if one.startswith(f"{path}, ligne {line} : ") and sentence in one], lines


@pytest.mark.parametrize(("old", "new", "line", "sentence"), BAD)
def test_an_error_names_its_line_and_nothing_is_applied(files, now, old, new, line, sentence):
    assert old in INTERFACE
    path = files(INTERFACE.replace(old, new, 1))
    lines = problems(path, now=now)
    matching = [one for one in lines if one.startswith(f"{path}, ligne {line} : ") and sentence in one]
    assert matching, lines
    assert counted() == [0] * 7
    assert "motdepasse" not in "".join(lines)


def test_every_error_is_said_at_once_and_consequences_are_not(files, now):
    text = INTERFACE.replace("hq_country: FR", "hq_country: fr").replace("per: month", "per: year")
    lines = problems(files(text), now=now)
    assert [re.search(r"ligne (\d+)", one)[1] for one in lines] == ["4", "18"]


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("a: [1, 2", 1, "YAML"),
        ("- 1\n- 2\n", 1, "attend des sections"),
        ("institutions:\n  - 12\n", 2, "attend une table"),
        ("a: &x [1]\nb: *x\n", 2, "alias"),
        ("uses:\n  - {code: u, institution: 0999901A}\n  - {code: u, institution: 0999901A}\n", 2, "Il manque"),
        ("institutions:\n  - {uai: 0999901A, name: a}\n  - {uai: 0999901A, name: b}\n", 3, "déjà déclaré"),
        ("[" * 5000, 1, ""),
        ("institutions: [{uai: 0999901A, name: '" + "x" * 600 + "'}]", 1, "au plus"),
        ("endpoints: [{code: e, provider: p, base_url: u, country: NO, models: {}}]", 1, "attend une liste"),
    ],
)
def test_what_is_no_declaration_is_said(files, now, text, line, sentence):
    lines = problems(files(text), now=now)
    assert any(f"ligne {line} :" in one and sentence in one for one in lines), lines


def test_files_that_cannot_be_read_are_said(files, now, tmp_path):
    assert "ne peut pas être lu" in problems(tmp_path / "nothing.yaml", now=now)[0]
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in problems(binary, now=now)[0]
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (3 * 1024 * 1024))
    assert "dépasse" in problems(huge, now=now)[0]


def test_an_empty_file_changes_nothing(files, now):
    assert not run(files("# rien\n"), now=now).changed


def test_norway_is_a_country(files, now):
    run(files(INTERFACE.replace("hq_country: FR", "hq_country: NO")), now=now)
    with system("demo"):
        assert Provider.objects.get().hq_country == "NO"


def test_our_own_engine_is_not_redeclared(files, now):
    with system("demo"):
        provider, _ = supply.declare_provider(actor=Job(), code="proue", name="Proue", hq_country="FR", at=now)
        supply.declare_endpoint(
            actor=Job(),
            code="rives-petit",
            provider=provider,
            base_url="unix:/run/e.sock:/v1",
            country="FR",
            clearance=DataClass.SENSITIVE,
            internal=True,
            at=now,
        )
    lines = problems(files(INTERFACE), now=now)
    assert any("choisissez un autre code" in one for one in lines)


def test_gateways_that_do_not_follow_are_named(files, now, monkeypatch):
    from uuid import uuid4

    from proue.config import apply as module
    from proue.kernel.clock import utc_now
    from proue.serving.models import Gateway

    monkeypatch.setattr(module, "ACKNOWLEDGE_S", 0.3)
    slow = uuid4()
    with scopes([]):
        Gateway.objects.create(id=slow, started_at=utc_now(), seen_at=utc_now(), versions={})
    report = apply([files(INTERFACE)], actor=Job(), at=now, wait=True)
    assert report.lagging == [slow]
    assert str(slow) in str(report)


# --- keys --------------------------------------------------------------------------------------------------------


def test_a_key_made_by_command_works_when_it_returns(files, now):
    run(files(INTERFACE), now=now)
    made = keys.create(use_code="assistance-scolarite", name="ligne de commande")
    with scopes([]):
        assert serving.published().grants[key_digest(made["key"])].use == made["use"]
    with pytest.raises(BadSetting, match="assistance-scolarite"):
        keys.create(use_code="assistance-scolarit", name="x")


# --- engines -----------------------------------------------------------------------------------------------------


@contextmanager
def engine(answer, *, status=200, key=None):
    """A server that lists models as an engine does."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers.get("Authorization")))
            wrong = key is not None and self.headers.get("Authorization") != f"Bearer {key}"
            body = answer if isinstance(answer, bytes) else json.dumps(answer()).encode()
            self.send_response(401 if wrong else status)
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()


def listed(*names, owner="library"):
    return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": owner} for name in names]}


def test_an_engine_is_connected_in_one_line_for_public_data(committed):
    with engine(lambda: listed("mistral:7b", "llama3.3:70b", "nomic-embed-text", "bge-reranker", "whisper-large")) as (
        url,
        seen,
    ):
        said = engines.connect(url)
    assert seen == [("/v1/models", None)]
    assert "Ollama" in said
    assert "public" in said
    with system("demo"):
        endpoint = Endpoint.objects.get()
        assert (endpoint.clearance, endpoint.provider.code, endpoint.code[:7]) == (DataClass.PUBLIC, "local", "ollama-")
        rows = {row.name: (row.size_class, row.operations, row.params_total_b) for row in Model.objects.all()}
    assert (rows.pop("bge-reranker")[1], rows.pop("whisper-large")[1]) == (["rerank"], ["transcription"])
    assert rows == {
        "mistral:7b": ("small", ["chat", "text_completion"], None),
        "llama3.3:70b": ("large", ["chat", "text_completion"], None),
        "nomic-embed-text": ("medium", ["embeddings"], None),
    }
    with scopes([]):
        target = serving.published().routes["mistral:7b"][0]
    assert target.base_url == url + "/v1"
    assert target.coefficients.tier == "opaque"


def test_the_line_that_connecting_prints_lets_the_engine_receive_internal_data(committed, files, now):
    with engine(lambda: listed("mistral:7b")) as (url, _):
        said = engines.connect(url)
        assert "proue apply" in said
        line = said[said.index("endpoints:") : said.index("\npuis")]
        run(files(line), now=now)
        with system("demo"):
            row = Endpoint.objects.get()
            assert (row.clearance, row.hardware) == (DataClass.INTERNAL, {"engine": "Ollama"})
            assert Model.objects.get().active
        assert "proue apply" not in engines.connect(url), "said while it is of use"


@pytest.mark.parametrize(("declared", "shown"), [(None, "ZZ"), ("", "ZZ"), ("DE", "DE")])
def test_this_machine_is_nowhere_until_someone_says_it(monkeypatch, declared, shown):
    monkeypatch.delenv("PROUE_COUNTRY", raising=False)
    if declared is not None:
        monkeypatch.setenv("PROUE_COUNTRY", declared)
    assert engines._where("http://127.0.0.1:11434/v1", "Ollama")[1] == shown


def test_our_own_engine_keeps_the_country_that_was_declared(committed, now):
    for given, held in (("", "ZZ"), ("DE", "DE"), ("", "DE")):
        with system("apply"):
            declare_own_engine(at=now, country=given)
        with system("demo"):
            row = Endpoint.objects.select_related("provider").get()
        assert (row.country, row.provider.hq_country) == (held, held)


def test_connecting_again_follows_the_engine_and_keeps_what_was_declared(committed, now):
    names = ["a", "b"]
    with engine(lambda: listed(*names)) as (url, _):
        engines.connect(url)
        with system("demo"):
            endpoint = Endpoint.objects.select_related("provider").get()
            supply.declare_endpoint(
                actor=Job(),
                code=endpoint.code,
                provider=endpoint.provider,
                base_url=endpoint.base_url,
                country="DE",
                clearance=DataClass.PERSONAL,
                site={"pue": 1.1},
                at=now,
            )
            supply.declare_model(
                actor=Job(), endpoint=endpoint, name="b", served_as="b", size_class="large", params_total_b=70, at=now
            )
        names[:] = ["a", "c"]
        said = engines.connect(url + "/v1/")
        assert "Retirés" in said
        with system("demo"):
            row = Endpoint.objects.get()
            assert (row.clearance, row.country, row.site) == (DataClass.PERSONAL, "DE", {"pue": 1.1})
            assert dict(Model.objects.values_list("name", "active")) == {"a": True, "b": False, "c": True}
        names[:] = ["a", "b", "c"]
        engines.connect(url)
        with system("demo"):
            assert Model.objects.get(name="b").active
            assert Model.objects.get(name="b").params_total_b == 70


def test_an_engine_that_wants_a_key_says_how_to_give_it(committed, monkeypatch):
    with engine(lambda: listed("m"), key="its-key") as (url, seen):
        with pytest.raises(BadSetting, match="--api-key-env"):
            engines.connect(url)
        with pytest.raises(BadSetting, match="ENGINE_KEY"):
            engines.connect(url, api_key_env="ENGINE_KEY")
        monkeypatch.setenv("ENGINE_KEY", "its-key")
        assert "its-key" not in engines.connect(url, api_key_env="ENGINE_KEY")
        assert seen[-1] == ("/v1/models", "Bearer its-key")
    with system("demo"):
        assert Endpoint.objects.get().sealed_secret is not None


@pytest.mark.parametrize(
    ("answer", "status", "word"),
    [
        (b"<html>", 200, "compatible"),
        (b'{"data": 1}', 200, "compatible"),
        (b'{"data": []}', 200, "aucun modèle"),
        (b"{}", 500, "500"),
        (b"{}", 302, "302"),
        (b" " * (engines.BODY_BYTES + 1), 200, "démesurée"),
    ],
)
def test_what_is_no_engine_is_said_and_not_declared(committed, answer, status, word):
    with engine(answer, status=status) as (url, _), pytest.raises(BadSetting, match=word):
        engines.connect(url)
    assert counted()[2] == 0


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://u:p@h/v1", "http://h:99999/v1", ""])
def test_what_is_no_address_is_said(committed, url):
    with pytest.raises(BadSetting):
        engines.connect(url)


def test_nobody_answers(committed):
    with engine(lambda: listed("m")) as (url, _):
        pass
    with pytest.raises(BadSetting, match="aucun moteur"):
        engines.connect(url)


def test_a_host_elsewhere_has_no_country_until_someone_says_it():
    code, country, provider = engines._where("https://inference.votre-universite.fr/api/v1", "Moteur")
    assert (code, country, provider) == ("inference.votre-universite.fr-api", "ZZ", "inference.votre-universite.fr")


def test_engines_on_this_machine_are_found_and_not_connected(committed, monkeypatch):
    with engine(lambda: listed("m", owner="vllm")) as (url, _), engine(b"nothing") as (other, _):
        ports = {int(url.rsplit(":", 1)[1]): "x", int(other.rsplit(":", 1)[1]): "y"}
        monkeypatch.setattr(engines, "KNOWN_PORTS", ports)
        assert engines.detect() == [engines.FoundEngine("vLLM", url + "/v1")]
    assert counted()[2] == 0


def test_declared_endpoints_are_examined(committed, now, tmp_path):
    with engine(lambda: listed("m"), key="k") as (url, _):
        text = INTERFACE.replace("http://127.0.0.1:9001/v1", url + "/v1").split("uses:")[0]
        path = tmp_path / "e.yaml"
        path.write_text(text)
        run(path, now=now)
        assert list(engines.reachable_endpoints(timeout=2)) == [("rives-petit", None)], "401 is an answer"
    ((code, why),) = engines.reachable_endpoints(timeout=2)
    assert code == "rives-petit"
    assert why


def test_an_endpoint_that_drips_holds_up_no_examination(committed, now, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        (tmp_path / "e.yaml").write_text(INTERFACE.replace("http://127.0.0.1:9001/v1", url).split("uses:")[0])
        run(tmp_path / "e.yaml", now=now)
        ended = threading.Event()

        def drip():
            peer, _ = server.accept()
            with peer, suppress(OSError):
                peer.sendall(b"HTTP/1.1 200 OK\r\n")
                while not ended.wait(0.1):
                    peer.sendall(b"x: y\r\n")

        dripping = threading.Thread(target=drip)
        dripping.start()
        began = time.monotonic()
        assert list(engines.reachable_endpoints(timeout=0.5)) == [("rives-petit", engines.TOO_SLOW)]
        assert time.monotonic() - began < 5
        ended.set()
        dripping.join()


def test_a_job_looks_which_engines_answer(committed, now, tmp_path):
    with engine(lambda: listed("m")) as (url, _):
        engines.connect(url)
        look_at_engines()
        with system("demo"):
            assert queries.seen(utc_now())[Endpoint.objects.get().code].answers
    look_at_engines()
    with system("demo"):
        assert not queries.seen(utc_now())[Endpoint.objects.get().code].answers
        assert queries.seen(utc_now() + timedelta(minutes=4)) == {}, "nobody looks any more: nothing is known"


def test_the_documented_example_applies(files, now, monkeypatch):
    monkeypatch.setenv("ENGINE_KEY", "k")
    text = (Path(__file__).parents[2] / "docs/how-to/connect-an-engine.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1]
    run(files("providers: [{code: rives, name: R, hq_country: FR}]\n" + example), now=now)
    assert counted()[2:4] == [1, 1]
