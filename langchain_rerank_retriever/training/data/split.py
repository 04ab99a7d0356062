"""Which queries train and which judge."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.training.data.reading import TrainingData

#: More held-out queries than this cost judging time and move the figures little.
MOST_HELD_OUT = 300
HELD_OUT_SHARE = 0.2

Member = TypeVar("Member")


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
    held_out, unused = draw_held_out(members, seed=seed, most=MOST_HELD_OUT)
    not_trained_on = {*held_out, *unused}
    return data.only([key for key in data.queries if key not in not_trained_on]), data.only(held_out)


def draw_held_out(
    members: Mapping[str, list[Member]], *, seed: int, most: int
) -> tuple[list[Member], list[Member]]:
    """Draw whole groups until a fifth of the members, or `most` of them, are held out.

    Args:
        members: Group to its members; at least two groups.
        seed: Of the shuffle of the groups.
        most: The largest number to hold out.

    Returns:
        The members that are held out, at least one and never all; and those of no use: where every group is larger
        than what is to be held out, what the smallest has more than `most`.
    """
    names = sorted(members)
    order = [members[names[place]] for place in np.random.default_rng(seed).permutation(len(names))]
    wanted = max(1, min(most, round(HELD_OUT_SHARE * sum(map(len, order)))))
    held_out: list[Member] = []
    for group in order:
        # A group that is too large is trained on whole.
        if len(held_out) + len(group) <= wanted:
            held_out.extend(group)
    smallest = min(order, key=len)
    return (held_out, []) if held_out else (smallest[:most], smallest[most:])
