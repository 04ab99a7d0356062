"""What becomes due while the thread is about to end is not forgotten."""

import threading

from langchain_rerank_retriever.store.upkeep import Upkeep


def test_a_task_that_becomes_due_at_the_last_look_is_done() -> None:
    done: list[int] = []
    due, looking, noticed = {"value": 1}, threading.Event(), threading.Event()

    def task(_go_on: object) -> None:
        done.append(due["value"])
        due["value"] = 0

    def next_task():
        found = task if due["value"] else None
        if found is None and len(done) == 1 and threading.current_thread().name == "store-upkeep":
            # It has looked and found nothing; before it can say so, another change comes.
            looking.set()
            noticed.wait(0.3)
        return found

    upkeep = Upkeep(next_task, lambda: 0)
    upkeep.consider()
    upkeep._hurry.set()
    assert looking.wait(10)
    due["value"] = 2
    upkeep.consider()
    noticed.set()
    assert upkeep.wait(10)
    assert done == [1, 2]
    upkeep.close()
