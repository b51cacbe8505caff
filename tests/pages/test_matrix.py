"""Every address of the portal, for every role, with every method: a new address without a row fails."""

from collections.abc import Iterator, Sequence
from itertools import product

import pytest
from django.urls import URLPattern, URLResolver, reverse

from proue.portal import urls
from proue.portal.middleware import WITHOUT_SECOND_FACTOR

ROLES = ("visitor", "student", "teacher", "dpo", "stranger")
SAFE_ONLY = (405, 405, 405, 405, 405)
EVERYONE = (200, 200, 200, 200, 200)
NOBODY = (404, 404, 404, 404, 404)
TO_SIGN_IN = (302, 302, 302, 302, 302)

# name → statuses of an empty GET and an empty POST, by ROLES. The stranger is another institution's referent.
MATRIX: dict[str, tuple[Sequence[int], Sequence[int]]] = {
    "theme": (SAFE_ONLY, (303, 303, 303, 303, 303)),
    "assistant_session": (SAFE_ONLY, EVERYONE),
    "robots": (EVERYONE, SAFE_ONLY),
    "home": (EVERYONE, SAFE_ONLY),
    "accessibility": (EVERYONE, SAFE_ONLY),
    "legal": (EVERYONE, SAFE_ONLY),
    "account_home": ((302, 200, 200, 200, 200), SAFE_ONLY),
    "account_login": ((200, 302, 302, 302, 302), (200, 302, 302, 302, 302)),
    "account_logout": ((302, 200, 200, 200, 200), TO_SIGN_IN),
    "account_inactive": (EVERYONE, SAFE_ONLY),
    "account_reauthenticate": ((302, 200, 200, 200, 200), (302, 200, 200, 200, 200)),
    "account_change_password": ((302, 200, 200, 200, 200), (302, 200, 200, 200, 200)),
    "mfa_index": ((302, 200, 200, 200, 200), (302, 405, 405, 405, 405)),
    "mfa_authenticate": (TO_SIGN_IN, TO_SIGN_IN),  # only in the middle of a sign-in
    "mfa_reauthenticate": ((302, 302, 302, 200, 200), (302, 302, 302, 200, 200)),
    "mfa_activate_totp": (TO_SIGN_IN, TO_SIGN_IN),  # the password again, first
    "mfa_deactivate_totp": ((302, 404, 404, 302, 302), (302, 404, 404, 302, 302)),
    "mfa_view_recovery_codes": ((302, 404, 404, 404, 404), (302, 405, 405, 405, 405)),
    "mfa_generate_recovery_codes": (TO_SIGN_IN, TO_SIGN_IN),
    "models": (EVERYONE, SAFE_ONLY),
    "assistant": (EVERYONE, (400, 400, 400, 400, 400)),
    "commons": (EVERYONE, SAFE_ONLY),
    "document": (EVERYONE, SAFE_ONLY),
    "withdraw_document": (NOBODY, NOBODY),  # librarians: tests/pages/test_commons.py
    "deposits": ((404, 404, 404, 200, 404), SAFE_ONLY),  # who brings or reviews
    "deposit": ((404, 404, 404, 200, 404), SAFE_ONLY),
    "submit_deposit": ((404, 404, 404, 403, 404), (404, 404, 404, 403, 404)),
    "share_deposit": ((404, 404, 404, 400, 404), (404, 404, 404, 400, 404)),  # shared already
    "refuse_deposit": ((404, 404, 404, 400, 404), (404, 404, 404, 400, 404)),
    "withdraw_deposit": ((404, 404, 404, 403, 404), (404, 404, 404, 403, 404)),
    "citation": (EVERYONE, SAFE_ONLY),
    "lineage_index": (EVERYONE, SAFE_ONLY),
    "lineage": (EVERYONE, SAFE_ONLY),
    "why": (EVERYONE, SAFE_ONLY),
    "decisions": (EVERYONE, SAFE_ONLY),
    "decision": (EVERYONE, SAFE_ONLY),
    "visit": (NOBODY, SAFE_ONLY),  # in the demonstration only: tests/pages/test_visit.py
    "visit_ask": (SAFE_ONLY, NOBODY),
    "visit_incident": (SAFE_ONLY, NOBODY),
    "market": (EVERYONE, SAFE_ONLY),
    "commitment": (EVERYONE, SAFE_ONLY),
    "new_commitment": (NOBODY, NOBODY),  # buyers of the alliance: tests/pages/test_market.py
    "suspend_commitment": (NOBODY, NOBODY),
    "resume_commitment": (NOBODY, NOBODY),
    "end_commitment": (NOBODY, NOBODY),
    "providers": (EVERYONE, SAFE_ONLY),
    "provider": (EVERYONE, SAFE_ONLY),
    "declare_attribute": (NOBODY, NOBODY),
    "alliance": (EVERYONE, SAFE_ONLY),
    "alliance_institution": (EVERYONE, SAFE_ONLY),
    "needs": (EVERYONE, SAFE_ONLY),
    "need": (EVERYONE, SAFE_ONLY),
    "say_need": ((404, 200, 200, 200, 200), (404, 400, 400, 400, 400)),
    "gathered_needs": ((404, 200, 200, 200, 200), SAFE_ONLY),
    "merge_needs": (NOBODY, NOBODY),  # the lead of a group, in test_needs
    "undo_merge": (NOBODY, NOBODY),
    "state_need": (NOBODY, NOBODY),
    "refuse_need": (NOBODY, NOBODY),
    "serve_need": (NOBODY, NOBODY),
    "withdraw_need": ((404, 404, 200, 404, 404), (404, 404, 302, 404, 404)),
    "specification": (EVERYONE, SAFE_ONLY),
    "links_to_read": (NOBODY, NOBODY),
    "specification_versions": (EVERYONE, SAFE_ONLY),
    "freeze": (NOBODY, NOBODY),
    "specification_version": (EVERYONE, SAFE_ONLY),
    "specification_file": (EVERYONE, SAFE_ONLY),
    "requirement": (EVERYONE, SAFE_ONLY),
    "review_requirement": (SAFE_ONLY, NOBODY),
    "requirement_needs": (SAFE_ONLY, NOBODY),
    "withdraw_requirement": (NOBODY, NOBODY),
    "checks": (EVERYONE, SAFE_ONLY),
    "check": (EVERYONE, (400, 400, 400, 400, 400)),
    "derogations": (EVERYONE, SAFE_ONLY),
    "derogation": (EVERYONE, SAFE_ONLY),
    "ask_derogation": (NOBODY, NOBODY),
    "sign_for_security": (NOBODY, NOBODY),
    "sign_for_data": (NOBODY, NOBODY),
    "withdraw_derogation": (NOBODY, NOBODY),
    "proofs": (EVERYONE, SAFE_ONLY),
    "registry": (EVERYONE, SAFE_ONLY),
    "alter_copy": (SAFE_ONLY, NOBODY),  # in the demonstration only: tests/pages/test_registry.py
    "forecast": (EVERYONE, SAFE_ONLY),
    "own_contract": (EVERYONE, SAFE_ONLY),
    "look_now": (SAFE_ONLY, NOBODY),  # operators: tests/pages/test_own.py
    "statement": ((404, 200, 200, 200, 200), SAFE_ONLY),  # a draft is the members'
    "statement_file": ((404, 200, 200, 200, 200), SAFE_ONLY),
    "dispute_finding": ((404, 404, 404, 404, 200), (404, 404, 404, 404, 400)),
    "confirm_statement": (NOBODY, NOBODY),  # buyers of the alliance: tests/pages/test_proofs.py
    "open_statement": (NOBODY, NOBODY),
    "decide_dispute": (NOBODY, NOBODY),
    "institution": ((404, 404, 200, 200, 200), SAFE_ONLY),
    "keys": ((404, 404, 200, 200, 200), SAFE_ONLY),
    "new_key": ((404, 404, 200, 200, 200), (404, 404, 400, 400, 400)),
    "created_key": ((404, 404, 302, 404, 404), SAFE_ONLY),  # its secret is shown once: tests/pages/test_places.py
    "revoke_key": ((404, 404, 200, 404, 404), (404, 404, 302, 404, 404)),
    "batches": ((404, 404, 200, 200, 200), SAFE_ONLY),
    "batch": ((404, 404, 200, 200, 404), SAFE_ONLY),
    "cancel_batch": ((404, 404, 200, 404, 404), (404, 404, 302, 404, 404)),
    "usage": ((404, 404, 200, 200, 200), SAFE_ONLY),
    "processing_register": ((404, 404, 404, 200, 200), SAFE_ONLY),
    "processing_register_file": ((404, 404, 404, 200, 404), SAFE_ONLY),  # of Deux-Rives: the stranger has his own
    "people": ((404, 404, 404, 404, 200), SAFE_ONLY),
}
DEPOSIT_PAGES = ("deposit", "submit_deposit", "share_deposit", "refuse_deposit", "withdraw_deposit")
STATEMENT_PAGES = ("statement", "statement_file", "confirm_statement", "open_statement")
DEROGATION_PAGES = ("derogation", "sign_for_security", "sign_for_data", "withdraw_derogation")
# The referent has no second factor and this is not the demonstration: these pages only are open to her.
OPEN_WITHOUT = {
    "account_home", "account_login", "account_logout", "account_inactive", "account_reauthenticate",
    "account_change_password", "mfa_index", "mfa_activate_totp", "mfa_authenticate", "mfa_reauthenticate",
    "theme", "accessibility", "legal",
}  # fmt: skip

REQUIREMENT = ("requirement", "review_requirement", "requirement_needs", "withdraw_requirement")


def names(patterns: Sequence[URLPattern | URLResolver]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from names(pattern.url_patterns)
        else:
            yield str(pattern.name)


def address(site, name: str) -> str:
    given = {
        "document": {"slug": "deux-rives-cesure"},
        "alliance_institution": {"uai": "0999901A"},
        "withdraw_document": {"slug": "deux-rives-cesure"},
        **{name: {"slug": "deux-rives-accueil-exil"} for name in DEPOSIT_PAGES},
        "citation": {"id": site.citation.pk},
        "created_key": {"id": site.key.pk},
        "revoke_key": {"id": site.key.pk},
        "batch": {"id": site.batch.pk},
        "cancel_batch": {"id": site.batch.pk},
        "processing_register_file": {"uai": "0999901A", "suffix": "odt"},
        "commitment": {"code": site.commitment.code},
        "suspend_commitment": {"code": site.commitment.code},
        "resume_commitment": {"code": site.commitment.code},
        "end_commitment": {"code": site.commitment.code},
        "provider": {"code": site.commitment.provider.code},
        "declare_attribute": {"code": site.commitment.provider.code},
        "need": {"code": "BC-011"},
        "undo_merge": {"id": site.merge.pk},
        "state_need": {"code": site.draft.code},
        "refuse_need": {"code": site.need.code},
        "serve_need": {"code": "BC-011"},
        "withdraw_need": {"code": site.need.code},
        "lineage": {"reference": site.requirement.code},
        "specification_version": {"number": 1},
        "specification_file": {"number": 1, "name": "cctp.pdf"},
        **{one: {"code": "EX-TST-902"} for one in REQUIREMENT},
        "why": {"endpoint": "proue-extractif", "data_class": "public"},
        "decision": {"code": site.decision.code},
        "check": {"code": site.check.code},
        **{name: {"code": site.derogation.code} for name in DEROGATION_PAGES},
        **{name: {"code": site.statement.code} for name in STATEMENT_PAGES},
        "dispute_finding": {"code": site.statement.code, "check": site.undisputed},
        "decide_dispute": {"code": site.statement.code, "check": site.disputed},
    }
    return reverse(name, kwargs=given.get(name))


def test_every_address_has_a_row():
    assert sorted(names([*urls.plain, *urls.pages])) == sorted(MATRIX)


@pytest.mark.parametrize("name", MATRIX)
def test_reading(site, name):
    expected = dict(zip(ROLES, MATRIX[name][0], strict=True))
    assert {role: site.client(role).get(address(site, name)).status_code for role in ROLES} == expected


@pytest.mark.parametrize("name", MATRIX)
def test_posting_nothing(site, name):
    expected = dict(zip(ROLES, MATRIX[name][1], strict=True))
    assert {role: site.client(role).post(address(site, name)).status_code for role in ROLES} == expected


def test_an_administrator_without_second_factor_sees_only_her_account(site):
    assert WITHOUT_SECOND_FACTOR == OPEN_WITHOUT
    client = site.client("referent")
    for name, method in product(sorted(set(MATRIX) - OPEN_WITHOUT), ("get", "post")):
        answer = getattr(client, method)(address(site, name))
        assert (answer.status_code, answer.headers["Location"]) == (302, reverse("mfa_index")), name
    for name in ("account_home", "account_change_password", "mfa_index", "legal"):
        assert client.get(address(site, name)).status_code == 200, name
    assert client.get("/api/keys").json()["error"]["code"] == "person.second_factor_needed"


def test_the_demonstration_lets_her_in_and_says_so(site, settings):
    settings.DEMO = True
    page = site.client("referent").get(reverse("people"))
    assert page.status_code == 200
    assert "Second facteur exigé hors démonstration" in page.content.decode()
    assert "Second facteur exigé" not in site.client("dpo").get(reverse("usage")).content.decode()


@pytest.mark.parametrize("name", ["revoke_key"])
def test_what_is_another_s_is_not_there(site, name):
    """The same page, to the letter, for what does not exist and for what is not yours."""
    client = site.client("teacher")
    mine = client.get(reverse(name, kwargs={"id": site.foreign_key.pk}))
    nobody = client.get(reverse(name, kwargs={"id": "01900000-0000-7000-8000-000000000000"}))
    assert mine.status_code == nobody.status_code == 404
    assert masked(mine) == masked(nobody)


def masked(answer) -> str:
    import re

    text = answer.content.decode()
    return re.sub(r'(nonce|value|href|data-owner)="[^"]*"', "", text)
