"""The exceptions a user may meet on a wrong turn, as against a fault of the program."""


class Stopped(Exception):
    """The user stopped a long job; the message says what is kept and how to go on.

    Not a ``KeyboardInterrupt``, so that it can be shown as one plain line.
    """


class OutOfTime(Stopped):
    """The time given to a long job is up; what is done is kept and another call goes on."""


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error; the message names the notebook and the saved copy."""


FORESEEN = (ValueError, TypeError, OSError, FloatingPointError, NotebookFailed)
