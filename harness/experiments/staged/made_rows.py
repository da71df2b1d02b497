"""Demonstrations and problems for a real model, made by code: a skill half known, an unknown and a known one.

- `fields`: a sentence to `name | age | job | city`. The content is known, the form is new.
- `cipher`: letters to other letters, by an invented table. The content is new.
- `first_letter`: a question in the words in which SmolLM2 itself answers it. Content and form are known.

A wrong demonstration has one value of its answer replaced by another of the same kind, drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from string import ascii_uppercase

Row = dict[str, str]
"""`prompt` and `completion`."""
Problem = tuple[str, dict[str, str]]
"""A prompt, and what its answer says, by kind."""
TEST, DEVELOPMENT = 120, 60
"""Problems that are scored, whose answers are all right."""

FIRST = (
    "Aaron", "Ada", "Amir", "Anna", "Boris", "Carla", "Chen", "Clara", "Daniel", "Diego", "Elena", "Emma",
    "Erik", "Farah", "Felix", "Grace", "Hannah", "Hugo", "Ines", "Ivan", "Jack", "Jana", "Karim", "Kate",
    "Laura", "Leo", "Lucia", "Marco", "Maria", "Martin", "Mei", "Mila", "Nadia", "Nina", "Noah", "Olga",
    "Omar", "Oscar", "Paul", "Petra", "Priya", "Ravi", "Rosa", "Ruth", "Samuel", "Sara", "Simon", "Sofia",
    "Tariq", "Tom", "Vera", "Viktor", "Yara", "Yusuf", "Zoe",
)  # fmt: skip
LAST = (
    "Adams", "Ahmed", "Baker", "Bauer", "Brown", "Castro", "Clark", "Costa", "Cruz", "Davis", "Diaz", "Evans",
    "Fischer", "Garcia", "Gomez", "Gray", "Green", "Hall", "Hill", "Hoffman", "Ito", "Jensen", "Kelly",
    "Khan", "Kim", "King", "Klein", "Kumar", "Lee", "Lewis", "Lopez", "Martin", "Meyer", "Moore", "Morris",
    "Nelson", "Novak", "Olsen", "Park", "Patel", "Perez", "Reed", "Rossi", "Santos", "Sato", "Scott", "Silva",
    "Singh", "Smith", "Stone", "Tanaka", "Torres", "Walker", "Weber", "White", "Wilson", "Wong", "Young",
)  # fmt: skip
NAMES = tuple(f"{first} {last}" for first in FIRST for last in LAST)
JOBS = (
    "baker", "barber", "builder", "butcher", "carpenter", "chef", "clerk", "coach", "cook", "dancer",
    "dentist", "designer", "doctor", "driver", "farmer", "fisherman", "gardener", "guard", "judge", "lawyer",
    "librarian", "mechanic", "miner", "musician", "nurse", "painter", "pharmacist", "photographer", "pilot",
    "plumber", "poet", "potter", "professor", "programmer", "reporter", "sailor", "scientist", "singer",
    "soldier", "surgeon", "tailor", "teacher", "translator", "waiter", "weaver", "welder", "writer",
)  # fmt: skip
CITIES = (
    "Athens", "Austin", "Bangkok", "Berlin", "Boston", "Brussels", "Cairo", "Chicago", "Copenhagen", "Dallas",
    "Delhi", "Denver", "Dublin", "Geneva", "Hamburg", "Helsinki", "Houston", "Istanbul", "Jakarta", "Kyoto",
    "Lagos", "Lima", "Lisbon", "London", "Lyon", "Madrid", "Manila", "Melbourne", "Miami", "Milan",
    "Montreal", "Moscow", "Mumbai", "Munich", "Nairobi", "Naples", "Osaka", "Oslo", "Paris", "Prague", "Rome",
    "Santiago", "Seattle", "Seoul", "Shanghai", "Singapore", "Stockholm", "Sydney", "Tokyo", "Toronto",
    "Tunis", "Vienna", "Warsaw", "Zurich",
)  # fmt: skip
SENTENCES = (
    "{name}, {age}, works as a {job} in {city}.",
    "{name} is a {age}-year-old {job} from {city}.",
    "In {city} lives {name}, a {job} of {age} years.",
    "At the age of {age}, {name} became a {job} in {city}.",
    "The {job} {name} is {age} years old and lives in {city}.",
    "{name} moved to {city} at {age} to work as a {job}.",
    "Meet {name}: {age} years old, {job}, living in {city}.",
    "A {job} in {city}, {name} has just turned {age}.",
    "Our new {job} is {name}, who is {age} and comes from {city}.",
    "{city} is home to {name}, who is {age} and earns a living as a {job}.",
)
_NOUNS = (
    "anchor animal ankle apple apron arm army arrow attic avenue axe bag ball banana bank barn basket bath "
    "beach bean bear bed bee bell bench berry bicycle bird blanket boat bone book boot bottle bowl box "
    "branch bread brick bridge brush bucket bus butter button cabin cake camel camera candle canoe carpet "
    "carrot castle cat cave ceiling chain chair cheese cherry chicken church circle clock cloud coat coffee "
    "coin comb corn cotton cow crab crown cup curtain dagger daisy dance deer desert desk diamond dish dog "
    "doll dolphin donkey door dragon drawer dress drum duck dust eagle ear earth egg elbow elephant engine "
    "envelope evening eye face factory family fan farm feather fence ferry field finger fire fish flag "
    "flame floor flower flute fog forest fork fox frog fruit garage garden garlic gate ghost giraffe glass "
    "glove goat gold goose grape grass guitar hammer hand harbor harp hat hawk head heart helmet hen hill "
    "honey hook horse hospital hotel house ice igloo insect iron island ivory jacket jail jam jar jelly "
    "jewel jungle juice kettle key king kitchen kite kitten knee knife knot ladder lake lamp leaf lemon "
    "leopard letter lighthouse lion lizard lobster lock machine magnet map market mask meadow medal melon "
    "milk mirror money monkey moon morning mountain mouse museum mushroom nail napkin neck needle nest net "
    "night nose notebook nut oak ocean octopus office olive onion orange orchard oven owl ox paddle palace "
    "pan paper parrot pearl pen pencil pepper piano picture pig pillow planet plate plum pocket pond potato "
    "pumpkin puppet quarter queen quilt rabbit radio rain raven ribbon rice ring river road robot rocket "
    "roof room root rope rose saddle salt sand scarf school scissors seed shadow shark sheep shelf shell "
    "ship shirt shoe shovel silver sister skirt sky snail snake snow soap sock sofa soup spider spoon "
    "spring squirrel star station stone storm stove street sugar summer sun swan sword table tail tea tent "
    "thumb ticket tiger toast tomato tooth towel tower town train tree triangle truck trumpet tunnel turtle "
    "umbrella uncle uniform unicorn valley van vase vegetable vest village vinegar violin volcano wagon "
    "wall walnut wasp watch water wave weapon whale wheat wheel whistle window wine wing winter wolf wood "
    "worm yacht yard yarn year yogurt zebra zipper zoo "
)
NOUNS = tuple(_NOUNS.split())
AGES = tuple(str(age) for age in range(18, 80))
CIPHER, LENGTH = dict(zip("abcdefgh", "KTRMXBWH", strict=True)), 4
"""Letter to letter, and the letters of a word."""


@dataclass(frozen=True, kw_only=True)
class Skill:
    """A kind of problem."""

    draw: Callable[[Random], Problem]
    """Makes a problem."""
    answer: str
    """The completion, with the kinds in braces."""
    others: Mapping[str, Sequence[str]]
    """What a wrong answer may say instead, of every kind that may be wrong."""


@dataclass(frozen=True, kw_only=True)
class MadeCell:
    """A skill with a set of demonstrations."""

    name: str
    """Identifies the cell; in `SKILLS` too."""
    rows: int
    """Number of demonstrations."""
    wrong: float
    """Share of them that are wrong."""
    learning_rate: float
    """Of every arm."""


def _fields(rng: Random) -> Problem:
    values = {kind: rng.choice(of_kind) for kind, of_kind in PERSON.items()}
    return rng.choice(SENTENCES).format(**values), values


def _cipher(rng: Random) -> Problem:
    letters = rng.choices(list(CIPHER), k=LENGTH)
    return " ".join(letters), {"code": " ".join(CIPHER[letter] for letter in letters)}


def _first_letter(rng: Random) -> Problem:
    word = rng.choice((*NOUNS, *JOBS, *CITIES))
    prompt = f'What is the first letter of the word "{word}"?'
    return prompt, {"word": word, "letter": word[0].upper()}


PERSON: Mapping[str, Sequence[str]] = {"name": NAMES, "age": AGES, "job": JOBS, "city": CITIES}
SKILLS = {
    "fields": Skill(draw=_fields, answer="{name} | {age} | {job} | {city}", others=PERSON),
    "cipher": Skill(draw=_cipher, answer="{code}", others={}),
    "first_letter": Skill(
        draw=_first_letter,
        answer='The first letter of the word "{word}" is "{letter}".',
        others={"letter": ascii_uppercase},
    ),
}
CELLS = (
    MadeCell(name="fields", rows=240, wrong=0.4, learning_rate=1e-4),
    MadeCell(name="cipher", rows=240, wrong=0.0, learning_rate=3e-4),
    MadeCell(name="first_letter", rows=240, wrong=0.4, learning_rate=1e-4),
)
"""The rate of the cipher is one at which an epoch of so few rows teaches NLL most of it."""


def made(cell: MadeCell) -> dict[str, list[Row]]:
    """The rows of a cell by part, "test", "development" and "train"; the same on every call.

    No prompt occurs twice, in whatever part; what is scored does not depend on the demonstrations.
    """
    skill, rng, seen = SKILLS[cell.name], Random(cell.name), set[str]()
    drawn = {
        part: [_draw(skill, rng, seen) for _ in range(rows)]
        for part, rows in (("test", TEST), ("development", DEVELOPMENT), ("train", cell.rows))
    }
    for row in rng.sample(range(cell.rows), round(cell.wrong * cell.rows)):
        prompt, values = drawn["train"][row]
        drawn["train"][row] = prompt, _spoilt(skill, rng, values)
    return {
        part: [
            {"prompt": prompt, "completion": skill.answer.format(**values)}
            for prompt, values in problems
        ]
        for part, problems in drawn.items()
    }


def _draw(skill: Skill, rng: Random, seen: set[str]) -> Problem:
    """A problem whose prompt is not among those seen, to which it is added."""
    problem = skill.draw(rng)
    while problem[0] in seen:
        problem = skill.draw(rng)
    seen.add(problem[0])
    return problem


def _spoilt(skill: Skill, rng: Random, values: dict[str, str]) -> dict[str, str]:
    """With another value of one kind."""
    kind = rng.choice(list(skill.others))
    return {**values, kind: rng.choice([v for v in skill.others[kind] if v != values[kind]])}
