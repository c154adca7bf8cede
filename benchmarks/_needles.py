"""Needles: what was said once, and how it is asked for later, in other words; in a haystack of everyday remarks."""

from __future__ import annotations

import random

NEEDLES = (
    ("My sister moved to Lisbon last spring.", "Where does my sibling live now?"),
    ("I can't eat peanuts, my throat swells up.", "Which food am I allergic to?"),
    ("We adopted a beagle called Biscuit.", "What is the name of my dog?"),
    ("The dentist wants to pull two molars in May.", "When are my teeth being taken out?"),
    ("I quit my job at the bank to bake bread.", "What do I do for a living these days?"),
    ("Granddad served in the navy as a cook.", "What was my grandfather's role in the military?"),
    ("I sleep badly since the baby was born.", "Why am I tired at night?"),
    ("Our car broke down on the way to Vienna.", "Where did we have trouble with the vehicle?"),
    ("The landlord raised the rent by ninety euros.", "How much more does the flat cost?"),
    ("I failed my driving test because of the roundabout.", "Why did I not get my licence?"),
    ("Mum's hip was replaced in the summer.", "Which surgery did my mother have?"),
    ("I learnt to play the cello as a child.", "Which musical instrument do I know?"),
    ("The pills make me dizzy in the morning.", "What side effect does my medicine have?"),
    ("We're getting married on the tenth of June.", "What is the date of our wedding?"),
    ("My brother collects old typewriters.", "What hobby does my sibling have with machines?"),
    ("The roof leaks whenever it pours.", "What happens to the house in heavy rain?"),
    ("I'm scared of flying, so we took the train.", "Why didn't I go by plane?"),
    ("Our daughter came first in the chess tournament.", "What did my child win?"),
    ("I gave up cigarettes eleven years ago.", "How long is it since I stopped smoking?"),
    ("The neighbours complain about our rooster.", "Which animal annoys the people next door?"),
    ("I earn a little extra by translating novels.", "What is my side income?"),
    ("My passport runs out in October.", "When does my travel document expire?"),
    ("He broke his wrist falling off a ladder.", "How did he injure his arm?"),
    ("We painted the nursery yellow.", "What colour is the baby's room?"),
)

_WHO = (
    "My colleague",
    "The postman",
    "Our teacher",
    "A friend of mine",
    "The baker",
    "Her cousin",
    "The girl upstairs",
)
_DID = ("bought", "lost", "found", "talked about", "repaired", "borrowed", "forgot", "asked for", "sold", "dreamt of")
_WHAT = (
    *("a red umbrella", "the garden gate", "two concert tickets", "an old bicycle", "a book on beetles"),
    *("the wrong parcel", "a pair of gloves", "the school bell", "some cheese", "a map of the harbour", "my ladder"),
)
_WHEN = ("yesterday", "on Sunday", "at lunch", "before the storm", "in the tram", "again", "last week", "for no reason")


def haystack(count: int) -> list[str]:
    """Everyday remarks, the same at each call."""
    chance = random.Random(11)
    return [" ".join(map(chance.choice, (_WHO, _DID, _WHAT, _WHEN))) + "." for _ in range(count)]
