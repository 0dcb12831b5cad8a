"""The one kind of error that people are meant to read."""


class ProjectError(Exception):
    """What happened, and what to do next: something that the user can put right.

    The command prints both and exits with 1; a traceback means a bug of the engine itself.
    """

    code = 1  # with which the command exits

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Keep `message` (what happened, and where) and `hint` (the way out)."""
        super().__init__(message)
        self.hint = hint


class RedVerdictError(ProjectError):
    """The model does not show what the gate demands: nothing is broken, and nothing goes on."""

    code = 2
