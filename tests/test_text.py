"""Tokenizers and padding: there and back, limits, and what is refused."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyrnn
from pyrnn.text import Tokenizer, pad_sequences

from .problems import at_random

TEXTS = ["The cat sat on the mat.", "Don't panic: it’s 42!", "", "  blanks\tand\nlines  "]


def test_words():
    tokenizer = Tokenizer().fit(TEXTS)
    assert tokenizer.tokens(TEXTS[1]) == ["don't", "panic", ":", "it’s", "42", "!"]
    assert tokenizer.tokens(TEXTS[3]) == ["blanks", "and", "lines"]
    assert tokenizer.vocabulary[:4] == ("<pad>", "<unk>", "the", "!")
    assert tokenizer.decode(tokenizer.encode(TEXTS[0])) == "the cat sat on the mat ."
    assert [len(ids) for ids in tokenizer.encode(TEXTS)] == [7, 6, 0, 3]
    assert tokenizer.encode("THE Zebra").tolist() == [2, 1] and tokenizer.encode("").dtype == np.int64
    assert Tokenizer(lower=False).fit(TEXTS[0]).encode("the THE The").tolist() == [8, 1, 3]


@at_random
@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_characters_there_and_back(texts):
    tokenizer = Tokenizer("char").fit(texts)
    assert tokenizer.decode(tokenizer.encode(texts)) == texts
    counts = Counter("".join(texts))
    order = [counts[token] for token in tokenizer.vocabulary[2:]]
    assert order == sorted(order, reverse=True) and len(tokenizer) == 2 + len(counts)


@at_random
@given(
    st.lists(st.text(max_size=30), max_size=5),
    st.sampled_from(["word", "char"]),
    st.integers(2, 9),
    st.booleans(),
)
def test_json_there_and_back(texts, level, limit, lower):
    tokenizer = Tokenizer(level, limit, lower).fit(texts)
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.vocabulary == tokenizer.vocabulary and repr(again) == repr(tokenizer)
    for found, truth in zip(again.encode(texts), tokenizer.encode(texts), strict=True):
        np.testing.assert_array_equal(found, truth)
    assert len(tokenizer) <= limit and tokenizer.max_tokens == again.max_tokens == limit


def test_a_limit_keeps_the_most_frequent():
    tokenizer = Tokenizer(max_tokens=4).fit("b a c a b a")
    assert tokenizer.vocabulary == ("<pad>", "<unk>", "a", "b")
    assert tokenizer.encode("a b c d").tolist() == [2, 3, 1, 1]
    assert Tokenizer().fit(["b a", "c"]).vocabulary[2:] == Tokenizer().fit(["c", "a b"]).vocabulary[2:]
    assert len(Tokenizer(max_tokens=2).fit("a b")) == len(Tokenizer()) == 2


def test_padding_is_left_out_of_texts():
    tokenizer = Tokenizer("char").fit("abc")
    batch, lengths = pad_sequences(tokenizer.encode(["abc", "b", ""]), batch_first=True)
    assert lengths.tolist() == [3, 1, 0] and tokenizer.decode(batch) == ["abc", "b", ""]
    assert (
        tokenizer.decode(1) == "<unk>"
        and tokenizer.decode([]) == ""
        and tokenizer.decode([[2], [3, 4]]) == ["a", "bc"]
    )


def test_a_tokenizer_goes_with_its_model(tmp_path):
    tokenizer = Tokenizer().fit(TEXTS)
    model = pyrnn.Sequential(pyrnn.Embedding(len(tokenizer), 4), pyrnn.GRU(4, 3), pyrnn.LastStep())
    pyrnn.save(model, tmp_path / "model", metadata={"tokenizer": tokenizer.to_json()})
    again = Tokenizer.from_json(pyrnn.load_metadata(tmp_path / "model")["tokenizer"])
    first, second = (
        pyrnn.predict(m, t.encode(TEXTS))
        for m, t in ((model, tokenizer), (pyrnn.load(tmp_path / "model"), again))
    )
    np.testing.assert_array_equal(first, second)


# ---- pad_sequences ----


@at_random
@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=6),
    st.sampled_from([(), (2,)]),
    st.booleans(),
    st.none() | st.integers(1, 7),
    st.booleans(),
)
def test_padding(lengths, features, batch_first, limit, from_end):
    rng = np.random.default_rng(len(lengths))
    parts = [rng.integers(1, 9, (length, *features)) for length in lengths]
    array, found = pad_sequences(
        parts,
        batch_first=batch_first,
        max_length=limit,
        truncate="end" if from_end else "start",
        padding_value=-1,
    )
    kept = [min(length, limit or 7) for length in lengths]
    assert found.tolist() == kept and found.dtype == np.int64 and array.dtype == parts[0].dtype
    array = array if batch_first else array.swapaxes(0, 1)
    assert array.shape == (len(parts), max(kept), *features)
    for row, part, length in zip(array, parts, kept, strict=True):
        np.testing.assert_array_equal(row[:length], part[:length] if from_end else part[len(part) - length :])
        assert (row[length:] == -1).all()


def test_dtypes():
    assert pad_sequences([[1], [2.5]])[0].tolist() == [[1, 2.5]]
    assert pad_sequences([[1], [2]], dtype=np.float32)[0].dtype == np.float32
    np.testing.assert_array_equal(pad_sequences(np.ones((2, 3)))[0], np.ones((3, 2)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Tokenizer("line"), ValueError, "level must be one of word, char, got 'line'"),
        (lambda: Tokenizer(max_tokens=1), ValueError, "max_tokens must be at least 2, for padding and"),
        (lambda: Tokenizer(max_tokens="5"), TypeError, "max_tokens must be an integer, got '5'"),
        (lambda: Tokenizer(lower=1), TypeError, "lower must be True or False, got 1"),
        (lambda: Tokenizer().fit([b"a"]), TypeError, "texts must be str, got b'a'"),
        (lambda: Tokenizer().encode([3]), TypeError, "texts must be str, got 3"),
        (lambda: Tokenizer().decode([0.5]), TypeError, "ids must be integers, got dtype float64"),
        (lambda: Tokenizer().decode([2]), ValueError, "ids must lie between 0 and 1, got 2 to 2"),
        (lambda: Tokenizer().decode([[-1, 0]]), ValueError, "ids must lie between 0 and 1, got -1 to 0"),
        (lambda: pad_sequences(3), TypeError, "sequences must be a sequence of arrays, got int"),
        (lambda: pad_sequences([]), ValueError, "sequences must hold one sequence at least, got none"),
        (lambda: pad_sequences([1, 2]), ValueError, r"sequences\[0\] must be a sequence"),
        (lambda: pad_sequences([[1]], max_length=0), ValueError, "max_length must be at least 1, got 0"),
        (lambda: pad_sequences([[1]], truncate="pre"), ValueError, "truncate must be one of end, start, got"),
        (lambda: pad_sequences([[1]], padding_value="x"), TypeError, "padding_value must be a number, got"),
        (lambda: pad_sequences([[1]], batch_first=1), TypeError, "batch_first must be True or False"),
        (lambda: pad_sequences([[[1]], [[1, 2]]]), ValueError, r"sequences\[1\] must have features as"),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_json_is_readable():
    told = json.loads(Tokenizer("char", 9).fit("ü").to_json())
    assert told == {"level": "char", "max_tokens": 9, "lower": False, "tokens": ["ü"]}
    assert "ü" in Tokenizer().fit("ü").to_json()


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "3", "{}", "[" * 100_000, None),
        *('{"tokens": "ab"}', '{"tokens": [1]}', '{"tokens": ["a", "a"]}'),
        *('{"tokens": [], "level": "line"}', '{"tokens": [], "size": 3}'),
    ],
)
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="text must be the JSON of a tokenizer"):
        Tokenizer.from_json(text)
