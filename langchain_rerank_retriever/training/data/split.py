"""Which queries train and which judge."""

import numpy as np

from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.training.data.reading import TrainingData

#: More held-out queries than this cost judging time and move the figures little.
MOST_HELD_OUT = 300
HELD_OUT_SHARE = 0.2


def split_by_group(data: TrainingData, *, seed: int) -> tuple[TrainingData, TrainingData]:
    """Hold out a fifth of the queries, at most 300, keeping every group on one side.

    Args:
        data: Checked data.
        seed: Of the shuffle of the groups.

    Returns:
        The part to train on and the part to judge by; neither is empty.

    Raises:
        DataError: If there are not two groups, so that nothing can be held out.
    """
    members: dict[str, list[str]] = {}
    for query_id, group in data.groups.items():
        members.setdefault(group, []).append(query_id)
    if len(members) < 2:
        raise DataError(
            f"The training data hold {len(data.queries)} queries in {len(members)} group; at least two different "
            "queries (or groups) are needed to hold one out for judging."
        )
    names = sorted(members)
    order = [members[names[place]] for place in np.random.default_rng(seed).permutation(len(names))]
    wanted = max(1, min(MOST_HELD_OUT, round(HELD_OUT_SHARE * len(data.queries))))
    held_out: list[str] = []
    for queries in order:
        # A group that is too large is trained on whole.
        if len(held_out) + len(queries) <= wanted:
            held_out.extend(queries)
    held_out = held_out or min(order, key=len)
    chosen = set(held_out)
    return data.only([key for key in data.queries if key not in chosen]), data.only(held_out)
