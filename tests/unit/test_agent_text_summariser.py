"""The summariser: which sentences and words it takes."""

import pytest

from agents.text_summariser import SENTENCES_MAX, TextSummariser, ranked, sentences_of

TEXT = """
The port of Rotterdam handled more containers in March than ever before. Dr. Visser of the port authority said that the
new container terminal was the reason. My lunch was a sandwich. The new terminal handles containers with automatic
cranes. Automatic cranes unload a container ship at the terminal in half the time, the port authority says.

It rained on Tuesday. The terminal of the port handles containers day and night.
"""


def test_sentences_end_where_they_end() -> None:
    assert sentences_of('He met Dr. Smith. "Why?" he asked. See fig. 3 for 2.5 km, e.g. here! So J. Doe left.') == [
        "He met Dr. Smith.",
        '"Why?"',
        "he asked.",
        "See fig. 3 for 2.5 km, e.g. here!",
        "So J. Doe left.",
    ]
    assert sentences_of("A title\n\nA text.") == ["A title", "A text."]
    assert sentences_of(" \n\n ") == []


def test_a_summary_has_what_most_sentences_speak_of_in_their_order() -> None:
    summariser = TextSummariser()
    found = summariser.ranking(TEXT, 3)
    said = " ".join(one["text"] for one in found)
    assert [one["place"] for one in found] == sorted(one["place"] for one in found)
    assert said == summariser.summarise(TEXT, 3)
    assert "terminal" in said
    assert "sandwich" not in said
    assert "rained" not in said


def test_what_is_said_twice_is_taken_once() -> None:
    text = "Cats sleep all day long. Cats sleep all day long! Cats hunt mice at night. Dogs bark."
    assert TextSummariser().summarise(text, 2) == "Cats sleep all day long. Cats hunt mice at night."
    assert TextSummariser().summarise(text, 9) == text


def test_keywords_are_what_it_is_about() -> None:
    found = TextSummariser().keywords(TEXT, 5)
    assert len(found) == 5
    assert {"terminal", "port authority"} & set(found[:3])
    assert "the" not in found
    assert "sandwich" not in found
    assert TextSummariser().keywords("") == []


def test_ranks_sum_up_to_one_and_who_is_pointed_at_counts_most() -> None:
    ranks = ranked([{1: 1.0}, {}, {1: 2.0}])
    assert sum(ranks) == pytest.approx(1)
    assert max(ranks) == ranks[1]
    assert ranks[0] == pytest.approx(ranks[2])
    assert ranked([]) == []


def test_what_cannot_be_summarised_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sentence"):
        TextSummariser().summarise(" ")
    with pytest.raises(ValueError, match="at least 1, found 0"):
        TextSummariser().summarise("A.", 0)
    with pytest.raises(ValueError, match="chapters"):
        TextSummariser().summarise("It is so. " * (SENTENCES_MAX + 1))
