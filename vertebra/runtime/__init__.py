"""The spine: run, resume and recover graphs, with every model call through one door."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vertebra.runtime.app import App
    from vertebra.runtime.transport import http_client

__all__ = ["App", "http_client"]


def __getattr__(name: str) -> Any:
    if name == "App":
        from vertebra.runtime.app import App

        return App
    if name == "http_client":
        from vertebra.runtime.transport import http_client

        return http_client
    raise AttributeError(f"module 'vertebra.runtime' has no attribute {name!r}")
