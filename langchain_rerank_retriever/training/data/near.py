"""Passages that are almost the same text."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import HashingVectorizer

#: Texts are near duplicates from this share of common shingles on (Jaccard).
LEAST_OVERLAP = 0.8

#: What is compared: the beginning of a text, in runs of three tokens.
COMPARED_CHARACTERS = 2000
_SHINGLE = 3

#: A word is a token; of writing without spaces, so is a character.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+"

#: Sixteen bands of four minima: of pairs that share 80 % of their shingles, two in ten thousand are missed.
_BANDS, _BAND = 16, 4

_PAIRS_AT_ONCE = 20_000


def near_duplicates(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Find texts of which others share most runs of three words.

    MinHash with banding (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, ch. 3) proposes
    pairs, and the overlap of their shingles decides. Within a band each text is compared with the first and with the
    previous of its kind, so that a thousand copies take a thousand comparisons; not every pair among several copies
    is listed, but each copy is in one. A text of fewer than three words has no shingle and no near duplicate.

    Returns:
        Pairs of places (0-based), the earlier one first, in ascending order. Equal texts are a pair, too.
    """
    if not texts:
        return []
    shingles = HashingVectorizer(
        token_pattern=_TOKEN,
        ngram_range=(_SHINGLE, _SHINGLE),
        binary=True,
        norm=None,
        alternate_sign=False,
        dtype=np.float32,
    ).transform([text[:COMPARED_CHARACTERS] for text in texts])
    sizes = np.diff(shingles.indptr)
    filled = np.flatnonzero(sizes)
    if len(filled) < 2:
        return []
    # Pairs are of row numbers in `shingles`.
    pairs = filled[_proposed(_minima(shingles.indices, shingles.indptr[filled]))]
    kept = _overlap(shingles, sizes, pairs) >= LEAST_OVERLAP
    return [(int(one), int(other)) for one, other in pairs[kept]]


def _minima(values: NDArray[np.int32], starts: NDArray[np.int32]) -> NDArray[np.uint32]:
    """Return the smallest hash of each text's shingles under every hash function, shape (texts, functions)."""
    rng = np.random.default_rng(0)
    # Multiply-shift hashing: an odd factor, and the upper half of the product.
    factors = rng.integers(1, 2**63, _BANDS * _BAND, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    wide = values.astype(np.uint64)
    columns = [np.minimum.reduceat((wide * factor) >> np.uint64(32), starts) for factor in factors]
    return np.stack(columns, axis=1).astype(np.uint32)


def _proposed(minima: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the pairs of rows that agree in a whole band, shape (pairs, 2), unique and in order."""
    found = []
    for band in np.split(minima, _BANDS, axis=1):
        _, bucket = np.unique(band, axis=0, return_inverse=True)
        order = np.argsort(bucket.ravel(), kind="stable")
        labels = bucket.ravel()[order]
        later = np.flatnonzero(labels[1:] == labels[:-1]) + 1
        first = np.searchsorted(labels, labels[later])
        found += [
            np.stack([order[first], order[later]], axis=1),
            np.stack([order[later - 1], order[later]], axis=1),
        ]
    return np.unique(np.concatenate(found), axis=0)


def _overlap(shingles: csr_matrix, sizes: NDArray[np.int32], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    shared = [
        np.asarray(shingles[part[:, 0]].multiply(shingles[part[:, 1]]).sum(axis=1)).ravel()
        for start in range(0, len(pairs), _PAIRS_AT_ONCE)
        for part in (pairs[start : start + _PAIRS_AT_ONCE],)
    ]
    common = np.concatenate(shared) if shared else np.zeros(0)
    return np.asarray(common / (sizes[pairs[:, 0]] + sizes[pairs[:, 1]] - common), dtype=np.float64)
