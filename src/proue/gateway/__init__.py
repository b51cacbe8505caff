"""The data plane: serves and counts. Pure ASGI; knows only `wire` and `kernel`."""
