"""The plan for large corpora: its page shows what its script calculates, and that follows from the unit costs."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "scale"


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("scale_plan", FOLDER / "plan.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "scale_plan", module)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_the_script_prints(plan: ModuleType) -> None:
    assert plan.table([10e6, 100e6, 1e9]) in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_plan_follows_from_the_unit_costs(plan: ModuleType) -> None:
    unit = plan.Measured(
        encoded_per_core_second=100.0,
        shard_bytes=2_000.0,
        pairs_per_core_second=50.0,
        milvus_loaded_per_second=1_000.0,
        hnsw_build_core_seconds=0.001,
    )
    assumed = plan.Assumed(
        dimension=100, graph_links=25, memory_overhead=1.5, text_bytes=500.0, node_memory=(1e9, 0.5), cores=10,
        shards=100, loaders=5, candidates=20, queries_per_second=11.0,
    )  # fmt: skip
    one = plan.Plan(3_600_000, unit, assumed)
    assert one.rows_per_shard == 36_000
    assert one.shard_gigabytes == pytest.approx(7.2)
    assert one.encode_core_hours == pytest.approx(10.0)
    assert one.encode_hours == pytest.approx(1.0)
    assert one.shard_seconds == pytest.approx(360.0)
    assert one.load_hours == pytest.approx(0.2)
    assert one.index_core_hours == pytest.approx(1.0)
    # (400 bytes of vector + 200 of links) x 1.5 x 3.6 million
    assert one.index_gigabytes == pytest.approx(3.24)
    assert one.text_gigabytes == pytest.approx(1.8)
    assert one.query_nodes == 7
    assert one.rerank_cores == 5
