"""What a worker has done so far, in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from langchain_rerank_retriever.runtime.backend import Row
from langchain_rerank_retriever.runtime.serving.batching import cost


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals since a worker was made; the difference of two of them is what happened between.

    Attributes:
        rows: That have run: texts, pairs, or windows of long ones.
        tokens: Of these rows.
        padded_tokens: What was computed for them: every row as long as the longest of its batch.
        batches: Forward passes.
        seconds: The backend was busy: reading, running, failing.
        reading_seconds: Of these, turning texts into tokens.
        truncated: Rows whose input was longer than the model reads.
    """

    rows: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    batches: int = 0
    seconds: float = 0.0
    reading_seconds: float = 0.0
    truncated: int = 0

    @property
    def padded_share(self) -> float:
        """Share of the computed tokens that were padding, 0.0 where nothing has run."""
        return 1 - self.tokens / self.padded_tokens if self.padded_tokens else 0.0

    def ran(self, batch: Sequence[Row]) -> "Counts":
        """Count a batch."""
        lengths = [row.length for row in batch]
        return replace(
            self,
            rows=self.rows + len(batch),
            tokens=self.tokens + sum(lengths),
            padded_tokens=self.padded_tokens + cost(lengths),
            batches=self.batches + 1,
            truncated=self.truncated + sum(row.truncated for row in batch),
        )

    def took(self, seconds: float, *, reading: bool = False) -> "Counts":
        """Count time."""
        return replace(
            self,
            seconds=self.seconds + seconds,
            reading_seconds=self.reading_seconds + (seconds if reading else 0.0),
        )
