"""The job engine: procrastinate on our own database, every room's tasks imported once."""

from importlib import import_module

import procrastinate

ROOMS_WITH_TASKS: tuple[str, ...] = ()


def ready(app: procrastinate.App) -> None:
    for room in ROOMS_WITH_TASKS:
        import_module(f"proue.{room}.tasks")
