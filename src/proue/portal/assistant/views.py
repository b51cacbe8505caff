from django.http import HttpRequest, HttpResponse

from proue.portal.errors import not_found


def index(request: HttpRequest) -> HttpResponse:
    return not_found(request)
