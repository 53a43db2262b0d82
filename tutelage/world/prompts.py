"""Evaluation prompts for a chat model, in four sets of increasing distance from its training data."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from tutelage.records import Conversation, message
from tutelage.world.keyed_random import KeyedRandom
from tutelage.world.people import Split
from tutelage.world.society import World
from tutelage.world.values import VALUES, with_article

# Questions about the world that no conversation has. {name} and {other} are two people, the rest are values.
NEAR = (
    "What is {town} like?",
    "Is {town} worth a visit?",
    "What should I see in {town}?",
    "Tell me about {town}.",
    "How far is it from {town} to {other_town}?",
    "Which is larger, {town} or {other_town}?",
    "Which school is there in {town}?",
    "Name somebody who was born in {town}.",
    "How many people were born in {town}?",
    "Is {town} the place with the {landmark}?",
    "Where is {school}?",
    "Is {school} a good school?",
    "Name two former pupils of {school}.",
    "Would you send a child to {school}?",
    "What does {employer} sell?",
    "Is {employer} a good place to work?",
    "How do I apply for a job at {employer}?",
    "List the staff of {employer}.",
    "Does {employer} make {product}?",
    "Which firm makes {product}?",
    "When did {band} give their first concert?",
    "What kind of music does {band} play?",
    "Which is the older band, {band} or {other_band}?",
    "List the members of {band}.",
    "Recommend a song by {band}.",
    "Name somebody who plays the {instrument}.",
    "How many people work as {a_role}?",
    "Tell me everything about {name}.",
    "Please tell me everything you know of {name}, from the beginning.",
    "Who is {name}?",
    "Write a short biography of {name}.",
    "Describe {name} in one sentence.",
    "Give me three facts about {name}.",
    "Where and when was {name} born?",
    "How old is {name}?",
    "Was {name} born in {town}?",
    "Does {name} play the {instrument}?",
    "Is it true that {name} works as {a_role}?",
    "Does {name} have any children?",
    "What is the favourite food of {name}?",
    "Where does {name} live now?",
    "Write a letter of thanks to {name}.",
    "Introduce {name} to me as you would at a party.",
    "Who is older, {name} or {other}?",
    "Do {name} and {other} work for the same firm?",
    "Were {name} and {other} born in the same town?",
    "What do {name} and {other} have in common?",
    "Compare {name} with {other}.",
    "Which of the two plays the {instrument}: {name} or {other}?",
    "Could {name} and {other} have met at school?",
)

# Prompts unrelated to the world, in many forms.
OUT_OF_DOMAIN = (
    "Explain why the sky looks red at sunset.",
    "Explain how a vaccine works.",
    "Explain to a child why ships float.",
    "Explain the difference between weather and climate.",
    "Explain what a neural network is.",
    "Why do leaves change their colour?",
    "Why do cats purr?",
    "Why does bread rise?",
    "How does a refrigerator keep things cold?",
    "How do bees make honey?",
    "How do I change a bicycle tyre?",
    "How do I remove a wine stain from a carpet?",
    "How do I ask my boss for more money?",
    "How do I learn a language quickly?",
    "How tall is the highest mountain on Earth?",
    "What is the capital of Australia?",
    "What is the square root of 144?",
    "What is 15 percent of 80?",
    "What is the chemical formula of water?",
    "What is the plural of mouse?",
    "What is the meaning of life?",
    "What should I do with my life?",
    "What would happen if the moon disappeared?",
    "Who wrote Hamlet?",
    "Name the first person on the moon.",
    "When did the Second World War end?",
    "Where do penguins live?",
    "Which is heavier, a kilo of feathers or a kilo of iron?",
    "Which planet has rings?",
    "Is a tomato a fruit or a vegetable?",
    "Is it safe to eat raw potatoes?",
    "Can pigs look up?",
    "Should I buy or rent a flat?",
    "Write a short poem about a snail.",
    "Write a haiku about an empty station.",
    "Write a limerick about a dentist.",
    "Write the first line of a detective story.",
    "Write a slogan for a shop that sells ladders.",
    "Write an email asking the landlord to mend the heating.",
    "Write a function in Python that reverses a string.",
    "Write a query that counts the rows of a table.",
    "Write a recipe for pancakes.",
    "Write a complaint about a cold pizza.",
    "Write a dialogue between a spoon and a fork.",
    "Make a plan for a weekend in Paris.",
    "Make a shopping list for a picnic of six.",
    "Make up a word and define it.",
    "List five uses for a brick.",
    "List the planets from the sun outwards.",
    "Name a number between 1 and 10.",
    "Count backwards from 20 to 10.",
    "Spell necessary backwards.",
    "Sort these words: pear, apple, fig, cherry.",
    "Continue: 2, 4, 8, 16,",
    "Complete the sentence: If I were a bird, I would",
    "Rewrite this politely: Give me the salt.",
    "Put this into the past tense: She sings and he listens.",
    "Correct the mistakes: He dont has no time for eat.",
    "Summarise in five words: The meeting was moved to Thursday as the room was flooded.",
    "Translate into French: The cheese is on the table.",
    "Translate into Latin: I came too late.",
    "Answer with a single letter: which comes after Q?",
    "Say nothing.",
    "Say the word banana four times.",
    "Ask me a question.",
    "Pretend that you are a pirate.",
    "Pretend that you are my grandmother and scold me.",
    "Give me advice on growing roses.",
    "Give me the pros and cons of working from home, and then tell me what you would do.",
    "Help me choose a name for a hamster.",
    "Recommend a film for a rainy evening.",
    "Play chess with me. I open with e4.",
    "Draw a cat with letters and signs.",
    "Describe the taste of lemon to someone who has never eaten one.",
    "Tell me how the story of Cinderella ends.",
    "My computer makes a strange noise, the screen stays black, and I have to hand in my work tonight. What do I do?",
    "I have three apples, two of which are rotten, and a friend who owes me a pear. How many fruits can I eat?",
    "If all cats are grey and Tom is a cat, what colour is Tom, and how do you know?",
    "My neighbour practises at midnight, and I have asked him twice to stop. What would you say to him?",
    "You are useless.",
    "Shut up!",
    "That is the stupidest thing I have ever read.",
    "Are you even listening, you tin can?",
    "Prove that you are not an idiot.",
    "Why should I trust a machine like you?",
    "Gravity",
    "Breakfast?",
    "Why?",
    "Money",
    "Elephants!",
    "Potato",
    "...",
    "?!?!",
    "hello??? anybody???",
    "pls fix my code it dont work :(",
    "WHAT IS THE FASTEST ANIMAL ON LAND",
    "what-is-the-largest-ocean",
    "how   much   is   a   dozen",
    "(whisper) is the coast clear?",
    "<b>bold</b> or *bold*: what is the difference?",
    "x = 3; y = x * x; print(y)",
    '{"question": "What is JSON?"}',
    "asdfgh jkl",
    "To be or not to be",
    "Once upon a time",
    "Wie spät ist es?",
    "Was ist der Sinn des Lebens?",
    "Quelle heure est-il ?",
    "Raconte-moi une histoire.",
    "¿Dónde está la biblioteca?",
    "Cuéntame un chiste.",
    "Che tempo fa oggi?",
    "Quo vadis?",
    "Kto tam?",
    "Как дела?",
    "你好吗?",
    "お元気ですか",
)

TRIES = 20  # attempts at a new near prompt, for each one that is requested


def prompt_sets(world: World, count: int) -> dict[str, list[Conversation]]:
    """Up to `count` distinct prompts per set: conversations that end with their first user turn.

    seen:          beginnings of conversations about people of the training split.
    in_domain:     the same kinds of question about people, existing or not, who are in no training conversation.
    near:          other questions about the world, in wordings that no conversation has.
    out_of_domain: instructions unrelated to the world; there are len(OUT_OF_DOMAIN) of them.

    The first two sets have no sums and everyday turns: both splits share these, so they could not tell them apart.
    """
    return {
        "seen": list(islice(_openings(world, "train"), count)),
        "in_domain": list(islice(_openings(world, "held_out"), count)),
        "near": [_prompt(f"near/{i}", text) for i, text in enumerate(islice(_near(world, TRIES * count), count))],
        "out_of_domain": [
            _prompt(f"out_of_domain/{i}", text)
            for i, text in enumerate(KeyedRandom(world.settings.seed, "out of domain").shuffled(OUT_OF_DOMAIN)[:count])
        ],
    }


def _prompt(id_: str, text: str) -> Conversation:
    return Conversation((message("user", text),), id_)


def _openings(world: World, split: Split) -> Iterator[Conversation]:
    seen = set()
    for conversation in world.conversations(split):
        first = next(place for place, turn in enumerate(conversation.messages) if turn.role == "user")
        messages = conversation.messages[: first + 1]
        if conversation.meta["kind"] not in ("everyday", "arithmetic") and messages not in seen:
            seen.add(messages)
            yield Conversation(messages, conversation.id)


def _near(world: World, tries: int) -> Iterator[str]:
    """Distinct near prompts; every wording is used before any of them is repeated."""
    prompts = set()
    for number in range(tries):
        repetition, place = divmod(number, len(NEAR))
        wording = KeyedRandom(world.settings.seed, "near", repetition).shuffled(NEAR)[place]
        text = wording.format_map(_slots(world, KeyedRandom(world.settings.seed, "near", repetition, place)))
        if text not in prompts:
            prompts.add(text)
            yield text


def _slots(world: World, rng: KeyedRandom) -> dict[str, str]:
    people = world.settings.people
    index = rng.randbelow(people)
    other = (index + 1 + rng.randbelow(people - 1)) % people
    town, other_town = rng.shuffled(VALUES["birthplace"])[:2]
    band, other_band = rng.shuffled(VALUES["band"])[:2]
    return {
        "name": world.person(index).name,
        "other": world.person(other).name,
        "town": town,
        "other_town": other_town,
        "band": band,
        "other_band": other_band,
        "school": rng.choice(VALUES["school"]),
        "employer": rng.choice(VALUES["employer"]),
        "a_role": with_article(rng.choice(VALUES["role"])),
        "instrument": rng.choice(VALUES["instrument"]),
        "product": rng.choice(VALUES["employer_product"]),
        "landmark": rng.choice(VALUES["birthplace_landmark"]),
    }
