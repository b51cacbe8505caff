from allauth.mfa.utils import is_mfa_enabled
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from proue.institutions import queries
from proue.portal.requests import ActorRequest


@require_safe
@login_required
def index(request: ActorRequest) -> HttpResponse:
    names = {institution.uai: institution.name for institution in queries.institutions()}
    ties = [{"where": names.get(tie.uai or ""), "status": tie.status, "role": tie.role} for tie in request.actor.ties]
    return render(request, "account/home.html", {"ties": ties, "second_factor": is_mfa_enabled(request.user)})
