"""Only the doors of allauth that we open: no sign-up, no e-mail, no reset by mail while no mail leaves Proue."""

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from django.urls import path

from proue.portal.account import views

urlpatterns = [
    path("", views.index, name="account_home"),
    path("connexion/", account.LoginView.as_view(template_name="account/sign_in.html"), name="account_login"),
    path("deconnexion/", account.LogoutView.as_view(template_name="account/sign_out.html"), name="account_logout"),
    path("ferme/", account.AccountInactiveView.as_view(template_name="account/closed.html"), name="account_inactive"),
    path(
        "confirmation/",
        account.ReauthenticateView.as_view(template_name="account/confirm.html"),
        name="account_reauthenticate",
    ),
    path(
        "mot-de-passe/",
        account.PasswordChangeView.as_view(template_name="account/password.html"),
        name="account_change_password",
    ),
    path("second-facteur/", mfa.IndexView.as_view(template_name="account/second_factor.html"), name="mfa_index"),
    path(
        "second-facteur/code/",
        mfa.AuthenticateView.as_view(template_name="account/code.html"),
        name="mfa_authenticate",
    ),
    path(
        "second-facteur/confirmation/",
        mfa.ReauthenticateView.as_view(template_name="account/confirm.html"),
        name="mfa_reauthenticate",
    ),
    path(
        "second-facteur/activer/",
        totp.ActivateTOTPView.as_view(template_name="account/activate.html"),
        name="mfa_activate_totp",
    ),
    path(
        "second-facteur/retirer/",
        totp.DeactivateTOTPView.as_view(template_name="account/deactivate.html"),
        name="mfa_deactivate_totp",
    ),
    path(
        "second-facteur/codes/",
        codes.ViewRecoveryCodesView.as_view(template_name="account/codes.html"),
        name="mfa_view_recovery_codes",
    ),
    path(
        "second-facteur/codes/nouveaux/",
        codes.GenerateRecoveryCodesView.as_view(template_name="account/new_codes.html"),
        name="mfa_generate_recovery_codes",
    ),
]
