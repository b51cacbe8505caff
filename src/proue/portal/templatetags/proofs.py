"""Cells of the file that verifies itself: each says which part of the statement it shows."""

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from proue.portal.proofs.plain import plain, resolve

register = template.Library()


@register.simple_tag
def cell(body: Mapping[str, Any], pointer: str, label: str, words: str = "") -> SafeString:
    shown = plain(resolve(body, pointer), words)
    if words:
        return format_html('<span data-at="{}" data-label="{}" data-words="{}">{}</span>', pointer, label, words, shown)
    return format_html('<span data-at="{}" data-label="{}">{}</span>', pointer, label, shown)


@register.simple_tag
def cell_at(body: Mapping[str, Any], before: str, name: str, label: str) -> SafeString:
    return cell(body, before + name, label)
