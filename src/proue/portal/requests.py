"""What every view receives: who asks, when, and under which identifier."""

from datetime import datetime

from django.http import HttpRequest

from proue.institutions.access import Actor


class ActorRequest(HttpRequest):
    actor: Actor
    at: datetime
    request_id: str
    csp_nonce: str
    # The person ought to have a second factor, has none, and is let in because this is the demonstration.
    second_factor_excused: bool
    failed: bool  # an exception left the view, or it says so itself: what it wrote is undone
