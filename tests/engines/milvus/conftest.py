import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.engines.milvus.server import MilvusStandalone


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[MilvusStandalone]":
    from tests.engines.milvus.server import MilvusStandalone

    # The client logs a page for every failed call, also for those that wait for the server to start.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    server = MilvusStandalone(tmp_path_factory.mktemp("milvus"))
    yield server
    server.close()
