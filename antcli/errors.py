"""The only errors that a user sees without a traceback, and the warnings of the engine."""

from __future__ import annotations

import shlex


class AntError(Exception):
    """Something a user can put right: one clear line, and a hint that names what to do next."""

    def __init__(self, message: str, hint: str = "", *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        """1: the work failed. 2: the command was typed wrongly. 128 + n: signal n ended it."""


def quoted(word: object) -> str:
    """A path or a name as it is typed in a shell, for the commands that hints name."""
    return shlex.quote(str(word))


class AntWarning(UserWarning):
    """Something that a user should know and that stops nothing: one line on the screen."""
