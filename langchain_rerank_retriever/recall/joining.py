"""Lists of candidates from different places, fused by reciprocal rank."""

from collections.abc import Sequence

from langchain_rerank_retriever.recall.candidate import Candidate, document_id, document_key
from langchain_rerank_retriever.recall.fusion import reciprocal_rank_scores


def fuse(lists: Sequence[Sequence[Candidate]], fetch_k: int) -> list[Candidate]:
    """Make one list of several, in which each document stands once.

    Documents are told apart by their ids. One without an id is the same as one that has its text: of several ids with
    that text, the one that stands best in the lists together, and of equal ones the first. So ids alone keep two
    documents of one text apart.

    Args:
        lists: Each best first; what a list holds twice counts there at its better rank.
        fetch_k: How many to keep.

    Returns:
        Best first, ties in order of appearance. A joined candidate has the document of the first list that names it,
        else of the first, and as `recall_score` the sum of 1 / (60 + rank) over the lists, ranks counted from 1; a
        stage's score is the first that any list has.
    """
    by_key: dict[str, list[Candidate]] = {}
    ranked: list[list[str]] = []
    for keys, candidates in zip(_keys(lists), lists, strict=True):
        for key, candidate in zip(keys, candidates, strict=True):
            by_key.setdefault(key, []).append(candidate)
        ranked.append(list(dict.fromkeys(keys)))
    scores = reciprocal_rank_scores(ranked)
    best = sorted(scores, key=lambda key: -scores[key])[:fetch_k]
    return [_joined(by_key[key], scores[key]) for key in best]


def _keys(lists: Sequence[Sequence[Candidate]]) -> list[list[str]]:
    """Name the document of every candidate, across lists."""
    keys = [[document_key(one.document) for one in candidates] for candidates in lists]
    pairs = [
        (key, one.document)
        for names, candidates in zip(keys, lists, strict=True)
        for key, one in zip(names, candidates, strict=True)
    ]
    nameless = {document.page_content: key for key, document in pairs if document_id(document) is None}
    if not nameless:
        return keys
    # How well each id stands by itself: what joins it must not decide what is joined.
    scores = reciprocal_rank_scores(keys)
    same: dict[str, str] = {}
    for key, document in pairs:
        twin = nameless.get(document.page_content, key)
        if twin != key and (twin not in same or scores[key] > scores[same[twin]]):
            same[twin] = key
    return [[same.get(key, key) for key in names] for names in keys]


def _joined(found: Sequence[Candidate], score: float) -> Candidate:
    """Make one candidate of what several lists say of one document."""
    named = next((one for one in found if document_id(one.document) is not None), found[0])
    dense = next((one.dense_score for one in found if one.dense_score is not None), None)
    lexical = next((one.lexical_score for one in found if one.lexical_score is not None), None)
    return Candidate(named.document, score, dense, lexical)
