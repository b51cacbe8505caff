"""`proue apply`: attributes with proof and end, and commitments; every error with its line, twice is once."""

import re
from datetime import date
from pathlib import Path

import pytest

from proue.config.apply import BadDeclaration, apply
from proue.institutions.access import Job
from proue.kernel.paris import midnight
from proue.procurement import queries
from proue.procurement.models import Commitment
from proue.specification.models import Clause
from proue.store import links
from proue.store.access import system
from proue.store.rules import PUBLIC, EntityKind
from proue.supply import queries as supply
from proue.supply.models import Attribute

TEXT = """\
institutions:
  - {uai: 0999900Z, name: Alliance}
providers:
  - {code: cap, name: Cap, hq_country: FR, noneu_share_max: 0}
  - {code: autre, name: Autre, hq_country: US}
endpoints:
  - {code: cap-1, provider: cap, base_url: "http://127.0.0.1:9001/v1", country: FR}
  - {code: autre-1, provider: autre, base_url: "http://127.0.0.1:9002/v1", country: US}
attributes:
  - {provider: cap, name: snc_status, value: qualifié, standing: verified, proof: ANSSI-114, valid_until: 2027-03-28}
  - {provider: cap, endpoint: cap-1, name: prompt_retention_days, value: 0, unit: d, standing: declared}
contracts:
  - code: AC-2026-01
    kind: contract
    title: Inférence souveraine
    provider: cap
    parties: [{role: buyer, code: 0999900Z}, {role: supplier, code: cap}]
    signed_on: 2026-08-20
    starts_on: 2026-09-01
    ends_on: 2028-09-01
    clauses: all
    endpoints: [cap-1]
    thresholds: {availability_min: 0.995, ttft_p95_ms_max: 800}
"""


@pytest.fixture
def file(committed, now, tmp_path):
    with system("demo"):
        for number in (1, 2):
            code = f"CL-CCTP-{number}"
            given = {"code": code, "title": code, "scope_id": PUBLIC}
            row = Clause.objects.create(document="cctp", text=code, position=number, created_at=now, **given)
            links.put(kind=EntityKind.CLAUSE, object_id=row.pk, body={"text": code}, at=now, **given)

    def write(text):
        path = tmp_path / "market.yaml"
        path.write_text(text)
        return path

    return write


def run(path, now, **options):
    return apply([path], actor=Job(), at=now, wait=False, **options)


def test_applied_twice_it_changes_once(file, now):
    path = file(TEXT)
    said = str(run(path, now))
    for line in (
        "+ attribute snc_status @ cap",
        "+ attribute prompt_retention_days @ cap / cap-1",
        "+ contract AC-2026-01",
    ):
        assert line in said
    with system("demo"):
        (bound,) = queries.in_force(now)
        assert bound.clauses == ("CL-CCTP-1", "CL-CCTP-2")
        assert dict(bound.thresholds) == {"availability_min": 0.995, "ttft_p95_ms_max": 800.0}
        held = supply.attributes_in_force(bound.provider_id)["snc_status"]
        assert (held.standing, held.proof) == ("verified", "ANSSI-114")
        assert held.valid_until == midnight(date(2027, 3, 28)), "a day is its midnight in Paris"
    again = run(path, now)
    assert not again.changed
    assert "inchangé" in str(again)


def test_a_dry_run_leaves_nothing(file, now):
    assert "+ contract AC-2026-01" in str(run(file(TEXT), now, dry_run=True))
    with system("demo"):
        assert not Commitment.objects.exists()
        assert not Attribute.objects.exists()


def test_a_change_is_said_with_before_and_after(file, now):
    run(file(TEXT), now)
    text = TEXT.replace("Inférence souveraine", "Renommée").replace("2027-03-28", "2027-03-29")
    said = str(run(file(text), now))
    assert "~ contract AC-2026-01 (title: Inférence souveraine → Renommée)" in said
    assert "~ attribute snc_status @ cap (valid_until:" in said
    assert run(file(TEXT), now).changed


def test_what_ended_by_hand_stays_ended(file, now):
    from proue.procurement import actions

    run(file(TEXT), now)
    with system("demo"):
        actions.end_commitment(actor=Job(), commitment=Commitment.objects.get(), at=now)
    assert not run(file(TEXT), now).changed
    with pytest.raises(BadDeclaration, match="a pris fin"):
        run(file(TEXT.replace("Inférence souveraine", "Renommée")), now)


BAD = [
    # (what is replaced, by what, line, what the sentence says)
    ("provider: cap, name: snc", "provider: capp, name: snc", 10, "Vouliez-vous dire « cap »"),
    ("name: snc_status", "name: snc_statut", 10, "Vouliez-vous dire « snc_status »"),
    ("name: snc_status", "name: xyz", 10, "Liste : admin_countries"),
    ("standing: verified", "standing: certain", 10, "declared, verified, measured"),
    (", proof: ANSSI-114", "", 10, "ajoutez « proof »"),
    ("valid_until: 2027-03-28", "valid_until: 2026-11-01", 10, "cesserait de valoir"),
    ("valid_until: 2027-03-28", "valid_until: bientôt", 10, "attend une date"),
    ("valid_until: 2027-03-28", "valid_from: 2027-01-01", 10, "ne vaut pas encore"),
    ("value: qualifié", "value: ", 10, "attend une valeur"),
    ("endpoint: cap-1, name", "endpoint: cap-2, name", 11, "Vouliez-vous dire « cap-1 »"),
    ("endpoint: cap-1, name", "endpoint: autre-1, name", 11, "n’est pas à « Cap »"),
    ("snc_status, value: qualifié", "noneu_share_max, value: 1", 10, "avec une autre valeur"),
    ("code: AC-2026-01", "code: ac-1", 13, "AC-2026-01"),
    ("kind: contract", "kind: bail", 14, "contract, convention, pilot"),
    ("title: Inférence souveraine", "titre: x", 15, "Vouliez-vous dire « title »"),
    ("    provider: cap\n", "    provider: capp\n", 16, "Vouliez-vous dire « cap »"),
    ("code: 0999900Z}, {", "code: 0999900Y}, {", 17, "Vouliez-vous dire « 0999900Z »"),
    ("role: buyer", "role: achat", 17, "buyer, supplier, member"),
    ("{role: buyer, code: 0999900Z}", "{role: buyer}", 17, "un rôle et un code"),
    ("parties: [{role: buyer, code: 0999900Z}, {role: supplier, code: cap}]", "parties: []", 17, "attend une liste"),
    ("signed_on: 2026-08-20", "signed_on: hier", 18, "attend un jour"),
    ("ends_on: 2028-09-01", "ends_on: 2026-09-01", 20, "avant de commencer"),
    ("clauses: all", "clauses: [CL-CCTP-1, CL-CCTP-9]", 21, "Vouliez-vous dire « CL-CCTP-"),
    ("clauses: all", "clauses: [CL-CCTP-1@3]", 21, "n’existe pas"),
    ("    clauses: all\n", "", 13, "Il manque « clauses »"),
    ("    clauses: all", "    clauses: all\n    specification: CDC-IAG@1", 22, "CDC-IAG@1 » n’existe pas"),
    ("[cap-1]", "[cap-2]", 22, "Vouliez-vous dire « cap-1 »"),
    ("[cap-1]", "[autre-1]", 22, "que pour les siens"),
    ("availability_min", "availability_mi", 23, "Vouliez-vous dire « availability_min »"),
    ("0.995", "99.5", 23, "une part va de 0 à 1"),
    ("0.995", "beaucoup", 23, "attend un nombre"),
    ("availability_min: 0.995", "ttft_p95_ms_max: 1", 23, "donne deux fois"),
]


@pytest.mark.parametrize(("old", "new", "line", "sentence"), BAD)
def test_an_error_names_its_line_and_nothing_is_applied(file, now, old, new, line, sentence):
    assert old in TEXT
    path = file(TEXT.replace(old, new, 1))
    with pytest.raises(BadDeclaration) as refused:
        run(path, now)
    lines = re.sub("[\u00a0\u202f]", " ", str(refused.value)).splitlines()
    assert [one for one in lines if one.startswith(f"{path}, ligne {line} : ") and sentence in one], lines
    with system("demo"):
        assert not Commitment.objects.exists()
        assert not Attribute.objects.exists()


def test_the_consequence_of_an_error_is_not_said_again(file, now):
    text = TEXT.replace("country: FR}\n  - {code: autre-1", "country: fr}\n  - {code: autre-1")
    with pytest.raises(BadDeclaration) as refused:
        run(file(text), now)
    assert [one.place.line for one in refused.value.problems] == [7]


def test_the_documented_example_applies(file, now):
    guide = (Path(__file__).parents[2] / "docs/how-to/apply.md").read_text()
    example = re.search(r"```yaml\n(attributes:.*?)```", guide, re.DOTALL)[1]
    said = str(run(file(TEXT.split("attributes:", maxsplit=1)[0] + example), now))
    assert "+ contract" in said
    assert "+ attribute" in said
