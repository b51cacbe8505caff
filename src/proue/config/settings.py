"""Django settings, from the environment only. Every PROUE_ name is documented in docs/reference/settings.md."""

from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from proue.batches.rules import BadHours, quiet_from
from proue.config import environment as env

DATA_DIR = env.data_dir()
STORAGE_DIR = DATA_DIR / "files"
INDEX_DIR = DATA_DIR / "index"

SECRET_KEY = env.secret_key(DATA_DIR)
DEBUG = False
HOST = env.text("PROUE_HOST", "127.0.0.1")
PORT = env.integer("PROUE_PORT", 8400, low=1, high=65535)
PUBLIC_URL = env.public_url() or f"http://{HOST}:{PORT}"
DEMO = env.boolean("PROUE_DEMO", default=False)
# The gateway relays every host name. Only that of PROUE_PUBLIC_URL is answered (loopback has three); without it, which
# `proue up` never starts, any name is.
ALLOWED_HOSTS = env.hosts(PUBLIC_URL) if env.public_url() else ["*"]
USE_X_FORWARDED_HOST = True
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
GATEWAY_URL = env.text("PROUE_GATEWAY_URL", f"http://{env.reachable(HOST)}:{PORT}")

# When batches run, in hours of Paris; a demonstration shows its own at once.
BATCH_HOURS = env.text("PROUE_BATCH_HOURS", "always" if DEMO else "20:00-07:00,weekend")
BATCH_CONCURRENCY = env.integer("PROUE_BATCH_CONCURRENCY", 8, low=1, high=256)
try:
    quiet_from(BATCH_HOURS)
except BadHours:
    raise env.BadSetting(
        f"PROUE_BATCH_HOURS s’écrit comme « 20:00-07:00,weekend » ou « always », et vaut « {BATCH_HOURS} »."
    ) from None

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "procrastinate.contrib.django",
    "proue.store.apps.StoreConfig",
    "proue.ledger.apps.LedgerConfig",
    "proue.institutions.apps.InstitutionsConfig",
    "proue.supply.apps.SupplyConfig",
    "proue.metering.apps.MeteringConfig",
    "proue.datasets.apps.DatasetsConfig",
    "proue.knowledge.apps.KnowledgeConfig",
    "proue.needs.apps.NeedsConfig",
    "proue.specification.apps.SpecificationConfig",
    "proue.procurement.apps.ProcurementConfig",
    "proue.assurance.apps.AssuranceConfig",
    "proue.serving.apps.ServingConfig",
    "proue.batches.apps.BatchesConfig",
    "proue.assistant.apps.AssistantConfig",
    "proue.compliance.apps.ComplianceConfig",
    "proue.portal.apps.PortalConfig",
    "proue.api.apps.ApiConfig",
    "proue.config.apps.ProueConfig",
]

MIDDLEWARE = [
    "proue.portal.middleware.RequestId",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "proue.portal.middleware.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "proue.portal.middleware.EnterScope",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "proue.config.urls"
ASGI_APPLICATION = "proue.config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "proue.portal.context.site",
            ],
            "builtins": ["django.templatetags.i18n", "django.templatetags.static", "proue.portal.templatetags.proue"],
        },
    }
]

APP_POOL = {"min_size": 0, "max_size": 8, "timeout": 10}


def database(url: str, role: str, *, pool: bool = False) -> dict[str, Any]:
    """One alias. With a single DATABASE_URL the role is taken at connection (`SET ROLE`), else it is the URL's."""
    parts = conninfo_to_dict(url) if url else {}
    options: dict[str, Any] = {
        key: value for key, value in parts.items() if key not in {"user", "password", "host", "port", "dbname"}
    }
    if role:
        options["options"] = f"{options.get('options', '')} -c role={role}".strip()
    if pool:
        options["pool"] = APP_POOL
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.get("dbname", "proue"),
        "USER": parts.get("user", ""),
        "PASSWORD": parts.get("password", ""),
        "HOST": parts.get("host", ""),
        "PORT": str(parts.get("port", "")),
        "OPTIONS": options,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": False,
        "TEST": {"NAME": parts.get("dbname", "proue")},
    }


_APP_URL = env.text("DATABASE_URL")
_OWNER_URL = env.text("PROUE_OWNER_DATABASE_URL")
_SYSTEM_URL = env.text("PROUE_SYSTEM_DATABASE_URL")
_ONE_URL = bool(_APP_URL) and not (_OWNER_URL or _SYSTEM_URL)
DATABASES = {
    "default": database(_APP_URL, "proue_app" if _ONE_URL else "", pool=env.boolean("PROUE_POOL", default=False)),
    "owner": database(_OWNER_URL or _APP_URL, "proue_owner" if _ONE_URL else ""),
    "system": database(_SYSTEM_URL or _APP_URL, "proue_system" if _ONE_URL else ""),
}
DATABASE_ROUTERS = ["proue.store.access.Router"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "config_cache",
        "OPTIONS": {"MAX_ENTRIES": 50_000},
    }
}

AUTH_USER_MODEL = "institutions.Person"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "proue.portal.account.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # accounts are opened by a referent, never by sign-up
ACCOUNT_LOGIN_ON_GET = False
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/5m/key", "login": "30/m/ip"}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Proue"
MFA_ADAPTER = "proue.portal.account.adapter.SecondFactorAdapter"

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC_URL.startswith("https://")
CSRF_COOKIE_HTTPONLY = False
CSRF_FAILURE_VIEW = "proue.portal.errors.form_expired"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

EMAIL_CONFIG_URL = env.text("PROUE_EMAIL_URL")
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"

LANGUAGE_CODE = env.text("PROUE_LANGUAGE", "fr")
LANGUAGES = [("fr", "Français"), ("en", "English")]
LOCALE_PATHS = [Path(__file__).parent.parent / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "Europe/Paris"

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "proue.config.statics.HashedWhenCollected"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 3600

LOGGING_CONFIG = None  # config/logs.py: JSON lines, request id, no body

PROCRASTINATE_ON_APP_READY = "proue.config.jobs.ready"
PROCRASTINATE_IMPORT_PATHS: list[str] = []
