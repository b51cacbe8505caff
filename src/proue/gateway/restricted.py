"""What a request of restricted data may not ask for: a tool, that would carry it elsewhere. Pure.

Asked of the class that the request is given, so that a use of a lower class whose request says « restricted » is held
to the same."""

import msgspec

from proue.gateway.body import Asked
from proue.gateway.errors import GatewayError
from proue.gateway.sse import UNREADABLE
from proue.kernel.dataclass import DataClass
from proue.kernel.policy import Admit

# Of chat/completions and of the engines that speak it; other dialects are translated to it before.
TOOLS = (
    "tools", "functions", "tool_choice", "function_call", "web_search_options", "web_search", "enable_search",
    "plugins", "mcp_servers", "tool_resources", "search_parameters",
)  # fmt: skip
NOTHING: tuple[object, ...] = (None, False, "none", [])  # asks for none

_any = msgspec.json.Decoder()


def check(admitted: Admit, asked: Asked) -> None:
    """Raises GatewayError use.no_tools."""
    if admitted.data_class is not DataClass.RESTRICTED:
        return
    for name in TOOLS:
        raw = asked.fields.get(name)
        if raw is not None and not _asks_nothing(raw):
            raise GatewayError("use.no_tools", param=name, field=name)


def _asks_nothing(raw: msgspec.Raw) -> bool:
    try:
        return _any.decode(raw) in NOTHING
    except UNREADABLE:
        return False
