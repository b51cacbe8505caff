"""`proue lineage`: what an object rests on, and what rests on it, as the operator of this machine reads it."""

from typing import Any

from proue.store.access import system
from proue.store.links import as_json, entity_for, lineage

STATE_MARKS = {"valid": "", "suspect": "  (à relire)", "broken": "  (rompu)"}


def walk(reference: str) -> dict[str, Any]:
    """Raises NotFound."""
    with system("doctor"):
        return as_json(lineage(entity_for(reference)))


def as_text(found: dict[str, Any]) -> str:
    """From the need to the proof, one object a line; then the links."""
    lines = [
        f"{'→' if node['code'] == found['start'] else ' '} {node['kind']:<18} {node['code']}@{node['version']}  "
        f"{node['title']}"
        for node in found["nodes"]
    ]
    lines.append("")
    lines += [
        f"  {edge['source']} {edge['relation']} {edge['target']}{STATE_MARKS[edge['state']]}" for edge in found["edges"]
    ]
    return "\n".join(lines).rstrip()
