"""The two ways a command ends badly, and the one rule for their words.

Every message says what happened, where, and what to do. The command line prints it as one line and
exits with `exit_code`; the traceback goes to the run's log.
"""


class GroundupError(Exception):
    """The build failed: `what` happened, `where`, and what to `do` about it (exit code 1)."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", do: str = "") -> None:
        self.what, self.where, self.do = what, where, do
        cause = f"{where}: {what}" if where else what
        super().__init__(f"{cause.rstrip('.')}. {do}" if do else cause)


class RequestError(GroundupError):
    """The request was wrong: nothing was started and nothing was changed (exit code 2)."""

    exit_code = 2


class Stopped(Exception):
    """The user or the machine asked for a stop (SIGTERM, Ctrl-C) and everything is saved.

    Not an error: the command exits with 0 and says how to go on.
    """
