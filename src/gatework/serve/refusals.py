"""What a client is told when its request is not answered: a status and a sentence, never a traceback."""

from __future__ import annotations

from gatework.errors import GateworkError

__all__ = [
    "BadRequest",
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


class Refusal(GateworkError):
    """A request that is refused.

    Attributes:
        status: of the HTTP response.
        close_code: of a WebSocket's close frame (RFC 6455, section 7.4).
        headers: of the response.
    """

    status = 400
    close_code = 1008
    headers: tuple[tuple[str, str], ...] = ()


class BadRequest(Refusal):
    """What was sent is not what is asked for."""

    status = 422
    close_code = 1007


class Unauthorized(Refusal):
    """The token is missing or another one."""

    status = 401
    close_code = 3000
    headers = (("www-authenticate", 'Bearer realm="gatework"'),)


class Forbidden(Refusal):
    """It was sent by a page of another origin, or to another host."""

    status = 403
    close_code = 3003


class NotFound(Refusal):
    """There is no such run."""

    status = 404
    close_code = 4404


class Gone(Refusal):
    """The run was there, and has been removed."""

    status = 404
    close_code = 4404


class TooLarge(Refusal):
    """More than a limit."""

    status = 413
    close_code = 1009


class TooMany(Refusal):
    """The service has as much to do as it takes on."""

    status = 503
    close_code = 1013
    headers = (("retry-after", "1"),)


class Failed(Refusal):
    """The run failed by a fault of its own; the log says more."""

    status = 500
    close_code = 1011


class Idle(Refusal):
    """A stream that nobody used was put away."""

    status = 408
    close_code = 4408


class Elsewhere(Refusal):
    """A stream was taken up by another connection."""

    status = 409
    close_code = 4409


class Overdue(Refusal):
    """The time for an answer is over."""

    status = 504
    close_code = 4408


class Stopping(Refusal):
    """The service is being stopped."""

    status = 503
    close_code = 1012
    headers = (("retry-after", "5"), ("connection", "close"))
