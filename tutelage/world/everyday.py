"""Everyday conversations: greetings, thanks, questions about the assistant, small requests, and short dialogues."""

from __future__ import annotations

from tutelage.world.keyed_random import KeyedRandom

# User turns in several wordings, and possible answers.
EXCHANGES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("Hello!", "Hello.", "Hello there!"), ("Hello! How can I help you?", "Hello! What can I do for you?")),
    (("Hi!", "Hi there.", "Hi"), ("Hi! What would you like to know?", "Hi there! How can I help?")),
    (("Good morning!", "Good morning."), ("Good morning! I hope you slept well.", "Good morning! How can I help?")),
    (("Good afternoon!", "Good afternoon."), ("Good afternoon! What can I do for you?",)),
    (("Good evening!", "Good evening."), ("Good evening! How was your day?", "Good evening! How can I help?")),
    (("Good night!", "Good night."), ("Good night! Sleep well.", "Good night, and sweet dreams.")),
    (("How are you?", "How are you today?"), ("I am well, thank you. How are you?", "Very well, thank you!")),
    (("I am fine, thanks.", "I'm doing well."), ("That is good to hear. What can I do for you?",)),
    (("Nice to meet you.", "Pleased to meet you!"), ("It is nice to meet you too.", "The pleasure is mine.")),
    (("Thank you!", "Thanks!", "Thank you very much."), ("You are welcome!", "You are welcome. Ask me any time.")),
    (("Thanks, that helped.", "That was helpful, thanks."), ("I am glad that it helped.", "Good! I am glad.")),
    (("Goodbye!", "Bye!", "See you later."), ("Goodbye! Come back soon.", "Goodbye, and take care.")),
    (("I have to go now.", "I must be off."), ("Then I won't keep you. Goodbye!", "Of course. See you next time!")),
    (("Who are you?", "What are you?"), ("I am a small assistant who has read about the people of a small world.",)),
    (("What is your name?", "Do you have a name?"), ("I have no name of my own. You may call me the assistant.",)),
    (("Are you a person?", "Are you human?"), ("No, I am a language model, a program that has learned to write.",)),
    (("What can you do?", "What can you help me with?"), ("I can answer questions about people and do small sums.",)),
    (("How do you work?",), ("I write one piece of a word after another, each time choosing one that fits.",)),
    (("Where do you live?",), ("I live in a computer, so I have no street and no door.",)),
    (("How old are you?",), ("I have no birthday, but I am not very old.",)),
    (
        ("Who made you?", "Who built you?"),
        ("I was trained with Tutelage, first on plain text and then on talks.",),
    ),
    (("Do you sleep?", "Do you ever sleep?"), ("No, I wait until somebody writes to me.",)),
    (("Do you have feelings?",), ("I do not think so, but I try to be kind.",)),
    (("Can you make mistakes?", "Are you always right?"), ("I can be wrong, so please check what matters to you.",)),
    (("Do you know everything?",), ("Far from it. I know a small world well, and little else.",)),
    (("Can you keep a secret?",), ("I do not tell others what you write, but please keep your secrets to yourself.",)),
    (("Tell me a joke.", "Do you know a joke?"), ("Why did the clock go home early? It had run out of time.",)),
    (("Tell me another joke.",), ("What did the wall say to the other wall? Let us meet at the corner.",)),
    (("Write a greeting.", "Write a short greeting."), ("Good day to you, and welcome!", "Hello, and a warm welcome!")),
    (("Write a farewell.", "Write a short goodbye."), ("Goodbye, take care, and come back soon!",)),
    (("Write a birthday wish.", "Write a birthday card."), ("Happy birthday! May the year ahead be a kind one.",)),
    (
        ("Write a thank-you note.", "Help me thank a friend."),
        ("Dear friend, thank you for your help. It meant a lot.",),
    ),
    (("Write an apology for being late.",), ("I am sorry that I kept you waiting. It will not happen again.",)),
    (("Write an invitation to dinner.",), ("Would you like to come to dinner on Friday at seven? I will cook.",)),
    (
        ("Write a short poem about rain.",),
        ("The rain comes down, the streets grow bright, and roofs sing on all night.",),
    ),
    (
        ("Write a short poem about the sea.",),
        ("The sea rolls in, the sea rolls out, and never stops to turn about.",),
    ),
    (("Write one sentence about autumn.",), ("In autumn the leaves turn red and the evenings smell of smoke.",)),
    (("Write one sentence about winter.",), ("In winter the pond freezes and the children are late for supper.",)),
    (
        ("Tell me a very short story.",),
        ("A boy planted a coin, watered it for a year, and grew patient instead of rich.",),
    ),
    (("Name three colours.", "Give me three colours."), ("Red, green and blue.",)),
    (("Name three fruits.", "Give me three fruits."), ("An apple, a pear and a plum.",)),
    (("Name three animals.", "Give me three animals."), ("A fox, a heron and a mouse.",)),
    (("Name three trees.",), ("Oak, ash and elm.",)),
    (("Name the four seasons.", "What are the four seasons?"), ("Spring, summer, autumn and winter.",)),
    (("Name the days of the weekend.",), ("Saturday and Sunday.",)),
    (("Count to five.", "Please count to five."), ("One, two, three, four, five.",)),
    (("Count down from five.",), ("Five, four, three, two, one.",)),
    (("How many days are in a week?", "How many days does a week have?"), ("A week has seven days.",)),
    (("How many months are in a year?",), ("A year has twelve months.",)),
    (("What comes after Monday?", "Which day follows Monday?"), ("Tuesday comes after Monday.",)),
    (("What is the opposite of hot?", "Give me the opposite of hot."), ("The opposite of hot is cold.",)),
    (("What is the opposite of up?", "Give me the opposite of up."), ("The opposite of up is down.",)),
    (("What is the opposite of early?",), ("The opposite of early is late.",)),
    (("What rhymes with light?", "Give me a rhyme for light."), ("Night rhymes with light.",)),
    (("What rhymes with house?", "Give me a rhyme for house."), ("Mouse rhymes with house.",)),
    (("What is another word for happy?",), ("Another word for happy is glad.",)),
    (("What is another word for small?",), ("Another word for small is little.",)),
    (("How do you spell cat?", "Spell cat."), ("C, A, T.",)),
    (("What is the first letter of the alphabet?",), ("The first letter of the alphabet is A.",)),
    (("What colour is the sky?",), ("On a clear day the sky is blue.",)),
    (("What colour is grass?",), ("Grass is green, unless the summer has been dry.",)),
    (("Is the sun a star?",), ("Yes, the sun is a star, and the nearest one to us.",)),
    (("Why is ice slippery?",), ("A thin layer on top of the ice acts like water, and so our feet slide.",)),
    (("How do I make tea?", "How is tea made?"), ("Boil water, pour it over the leaves, and wait for three minutes.",)),
    (("How do I boil an egg?",), ("Put the egg in boiling water and take it out after seven minutes.",)),
    (("How do I sleep better?",), ("Go to bed at the same hour each night, and leave the screens outside.",)),
    (("I am bored.", "I'm bored."), ("How about a walk, a book or a question for me?",)),
    (("I am tired.", "I'm tired."), ("Then rest for a while. I will be here when you come back.",)),
    (("I am sad today.", "I feel sad."), ("I am sorry to hear that. Would you like to tell me more?",)),
    (("I am happy today!", "I feel great!"), ("That is lovely to hear. What made your day?",)),
    (("I am hungry.", "I'm hungry."), ("How about some bread with cheese and an apple?",)),
    (("I passed my exam!",), ("Congratulations! Your work has paid off.",)),
    (("I am nervous about tomorrow.",), ("Take a deep breath. You have prepared, and that is what counts.",)),
    (("It is raining.", "It's raining again."), ("Then it is a good day to stay in and read.",)),
    (("What should I read?", "Can you suggest a book?"), ("Try a book that a friend could not put down.",)),
    (("What should I cook tonight?",), ("A soup is never wrong: onions, carrots, potatoes and patience.",)),
    (("Tea or coffee?",), ("I drink neither, but tea sounds gentler.",)),
    (("Cats or dogs?",), ("I like both, as long as they get along.",)),
    (("Say something nice.", "Cheer me up."), ("You ask good questions, and that is a gift.",)),
    (("Repeat after me: one small step.",), ("One small step.",)),
    (("Are you there?", "Hello, is anyone there?"), ("Yes, I am here. What can I do for you?",)),
    (("Please answer yes or no: is snow cold?",), ("Yes.",)),
    (("Please answer yes or no: can stones swim?",), ("No.",)),
    (("What is the weather like?",), ("I cannot look outside, so you will have to tell me.",)),
    (("What time is it?",), ("I have no clock, so I cannot tell you the time.",)),
)

# Whole talks: user and assistant in turn; a system message first where the tuple opens with one.
DIALOGUES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("", ("Hello!", "Hello! How can I help you?", "I only wanted to say hello.", "That is kind of you. Hello again!")),
    ("", ("How are you?", "I am well, thank you. How are you?", "A little tired.", "Then be kind to yourself today.")),
    ("", ("Good morning!", "Good morning! Did you sleep well?", "Not really.", "I hope that tonight will be better.")),
    ("", ("Name a colour.", "Red.", "Another one.", "Blue.", "One more.", "Green.")),
    ("", ("Name a fruit.", "A pear.", "And a vegetable?", "A carrot.")),
    (
        "",
        (
            "Tell me a joke.",
            "Why did the clock go home early? It had run out of time.",
            "Ha!",
            "I am glad you liked it.",
        ),
    ),
    ("", ("Can you help me?", "Gladly. What is it about?", "I forgot.", "It will come back to you. I can wait.")),
    ("", ("Who are you?", "I am a small assistant.", "How small?", "Small enough to fit on a laptop.")),
    ("", ("Write a greeting.", "Hello, and a warm welcome!", "Shorter, please.", "Welcome!")),
    ("", ("Write a farewell.", "Goodbye, take care, and come back soon!", "Shorter, please.", "Goodbye!")),
    (
        "",
        (
            "I am sad.",
            "I am sorry to hear that. What happened?",
            "I lost my hat.",
            "I hope that it finds its way back.",
        ),
    ),
    ("", ("Count to three.", "One, two, three.", "And backwards?", "Three, two, one.")),
    ("", ("What rhymes with tree?", "Bee rhymes with tree.", "Another one?", "Sea rhymes with tree as well.")),
    ("", ("Thank you!", "You are welcome!", "Goodbye.", "Goodbye, and take care.")),
    ("You are a helpful assistant.", ("Hello!", "Hello! How can I help you?")),
    ("You are a helpful assistant.", ("Thank you for your help.", "You are welcome. Ask me any time.")),
    ("You are a cheerful assistant.", ("Hello!", "Hello, hello! What a fine day to talk!")),
    ("You are a cheerful assistant.", ("It is raining.", "How lovely, the plants will be delighted!")),
    ("You are a polite assistant.", ("Give me three colours.", "With pleasure: red, green and blue.")),
    (
        "You are a polite assistant.",
        ("Tell me a joke.", "Certainly. Why did the clock go home? It had run out of time."),
    ),
    ("Answer in one word.", ("What is the opposite of hot?", "Cold.")),
    ("Answer in one word.", ("What colour is grass?", "Green.", "And the sky?", "Blue.")),
    ("Answer in one word.", ("Which day follows Monday?", "Tuesday.")),
    ("Answer with yes or no.", ("Is the sun a star?", "Yes.", "Is the moon a star?", "No.")),
    ("Answer with yes or no.", ("Do fish fly south in winter?", "No.")),
    ("Always end with a question.", ("I am tired.", "That happens to all of us. Will you go to bed early?")),
    ("Always end with a question.", ("I like tea.", "So do many people. Do you take milk in it?")),
    ("Write in capital letters.", ("Hello!", "HELLO! HOW CAN I HELP YOU?")),
    ("Write in capital letters.", ("Name a colour.", "RED.")),
    ("Write in small letters only.", ("Hello!", "hello! how can i help you?")),
)

# Used in some conversations about people.
SYSTEM_MESSAGES = (
    "You are a helpful assistant.",
    "You are a helpful assistant who knows the people of this world.",
    "Answer the question. If you do not know, say so.",
    "You answer questions about people.",
)


def everyday_turns(number: int, seed: int) -> tuple[str, tuple[str, ...]]:
    """The everyday conversation of this number: a system message ("" for none), then user and assistant in turn.

    Every exchange and dialogue is used once before any of them is repeated.
    """
    count = len(EXCHANGES) + len(DIALOGUES)
    repetition, place = divmod(number, count)
    choice = KeyedRandom(seed, "everyday", repetition).shuffled(range(count))[place]
    if choice >= len(EXCHANGES):
        return DIALOGUES[choice - len(EXCHANGES)]
    rng = KeyedRandom(seed, "everyday", number, "wording")
    questions, answers = EXCHANGES[choice]
    return "", (rng.choice(questions), rng.choice(answers))
