"""What every template may read."""

from hashlib import sha256

from django.conf import settings
from django.http import HttpRequest

from proue.institutions.access import Actor
from proue.institutions.rules import Right

THEMES = ("light", "dark")
THEME_COOKIE = "proue_theme"


def site(request: HttpRequest) -> dict[str, object]:
    """Reads no database: error pages use it too. Parts may be missing when a request failed early."""
    actor = getattr(request, "actor", None)
    theme = request.COOKIES.get(THEME_COOKIE, "")
    return {
        "actor": actor,
        "signed_in": bool(actor and actor.signed_in),
        "sees_institution": bool(actor and sees_institution(actor)),
        "demo": settings.DEMO,
        "public_url": settings.PUBLIC_URL,
        "theme": theme if theme in THEMES else "",
        "tab_owner": tab_owner(request) if actor and actor.signed_in else "visitor",
        "nonce": getattr(request, "csp_nonce", ""),
        "request_id": getattr(request, "request_id", ""),
        "second_factor_excused": getattr(request, "second_factor_excused", False),
    }


def tab_owner(request: HttpRequest) -> str:
    """Names a sign-in, so that what a tab remembers is forgotten when someone else sits down."""
    return sha256(f"tab/{request.session.session_key}".encode()).hexdigest()[:16]


def sees_institution(actor: Actor) -> bool:
    """« Mon établissement » is for those who may hold keys or read figures."""
    return any(actor.may(right) for right in (Right.MANAGE_KEYS, Right.MANAGE_USES, Right.READ_USAGE))
