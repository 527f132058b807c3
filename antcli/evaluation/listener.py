"""Who hears how long work goes on: the engine never prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from antcli.sources.storage import megabytes
from antcli.sources.transfer import Downloaded


@dataclass(frozen=True)
class Listener:
    """Two functions that long work calls; by default nobody listens."""

    advance: Callable[[str, int, int], object] = lambda what, done, total: None
    """(what is done, how many of them, of how many)."""
    note: Callable[[str], object] = lambda line: None
    """A line that a person should read. Names of settings stand in it in backticks."""

    def downloaded(self, record: Downloaded) -> None:
        """Tells how far a download has come."""
        done, total = megabytes(record.done), megabytes(max(record.total, record.done))
        self.advance(f"downloading {record.name}, in MB", done, total)

    def batches(self, what: str, total: int) -> Callable[[int], None]:
        """What hears of `what`, called with the size of each batch that is done."""
        done = 0

        def advance(batch: int) -> None:
            nonlocal done
            done += batch
            self.advance(what, done, total)

        return advance


SILENT = Listener()
