"""Says in a few of its own sentences what a text says, and with which words; by counting, without a model.

kos agent register agents.text_summariser:TextSummariser --code .
kos agent call --role summariser summarise 'a long text' sentences=2

The sentences are ranked by LexRank (Erkan and Radev, 2004): a sentence counts for much when many that count for much
are like it. Words are ranked by TextRank (Mihalcea and Tarau, 2004): a word, when it stands near such words.
"""

import math
import re
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import kos_ray as kos

#: longer texts are refused: comparing sentences takes time with the square of their number
SENTENCES_MAX = 3_000
#: of what a sentence is worth, the share that comes of those which are like it
_DAMPING = 0.85
_ROUNDS = 50
_ENOUGH = 1e-6
#: a sentence that is so like one that was chosen already says nothing new
_ALIKE = 0.6
#: words so near to each other belong together
_WINDOW = 3
_SHORT = 3
_ABBREVIATIONS = ("mr", "mrs", "ms", "dr", "prof", "st", "no", "vs", "fig", "al", "e.g", "i.e", "z.b", "d.h", "bzw")
_STOP_WORDS = """
a about above after again all also am an and any are as at be because been before being below between both but by can
could did do does doing down during each few for from further had has have having he her here hers him his how i if in
into is it its itself just me more most my no nor not now of off on once one only or other our out over own same she
should so some such than that the their them then there these they this those through to too two under until up us very
was we were what when where which while who whom why will with would you your
aber alle als also an auch auf aus bei bin bis da damit dann das dass dem den der des die dies diese dieser doch durch
ein eine einem einen einer eines er es für hat hatte ich ihr im in ist ja kann kein keine man mehr mit nach nicht noch
nur oder ohne sein sich sie sind so um und uns unter vom von vor war waren was wenn werden wie wir wird wo zu zum zur
über"""
_STOP = frozenset(_STOP_WORDS.split())
#: signs behind which a sentence may go on to its end, and before which it may begin
_CLOSING, _OPENING = "\"')\\]\u2019\u201d", "\"'(\\[\u2018\u201c"
_END = re.compile(rf"([.!?\u2026][{_CLOSING}]*)\s+(?=[{_OPENING}]*[^\W_])")


def sentences_of(text: str) -> list[str]:
    """The sentences of a text; a blank line ends one as well."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        parts = _END.sub(r"\1\n", " ".join(paragraph.split())).split("\n")
        begun = ""
        for part in parts:
            begun = f"{begun} {part}".strip()
            last = begun.rsplit(" ", 1)[-1].rstrip(".").lower().lstrip("(\"'")
            initial = len(last) == 1 and last.isalpha() and begun.endswith(".")
            if begun.endswith(".") and (last in _ABBREVIATIONS or initial):
                continue
            found.append(begun)
            begun = ""
        if begun:
            found.append(begun)
    return [one for one in found if one]


def words_of(text: str) -> list[str]:
    """Its words in small letters, without those that stand in every text."""
    return [word for word in re.findall(r"[^\W\d_][\w'-]*", text.lower()) if word not in _STOP and len(word) > 1]


def ranked(weights: list[dict[int, float]]) -> list[float]:
    """What each of several is worth by those that point at it, with weights: PageRank by powers. They sum up to 1."""
    count = len(weights)
    sums = [sum(row.values()) for row in weights]
    rank = [1 / count] * count if count else []
    for _ in range(_ROUNDS):
        lost = sum(rank[at] for at in range(count) if not sums[at]) / count if count else 0.0
        found = [(1 - _DAMPING) / count + _DAMPING * lost] * count if count else []
        for at, row in enumerate(weights):
            for other, weight in row.items():
                found[other] += _DAMPING * rank[at] * weight / sums[at]
        moved = sum(abs(new - old) for new, old in zip(found, rank, strict=True))
        rank = found
        if moved < _ENOUGH:
            break
    return rank


def alike(sentences: list[list[str]]) -> list[dict[int, float]]:
    """For each sentence, how like it each other one is, from 0 to 1: the cosine of what their rare words weigh."""
    count = len(sentences)
    within = Counter(word for words in sentences for word in set(words))
    vectors: list[dict[str, float]] = []
    holding: dict[str, list[int]] = defaultdict(list)
    for at, words in enumerate(sentences):
        vector = {word: times * (math.log(count / within[word]) + 1) for word, times in Counter(words).items()}
        length = math.sqrt(sum(value * value for value in vector.values())) or 1.0
        vectors.append({word: value / length for word, value in vector.items()})
        for word in vector:
            holding[word].append(at)
    found: list[dict[int, float]] = [defaultdict(float) for _ in sentences]
    for word, places in holding.items():
        for at in places:
            for other in places:
                if other != at:
                    found[at][other] += vectors[at][word] * vectors[other][word]
    return [dict(row) for row in found]


@kos.agent(
    name="text_summariser", resources={"cpu": 0.5}, capabilities=("summaries",), roles=("summariser",), tags=("nlp",)
)
class TextSummariser:
    """Keeps nothing: every message stands for itself."""

    def summarise(self, text: str, sentences: int = 3) -> str:
        """The sentences that say most of a text, in their order; all of it where it has no more."""
        return " ".join(one["text"] for one in self.ranking(text, sentences))

    def ranking(self, text: str, sentences: int = 3) -> list[dict[str, Any]]:
        """The same with `place` (from 1) and `weight` of each: of the whole text they sum up to 1."""
        if sentences < 1:
            raise ValueError(f"sentences: expected at least 1, found {sentences!r}")
        parts = sentences_of(text)
        if not parts:
            raise ValueError("text: expected at least one sentence, found none")
        if len(parts) > SENTENCES_MAX:
            raise ValueError(
                f"text: expected at most {SENTENCES_MAX} sentences, found {len(parts)}: hand in its chapters"
            )
        similar = alike([words_of(part) for part in parts])
        weights = ranked(similar)
        order = sorted(range(len(parts)), key=lambda at: (-round(weights[at], 9), at))
        chosen: list[int] = []
        passed: list[int] = []
        for at in order:
            known = any(similar[at].get(other, 0.0) >= _ALIKE for other in chosen)
            (passed if known else chosen).append(at)
            if len(chosen) == sentences:
                break
        kept = sorted((chosen + passed)[:sentences] if len(chosen) < sentences else chosen)
        return [{"place": at + 1, "weight": round(weights[at], 6), "text": parts[at]} for at in kept]

    def keywords(self, text: str, most: int = 10) -> list[str]:
        """The words and the pairs of words that a text is about, the weightiest first."""
        if most < 1:
            raise ValueError(f"most: expected at least 1, found {most!r}")
        lines = [words_of(part) for part in sentences_of(text)]
        names = sorted({word for line in lines for word in line if len(word) >= _SHORT})
        number = {word: at for at, word in enumerate(names)}
        near: list[dict[int, float]] = [defaultdict(float) for _ in names]
        pairs: Counter[tuple[str, str]] = Counter()
        for line in lines:
            kept = [word for word in line if word in number]
            pairs.update(pairwise(kept))
            for at, word in enumerate(kept):
                for other in kept[at + 1 : at + _WINDOW]:
                    if other != word:
                        near[number[word]][number[other]] += 1
                        near[number[other]][number[word]] += 1
        rank = ranked(near)
        worth = {word: rank[at] for word, at in number.items()}
        # a pair that stands there more than once says more than its words do
        worth |= {f"{a} {b}": worth[a] + worth[b] for (a, b), times in pairs.items() if times > 1 and a != b}
        found: list[str] = []
        for word in sorted(worth, key=lambda one: (-round(worth[one], 9), one)):
            if not any(word in other.split() for other in found):
                found.append(word)
            if len(found) == most:
                break
        return found
