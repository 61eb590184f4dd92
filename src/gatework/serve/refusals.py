"""What a client is told when its request is not answered: a status and a sentence, never a traceback."""

from __future__ import annotations

from typing import ClassVar

from gatework.errors import GateworkError

__all__ = [
    "BadRequest",
    "Departed",
    "Elsewhere",
    "Failed",
    "Forbidden",
    "Gone",
    "Idle",
    "NotFound",
    "Overdue",
    "Refusal",
    "Stopping",
    "TooLarge",
    "TooMany",
    "Unauthorized",
]


Headers = tuple[tuple[str, str], ...]


class Refusal(GateworkError):
    """A request that is refused; each kind below has a status and a close code of its own.

    Attributes:
        status: of the HTTP response.
        close_code: of a WebSocket's close frame (RFC 6455, section 7.4).
        headers: of the response.
    """

    status: ClassVar[int]
    close_code: ClassVar[int]
    headers: ClassVar[Headers]

    def __init_subclass__(cls, *, status: int, close_code: int, headers: Headers = ()) -> None:
        super().__init_subclass__()
        cls.status, cls.close_code, cls.headers = status, close_code, headers


_NAME_YOURSELF: Headers = (("www-authenticate", 'Bearer realm="gatework"'),)
_SOON: Headers = (("retry-after", "1"),)
_LATER: Headers = (("retry-after", "5"), ("connection", "close"))


class BadRequest(Refusal, status=422, close_code=1007):
    """What was sent is not what is asked for."""


class Unauthorized(Refusal, status=401, close_code=3000, headers=_NAME_YOURSELF):
    """The token is missing or another one."""


class Forbidden(Refusal, status=403, close_code=3003):
    """It was sent by a page of another origin, or to another host."""


class NotFound(Refusal, status=404, close_code=4404):
    """There is no such run."""


class Gone(Refusal, status=404, close_code=4404):
    """The run was there, and has been removed."""


class Idle(Refusal, status=408, close_code=4408):
    """A stream that nobody used was put away."""


class Elsewhere(Refusal, status=409, close_code=4409):
    """A stream was taken up by another connection."""


class TooLarge(Refusal, status=413, close_code=1009):
    """More than a limit."""


class Departed(Refusal, status=499, close_code=1001):
    """The client closed its connection before it was answered: nobody hears this, and the measures count it."""


class Failed(Refusal, status=500, close_code=1011):
    """The run failed by a fault of its own; the log says more."""


class TooMany(Refusal, status=503, close_code=1013, headers=_SOON):
    """The service has as much to do as it takes on."""


class Stopping(Refusal, status=503, close_code=1012, headers=_LATER):
    """The service is being stopped."""


class Overdue(Refusal, status=504, close_code=4408):
    """The time for an answer is over."""
