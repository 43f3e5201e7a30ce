"""Sentences for speech synthesis, composed from the templates and word lists of data/*.yaml; always the same ones.

`compose_prompts` gives telephone prompts in seven languages. `compose` gives the sentences of one split of a miniature
corpus: the hash of a sentence decides which split may have it, whatever the corpus's size. So no sentence of valid or
test is in train, and none is in pre-training.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from summarymixing_fairseq.corpora.writing.splits import stable_fraction
from summarymixing_fairseq.system.errors import InputError

# Ranges of the hash: a split has the sentences from the bound of the split before it up to its own.
SPLITS = {"test": 0.12, "test_other": 0.24, "valid": 0.34, "train": 0.72, "pretrain": 1.0}
# A grammar counts as used up after this many draws without a new sentence.
_MOST_DRAWS_IN_VAIN = 3000

Choice = TypeVar("Choice")
Slots = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Grammar:
    """Templates, and the choices of their slots. `test_templates` are for the test split alone."""

    templates: Sequence[str]
    slots: Slots
    test_templates: Sequence[str] = ()


def load(name: str) -> Any:
    """Content of data/NAME.yaml."""
    return yaml.safe_load((Path(__file__).parent / "data" / f"{name}.yaml").read_text(encoding="utf-8"))


def _split_choices(slots: Mapping[str, str]) -> Slots:
    """`{"digit": "one | two"}` -> `{"digit": ["one", "two"]}`."""
    return {name: [choice.strip() for choice in choices.split("|")] for name, choices in slots.items()}


def _grammar(entry: Mapping[str, Any], shared_slots: Mapping[str, str]) -> Grammar:
    slots = _split_choices({**shared_slots, **entry.get("slots", {})})
    return Grammar(entry["templates"], slots, entry.get("test_templates", ()))


# Telephone prompts: of each language its templates, each with slots of its own.
PROMPTS: dict[str, dict[str, Slots]] = {
    language: {template: _split_choices(slots) for template, slots in templates.items()}
    for language, templates in load("prompts").items()
}
# stories, talk and statements in English; cy and eu: daily life in Welsh and Basque.
GRAMMARS = {name: _grammar(entry, {}) for name, entry in load("mini").items()}
_COMMANDS = load("commands")
# Commands to a home assistant, by scenario.
SCENARIOS = {name: _grammar(entry, _COMMANDS["slots"]) for name, entry in _COMMANDS["scenarios"].items()}


def compose_prompts(language: str, count: int) -> list[str]:
    """The first `count` telephone prompts of a language, from each of its templates in turn.

    Raises:
        InputError: for an unknown language, or more prompts than it has.
    """
    if language not in PROMPTS:
        raise InputError(f"no prompts in language '{language}': there are {', '.join(PROMPTS)}")
    columns = [sorted(_all_of(template, slots), key=stable_fraction) for template, slots in PROMPTS[language].items()]
    turns = itertools.zip_longest(*columns)
    prompts = list(dict.fromkeys(prompt for turn in turns for prompt in turn if prompt is not None))
    if count > len(prompts):
        raise InputError(f"only {len(prompts)} prompts can be composed in '{language}', not {count}")
    return prompts[:count]


def compose(grammar: Grammar, split: str, count: int) -> list[str]:
    """The first `count` sentences of a split, all different, from each template in turn.

    Raises:
        InputError: for more sentences than the grammar has.
    """
    sentences: dict[str, None] = {}
    last_new = -1
    for number, (sentence, is_allowed) in enumerate(_draws(grammar, split)):
        if is_allowed and sentence not in sentences:
            sentences[sentence] = None
            last_new = number
        if len(sentences) == count:
            break
        if number - last_new > _MOST_DRAWS_IN_VAIN:
            raise InputError(
                f"only {len(sentences)} sentences for {split} can be composed like "
                f"{grammar.templates[0]!r}, not {count}: give a smaller --scale"
            )
    return list(sentences)


def split_of(sentence: str) -> str:
    """The split that may have a sentence."""
    fraction = stable_fraction(sentence)
    return next(split for split, end in SPLITS.items() if fraction < end)


def pick(key: str, choices: Sequence[Choice]) -> Choice:
    """One of `choices`, chosen by the hash of `key`."""
    return choices[int(stable_fraction(key) * len(choices))]


def rich_first(sentences: Sequence[str]) -> list[str]:
    """`sentences` with those in front that bring a new letter, then those that bring a new word.

    So any number of them, taken from the start, has most letters and words of the grammar.
    """
    return _new_first(_new_first(sentences, str.split), str)


def _new_first(sentences: Sequence[str], units_of: Callable[[str], Iterable[str]]) -> list[str]:
    seen: set[str] = set()
    first: list[str] = []
    rest: list[str] = []
    for sentence in sentences:
        new = set(units_of(sentence.lower())) - seen
        (first if new else rest).append(sentence)
        seen |= new
    return first + rest


def _draws(grammar: Grammar, split: str) -> Iterator[tuple[str, bool]]:
    """Sentences without end, each with whether the split may have it."""
    test_templates = grammar.test_templates if split == "test" else ()
    for number in itertools.count():
        for template in (*grammar.templates, *test_templates):
            chosen = {name: pick(f"{template} {number} {name}", grammar.slots[name]) for name in _slots_in(template)}
            sentence = template.format(**chosen)
            yield sentence, template in test_templates or split_of(sentence) == split


def _all_of(template: str, slots: Slots) -> list[str]:
    names = _slots_in(template)
    return [template.format(**dict(zip(names, choice))) for choice in itertools.product(*(slots[n] for n in names))]


def _slots_in(template: str) -> list[str]:
    return list(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(template) if name))
