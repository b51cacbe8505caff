"""allauth, bent to our rules: no sign-up, our sentences, the gateway's word for the client's address."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from ipaddress import ip_address
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from proue.wire.seal import seal, unseal

SECOND_FACTOR = "second-factor"
UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing listens there: everyone whose address is unknown shares one limit

# What allauth has just done, by the name of its template. Anything else goes unsaid.
SAID = {
    "account/messages/password_changed.txt": _("Votre mot de passe est changé."),
    "mfa/messages/totp_activated.txt": _("Le second facteur est actif. Gardez vos codes de secours en lieu sûr."),
    "mfa/messages/totp_deactivated.txt": _("Le second facteur est retiré de votre compte."),
    "mfa/messages/recovery_codes_generated.txt": _(
        "De nouveaux codes de secours sont prêts ; les anciens ne servent plus."
    ),
}


class AccountAdapter(DefaultAccountAdapter):
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": _("L’adresse ou le mot de passe ne convient pas. Vérifiez-les et réessayez."),
        "too_many_login_attempts": _(
            "Trop d’essais ont échoué. Attendez cinq minutes avant de réessayer ; votre compte n’est pas bloqué."
        ),
        "rate_limited": _("Trop de demandes en peu de temps. Attendez une minute, puis réessayez."),
        "incorrect_password": _("Ce mot de passe n’est pas le vôtre. Réessayez."),
        "enter_current_password": _("Saisissez votre mot de passe actuel."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """The portal listens on a unix socket only, so this header is the gateway's, never the client's."""
        told = request.headers.get("x-forwarded-for", "").rsplit(",", 1)[-1].strip()
        try:
            return str(ip_address(told))
        except ValueError:
            return UNKNOWN_ADDRESS

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """Without the host name: it comes from the client, who could change it to try again."""
        return str(credentials.get("email", "")).strip().lower()

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        return reverse("home")

    def get_logout_redirect_url(self, request: HttpRequest) -> str:
        return reverse("home")

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("account_home")

    def add_message(
        self,
        request: HttpRequest,
        level: int,
        message_template: str | None = None,
        message_context: dict[str, Any] | None = None,
        extra_tags: str = "",
        message: str | None = None,
    ) -> None:
        said = message or SAID.get(message_template or "")
        if said:
            messages.add_message(request, level, said, extra_tags=extra_tags)

    def send_notification_mail(
        self, template_prefix: str, user: AbstractBaseUser, context: dict[str, Any] | None = None, email: Any = None
    ) -> None:
        """No mail leaves Proue yet."""


class SecondFactorAdapter(DefaultMFAAdapter):
    """TOTP secrets and the seeds of recovery codes lie sealed in the database."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": _("Ce code ne convient pas. Attendez le suivant dans votre application et réessayez."),
    }

    def encrypt(self, text: str) -> str:
        return urlsafe_b64encode(seal(settings.SECRET_KEY, SECOND_FACTOR, text)).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return unseal(settings.SECRET_KEY, SECOND_FACTOR, urlsafe_b64decode(encrypted_text))

    def get_totp_label(self, user: AbstractBaseUser) -> str:
        return str(user.get_username())

    def send_notification_mail(self, *args: Any, **kwargs: Any) -> None:
        """No mail leaves Proue yet."""
