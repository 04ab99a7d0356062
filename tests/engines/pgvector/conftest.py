from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.engines.pgvector.server import Postgres


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Postgres]":
    from tests.engines.pgvector.server import Postgres

    server = Postgres(tmp_path_factory.mktemp("postgres"))
    yield server
    server.close()
