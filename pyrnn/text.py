"""Text as numbers: a tokenizer of words or characters, and sequences of different lengths as one array."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _check
from ._layer import as_size
from ._parameters import as_array
from ._ragged import as_sequences, padded

__all__ = ["Tokenizer", "pad_sequences"]

Array = NDArray[Any]

LEVELS = ("word", "char")
ENDS = ("end", "start")
# A word with its apostrophes, or one sign of anything else.
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


class Tokenizer:
    """A vocabulary of words or characters, and the way from text to numbers and back.

    Parameters
    ----------
    level : {"word", "char"}, default "word"
        What a token is. Words are runs of letters, digits and apostrophes between them; each other sign but
        white space is a token, too.
    max_tokens : int, optional
        The largest size of the vocabulary, padding and unknown included: the most frequent tokens are kept.
    lower : bool, optional
        Whether text is turned to lower case; by default for words.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    The number 0 is padding, which no text becomes, and 1 a token that is not in the vocabulary. The others
    are in the order of their frequency, and among equals in that of the alphabet.

    Examples
    --------
    >>> tokenizer = Tokenizer().fit(["The cat sat.", "The dog sat, too."])
    >>> tokenizer.vocabulary
    ('<pad>', '<unk>', '.', 'sat', 'the', ',', 'cat', 'dog', 'too')
    >>> tokenizer.encode("The cow sat.")
    array([4, 1, 3, 2])
    >>> tokenizer.decode([4, 1, 3, 2, 0, 0])
    'the <unk> sat .'
    >>> len(tokenizer)
    9
    """

    padding_id = 0
    unknown_id = 1

    def __init__(self, level: str = "word", max_tokens: int | None = None, lower: bool | None = None) -> None:
        self.level = _check.choice(level, LEVELS, "level")
        self.max_tokens = None if max_tokens is None else as_size(max_tokens, "max_tokens")
        if self.max_tokens is not None and self.max_tokens < 2:
            raise ValueError(f"max_tokens must be at least 2, for padding and unknown, got {max_tokens}")
        self.lower = self.level == "word" if lower is None else _check.flag(lower, "lower")
        self._tokens: list[str] = []
        self._ids: dict[str, int] = {}

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The token of every number."""
        return ("<pad>", "<unk>", *self._tokens)

    def __len__(self) -> int:
        """Size of the vocabulary, which is the `num_embeddings` of an `Embedding`."""
        return 2 + len(self._tokens)

    def fit(self, texts: str | Iterable[str]) -> Tokenizer:
        """Make the vocabulary anew, from all tokens of `texts`.

        Parameters
        ----------
        texts : str or iterable of str

        Returns
        -------
        Tokenizer
            Itself.

        Raises
        ------
        TypeError
            A text is no str.
        """
        counts: Counter[str] = Counter()
        for text in [texts] if isinstance(texts, str) else texts:
            counts.update(self.tokens(text))
        ordered = sorted(counts, key=lambda token: (-counts[token], token))
        self._set(ordered if self.max_tokens is None else ordered[: self.max_tokens - 2])
        return self

    def tokens(self, text: str) -> list[str]:
        """Cut a text into tokens, whether or not they are in the vocabulary.

        Raises
        ------
        TypeError
            `text` is no str.
        """
        if not isinstance(text, str):
            raise TypeError(f"texts must be str, got {text!r}")
        text = text.lower() if self.lower else text
        return WORD.findall(text) if self.level == "word" else list(text)

    def encode(self, texts: str | Iterable[str]) -> Any:
        """Turn text into numbers.

        Parameters
        ----------
        texts : str or iterable of str

        Returns
        -------
        ndarray of int64, shape (tokens,), or a list of them
            Of each text: what `fit` of a model takes as it is, and `pad_sequences` as one array.

        Raises
        ------
        TypeError
            A text is no str.
        """
        return self._numbers(texts) if isinstance(texts, str) else [self._numbers(text) for text in texts]

    def decode(self, ids: Any) -> Any:
        """Turn numbers into text: words with blanks between them, or characters.

        Parameters
        ----------
        ids : array_like of int, shape (tokens,); or sequence of them, such as an array (B, T)
            Padding is left out.

        Returns
        -------
        str, or list of str

        Raises
        ------
        TypeError
            `ids` are not integers.
        ValueError
            A number is not in the vocabulary.
        """
        if isinstance(ids, (list, tuple)) and any(np.ndim(part) for part in ids):
            return [self.decode(part) for part in ids]
        array = as_array(ids, "ids")
        if array.ndim > 1:
            return [self.decode(part) for part in array]
        if array.dtype.kind not in "iu" and array.size:
            raise TypeError(f"ids must be integers, got dtype {array.dtype}")
        if array.size and not 0 <= array.min() <= array.max() < len(self):
            raise ValueError(
                f"ids must lie between 0 and {len(self) - 1}, got {array.min()} to {array.max()}"
            )
        vocabulary = self.vocabulary
        found = (vocabulary[i] for i in array.reshape(-1).tolist() if i != self.padding_id)
        return (" " if self.level == "word" else "").join(found)

    def to_json(self) -> str:
        """Return all of it as JSON, such as for the `metadata` of `save`."""
        told = {
            "level": self.level,
            "max_tokens": self.max_tokens,
            "lower": self.lower,
            "tokens": self._tokens,
        }
        return json.dumps(told, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """Make a tokenizer from what `to_json` returned.

        Raises
        ------
        ValueError
            `text` is nothing that `to_json` returns.
        """
        try:
            told = json.loads(text)
            tokens = told.pop("tokens")
            tokenizer = cls(**told)
            if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
                raise ValueError("tokens must be strings")
            if len(set(tokens)) < len(tokens):
                raise ValueError("tokens must differ")
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"text must be the JSON of a tokenizer: {error}") from error
        tokenizer._set(tokens)
        return tokenizer

    def _numbers(self, text: str) -> NDArray[np.int64]:
        return np.fromiter((self._ids.get(t, self.unknown_id) for t in self.tokens(text)), np.int64)

    def _set(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._ids = {token: number for number, token in enumerate(tokens, 2)}

    def __repr__(self) -> str:
        limit = "" if self.max_tokens is None else f", max_tokens={self.max_tokens}"
        lower = "" if self.lower == (self.level == "word") else f", lower={self.lower}"
        return f"<Tokenizer({self.level!r}{limit}{lower}): {len(self)} tokens>"


def pad_sequences(
    sequences: Sequence[ArrayLike],
    *,
    max_length: int | None = None,
    truncate: str = "end",
    padding_value: float = 0,
    batch_first: bool = False,
    dtype: DTypeLike | None = None,
) -> tuple[Array, NDArray[np.int64]]:
    """Put sequences of different lengths into one array.

    Parameters
    ----------
    sequences : sequence of B array_like, shape (T_i, ...)
        Alike but for their lengths.
    max_length : int, optional
        The most steps of a sequence that are kept.
    truncate : {"end", "start"}, default "end"
        Which end of a longer sequence is cut off.
    padding_value : number, default 0
        What lies beyond the end of a shorter one.
    batch_first : bool, default False
        Whether the array is (B, T, ...) rather than (T, B, ...).
    dtype : dtype, optional
        Of the array; by default that which holds all sequences.

    Returns
    -------
    array : ndarray, shape (T, B, ...), or (B, T, ...)
        T is the length of the longest sequence.
    lengths : ndarray of int64, shape (B,)
        What the `lengths` of the layers take.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Examples
    --------
    >>> array, lengths = pad_sequences([[1, 2, 3], [4]], batch_first=True)
    >>> array
    array([[1, 2, 3],
           [4, 0, 0]])
    >>> lengths
    array([3, 1])
    """
    if not isinstance(sequences, (list, tuple, np.ndarray)):
        raise TypeError(f"sequences must be a sequence of arrays, got {type(sequences).__name__}")
    found = list(as_sequences(list(sequences), "sequences"))
    if _check.choice(truncate, ENDS, "truncate") and max_length is not None:
        limit = as_size(max_length, "max_length")
        found = [part[:limit] if truncate == "end" else part[max(0, len(part) - limit) :] for part in found]
    lengths = np.array([len(part) for part in found], np.int64)
    like = found[0] if dtype is None else found[0].astype(np.dtype(dtype))
    value = _check.number(padding_value, "padding_value")
    first = _check.flag(batch_first, "batch_first")
    return padded(found, int(lengths.max()), like, batch_first=first, value=value), lengths
