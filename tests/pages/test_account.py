"""Signing in: what is refused and after how many times, the second factor, what a sign-in may not do."""

import re

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.core.cache import cache
from django.db import connections
from django.test import Client
from django.urls import reverse

from proue.config.demo.cast import PASSWORD
from proue.institutions.models import Person

EMAIL = "etudiante@deux-rives.example"
LIMITED = "Trop d’essais ont échoué"


@pytest.fixture(autouse=True)
def no_counts(site):
    cache.clear()
    yield
    cache.clear()


def sign_in(client: Client, password: str = PASSWORD, email: str = EMAIL, **headers: str):
    return client.post(reverse("account_login"), {"login": email, "password": password}, **headers)


def test_in_and_out(site):
    client = site.client()
    answer = client.post(reverse("account_login") + "?next=/communs/", {"login": EMAIL, "password": PASSWORD})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/communs/")
    page = client.get("/")
    assert "Lise Arvenne" in page.content.decode()
    assert "no-store" in page.headers["Cache-Control"]
    assert client.post(reverse("account_logout")).headers["Location"] == "/"
    assert "Lise Arvenne" not in client.get("/").content.decode()


def test_a_wrong_password_says_so_beside_what_to_do(site):
    answer = sign_in(site.client(), "not-the-password")
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "L’adresse ou le mot de passe ne convient pas" in page
    assert 'role="alert"' in page
    assert "Rien n’a été enregistré" not in page, "there was nothing to keep"
    unknown = sign_in(site.client(), "not-the-password", email="nobody@deux-rives.example").content.decode()
    assert "L’adresse ou le mot de passe ne convient pas" in unknown, "an unknown address must not be told apart"


def test_the_sixth_wrong_password_is_refused_even_when_right(site):
    for _ in range(5):
        assert LIMITED not in sign_in(site.client(), "wrong").content.decode()
    assert LIMITED in sign_in(site.client(), "wrong").content.decode()
    assert LIMITED in sign_in(site.client(), PASSWORD).content.decode()
    other = sign_in(site.client(), email="enseignant@deux-rives.example")
    assert other.status_code == 302, "someone else's account is not touched"


def test_the_count_follows_the_account_whatever_the_host_and_the_address_say(site):
    """The Host header and, without the gateway, X-Forwarded-For are the attacker's to choose."""
    for number in range(5):
        sign_in(site.client(), "wrong", HTTP_HOST=f"{number}.example", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")
    last = sign_in(site.client(), "wrong", HTTP_HOST="other.example", HTTP_X_FORWARDED_FOR="203.0.113.9")
    assert LIMITED in last.content.decode()


def test_one_address_is_limited_over_many_accounts(site):
    for number in range(10):
        sign_in(site.client(), "wrong", email=f"someone{number}@deux-rives.example")
    assert LIMITED in sign_in(site.client()).content.decode()
    assert sign_in(site.client(), HTTP_X_FORWARDED_FOR="203.0.113.9").status_code == 302


def test_there_is_no_sign_up_and_no_way_round_it(site):
    before = Person.objects.count()
    for path in ("/compte/signup/", "/accounts/signup/", "/compte/inscription/"):
        assert (
            site.client().post(path, {"email": "x@example.org", "password1": "a", "password2": "a"}).status_code == 404
        )
    assert Person.objects.count() == before


def test_a_form_without_its_token_is_refused_with_a_page(site):
    client = site.client(enforce_csrf_checks=True)
    answer = sign_in(client)
    assert answer.status_code == 403
    assert "restée ouverte trop longtemps" in answer.content.decode()
    assert client.post(reverse("assistant_session")).status_code == 403


def test_the_second_factor_from_end_to_end(site):
    email = "scolarite@deux-rives.example"
    client = site.client()
    sign_in(client, email=email)
    door = client.get(reverse("mfa_activate_totp"))
    assert "Confirmer que c’est vous" in client.get(door.headers["Location"]).content.decode()
    assert "n’est pas le vôtre" in client.post(door.headers["Location"], {"password": "wrong"}).content.decode()
    through = client.post(door.headers["Location"], {"password": PASSWORD})
    page = client.get(through.headers["Location"])
    html = page.content.decode()
    secret = re.search(r"<code>([A-Z2-7]{32})</code>", html)
    assert secret, "the secret is written for those who cannot scan"
    assert "<svg" in html.split('class="qr"')[1]
    assert "data:image" not in html
    wrong = client.post(reverse("mfa_activate_totp"), {"code": "000000"})
    assert "Ce code ne convient pas" in wrong.content.decode()
    code = current_code(secret[1])
    done = client.post(reverse("mfa_activate_totp"), {"code": code})
    assert done.headers["Location"] == reverse("mfa_view_recovery_codes")
    codes = re.findall(r"<li>([0-9a-z]{8,})</li>", client.get(reverse("mfa_view_recovery_codes")).content.decode())
    assert len(codes) == 10
    assert_sealed(email, secret[1])

    again = site.client()
    stage = sign_in(again, email=email)
    assert stage.headers["Location"].startswith(reverse("mfa_authenticate"))
    assert again.get(reverse("account_home")).status_code == 302, "half signed in is not signed in"
    assert "Ce code ne convient pas" in again.post(reverse("mfa_authenticate"), {"code": "999999"}).content.decode()
    assert again.post(reverse("mfa_authenticate"), {"code": codes[0]}).status_code == 302
    assert "Paul Ombrevin" in again.get(reverse("account_home")).content.decode()

    third = site.client()
    sign_in(third, email=email)
    assert "Ce code ne convient pas" in third.post(reverse("mfa_authenticate"), {"code": codes[0]}).content.decode()


def current_code(secret: str) -> str:
    counter = next(iter(totp.yield_hotp_counters_from_time()))
    return totp.format_hotp_value(totp.hotp_value(secret, counter))


def assert_sealed(email: str, secret: str) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT a.data::text FROM mfa_authenticator a JOIN institutions_person p ON p.id = a.user_id "
            "WHERE p.email = %s", [email],
        )  # fmt: skip
        stored = [row[0] for row in cursor.fetchall()]
    assert len(stored) == 2
    assert not any(secret in one for one in stored)
    assert Authenticator.objects.get(user__email=email, type="totp").wrap().validate_code(current_code(secret)) in {
        True,
        False,
    }


def test_a_changed_password_is_the_one_that_opens(site):
    email, new = "chercheuse@deux-rives.example", "une-autre-phrase-de-passe"
    client = site.client()
    sign_in(client, email=email)
    short = client.post(
        reverse("account_change_password"), {"oldpassword": PASSWORD, "password1": "court", "password2": "court"}
    ).content.decode()
    assert 'aria-invalid="true"' in short
    assert "12" in short
    client.post(reverse("account_change_password"), {"oldpassword": PASSWORD, "password1": new, "password2": new})
    assert sign_in(site.client(), email=email).status_code == 200
    assert sign_in(site.client(), new, email=email).status_code == 302


def test_what_a_tab_remembers_is_named_after_the_sign_in(site):
    def owner(client: Client) -> str:
        return re.search(r'data-owner="([^"]+)"', client.get("/").content.decode())[1]

    first, second = site.client("student"), site.client("student")
    assert owner(first) == owner(first)
    assert owner(first) != owner(second)
    assert owner(site.client()) == "visitor"
