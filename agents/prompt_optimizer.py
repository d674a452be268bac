"""Makes prompts shorter and says what they lack; of several variants it learns which one does best.

kos agent register agents.prompt_optimizer:PromptOptimizer --name prompt_optimizer --code .
kos agent call prompt_optimizer analyse 'Please could you maybe write something about cats?'
"""

import math
import re
from typing import Any

import kos_ray as kos

_FILLERS = ("please", "could you", "would you", "kindly", "maybe", "perhaps", "basically", "actually", "just", "really")
_VAGUE = ("something", "stuff", "things", "etc", "somehow", "some kind of", "good", "nice", "interesting")
_FORMATS = ("json", "list", "table", "markdown", "sentence", "paragraph", "words", "bullet", "yaml", "csv")
_LONG = 300


def _found(words: tuple[str, ...], text: str) -> list[str]:
    return [word for word in words if re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE)]


@kos.agent(
    name="prompt_optimizer",
    resources={"cpu": 0.1},
    snapshot_every=1,
    capabilities=("prompt_analysis", "optimization"),
    tags=("llm", "nlp"),
)
class PromptOptimizer:
    """Looks at texts by rule; keeps variants by name, with how often each was tried and what it brought."""

    def __init__(self) -> None:
        #: by name, by variant: tries, and the sum of what they brought
        self._tried: dict[str, dict[str, list[float]]] = {}

    def analyse(self, prompt: str) -> dict[str, Any]:
        """What could be better about a prompt, and a score from 0 to 100."""
        words = prompt.split()
        advice: list[str] = []
        fillers, vague = _found(_FILLERS, prompt), _found(_VAGUE, prompt)
        if fillers:
            advice.append(f"leave out {', '.join(fillers)}")
        if vague:
            advice.append(f"say exactly what is meant by {', '.join(vague)}")
        if not _found(_FORMATS, prompt):
            advice.append("say in what form the answer is wanted, and how long")
        if not re.search(r"example|e\.g\.|for instance|```", prompt, re.IGNORECASE):
            advice.append("give an example of what is wanted")
        if len(words) > _LONG:
            advice.append(f"split it: {len(words)} words are many")
        score = max(0, 100 - 15 * len(advice) - 3 * max(0, len(fillers) + len(vague) - 2))
        return {"words": len(words), "score": score, "advice": advice, "shorter": self.tighten(prompt)}

    def tighten(self, prompt: str) -> str:
        """The prompt without words that say nothing, and without sentences that stand there twice."""
        pattern = "|".join(rf"\b{re.escape(word)}\b,?\s*" for word in _FILLERS)
        seen: dict[str, str] = {}
        for sentence in re.split(r"(?<=[.!?])\s+", prompt.strip()):
            plain = re.sub(r"\s+", " ", re.sub(pattern, "", sentence, flags=re.IGNORECASE)).strip()
            if plain:
                seen.setdefault(plain.lower(), plain[0].upper() + plain[1:])
        return " ".join(seen.values())

    def add(self, name: str, variant: str) -> int:
        """Take up a variant of the prompt of this name; how many there are."""
        variants = self._tried.setdefault(name, {})
        variants.setdefault(variant, [0.0, 0.0])
        return len(variants)

    def choose(self, name: str) -> str:
        """The variant to use next: each once, then by UCB1 (Auer and others, 2002)."""
        variants = self._variants(name)
        all_tries = sum(tries for tries, _ in variants.values())

        def promise(variant: str) -> float:
            tries, sum_ = variants[variant]
            return sum_ / tries + math.sqrt(2 * math.log(all_tries) / tries) if tries else math.inf

        return max(variants, key=promise)

    def reward(self, name: str, variant: str, value: float) -> None:
        """Say what a variant has brought, from 0 to 1."""
        if not 0 <= value <= 1:
            raise ValueError(f"expected a value from 0 to 1, found {value!r}")
        found = self._variants(name).get(variant)
        if found is None:
            raise ValueError(f"there is no such variant of {name!r}")
        found[0] += 1
        found[1] += value

    def best(self, name: str) -> dict[str, Any]:
        """The variant that has brought the most on average, and how often it was tried."""
        variants = self._variants(name)
        variant = max(variants, key=lambda one: variants[one][1] / variants[one][0] if variants[one][0] else 0.0)
        tries, sum_ = variants[variant]
        return {"variant": variant, "tries": int(tries), "mean": sum_ / tries if tries else None}

    def _variants(self, name: str) -> dict[str, list[float]]:
        if not self._tried.get(name):
            raise ValueError(f"there are no variants of {name!r}: add some first")
        return self._tried[name]
