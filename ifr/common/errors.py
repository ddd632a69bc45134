"""The exceptions a user may meet, as against a fault of the program, which keeps its traceback."""


class UserError(ValueError):
    """A user's mistake, told in one line: what was expected, what came, and what to do."""


class Stopped(Exception):
    """The user stopped a long job; the message, one plain line, says what is kept and what next."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the message without a traceback."""
        return [str(self)]


class OutOfTime(Stopped):
    """The time given to a long job is up; what is done is kept and another call goes on."""
