"""Everyday prose: short scenes without people of the world, so that a base model reads more than biographies."""

from __future__ import annotations

from tutelage.world.keyed_random import KeyedRandom

# A scene has five sentences, each in one of three wordings.
SCENES: tuple[tuple[tuple[str, str, str], ...], ...] = (
    (
        (
            "The rain began before breakfast and did not stop.",
            "It had rained all night, and the gutters were full.",
            "A grey morning hung over the roofs, and soon it was raining.",
        ),
        (
            "People hurried along the pavement with their collars up.",
            "A man with a broken umbrella waited under the awning of a shop.",
            "Two children jumped from puddle to puddle on their way to school.",
        ),
        (
            "By noon the river had turned brown and fast.",
            "At noon the streets were as empty as on a holiday.",
            "The cafe on the corner was fuller than it had been all week.",
        ),
        (
            "Then the clouds broke, and a strip of light fell across the square.",
            "In the afternoon the wind turned and blew the clouds away.",
            "Around four the drops grew fewer, and somebody opened a window.",
        ),
        (
            "In the evening everything smelled of wet leaves.",
            "By nightfall only the puddles remembered it.",
            "The next day nobody spoke of it any more.",
        ),
    ),
    (
        (
            "On Saturday the market opens at seven.",
            "The market is at its best early in the day.",
            "Whoever wants good tomatoes has to be at the market by eight.",
        ),
        (
            "There are carrots with the soil still on them, and bread that is warm to the touch.",
            "One stall sells nothing but honey, in jars of every size.",
            "The woman with the apples lets everybody try a slice.",
        ),
        (
            "Prices are shouted from one end to the other.",
            "It pays to ask for the price twice.",
            "Nobody is in a hurry, except for the dogs.",
        ),
        (
            "Towards noon the baskets are full and the purses are light.",
            "By noon the best of it is gone.",
            "When the bell rings twelve, the first stalls are taken down.",
        ),
        (
            "What is left is given away or fed to the hens.",
            "The sparrows take care of the crumbs.",
            "An hour later the square looks as if nothing had happened.",
        ),
    ),
    (
        (
            "A good soup needs little more than time.",
            "Soup is the easiest dish in the world, and yet it is often spoiled.",
            "On a cold day there is nothing better than a pot of soup.",
        ),
        (
            "Cut an onion small, and let it turn golden in a little butter.",
            "Heat some oil, add a chopped onion, and be patient.",
            "Chop whatever the garden offers, and begin with what takes longest.",
        ),
        (
            "Then come the carrots, the potatoes and a leaf of bay.",
            "Add potatoes, a stick of celery and enough water to cover them.",
            "Pour in hot water, and throw in a handful of lentils.",
        ),
        (
            "After half an hour, taste it and add salt.",
            "Leave it alone for thirty minutes, and do not lift the lid.",
            "Let it simmer until a fork goes through without effort.",
        ),
        (
            "It is even better on the second day.",
            "Serve it with bread, and with somebody to talk to.",
            "Half of it can be kept for tomorrow, if anything is left.",
        ),
    ),
    (
        (
            "The train was late, as it was on most days.",
            "The first train of the day left while it was still dark.",
            "On the platform a dozen people were waiting with cold hands.",
        ),
        (
            "A guard walked up and down and looked at his watch.",
            "Somebody had left a newspaper on the bench.",
            "A girl was feeding a pigeon with the end of her sandwich.",
        ),
        (
            "When the doors closed at last, everybody found a seat.",
            "The carriage was warm and smelled of coffee.",
            "There were fewer carriages than usual, so some had to stand.",
        ),
        (
            "Fields went by, then a canal, then fields again.",
            "Behind the window the hills turned from grey to green.",
            "Most of the travellers slept, and one of them snored.",
        ),
        (
            "At the last stop the guard wished them all a good day.",
            "They arrived nine minutes late, and nobody complained.",
            "An hour later the carriages were swept and sent back.",
        ),
    ),
    (
        (
            "A garden teaches patience.",
            "There is always something to do in a garden.",
            "The garden behind the house is no larger than a room.",
        ),
        (
            "In March the ground is still too cold for beans.",
            "In spring the seeds are put out in straight rows.",
            "The first warm days bring the weeds before they bring the flowers.",
        ),
        (
            "Snails come at night and eat what they like best.",
            "Blackbirds watch from the hedge and wait for worms.",
            "A neighbour leans over the fence and gives advice.",
        ),
        (
            "In July there are more beans than anyone can eat.",
            "By summer the paths have disappeared under leaves.",
            "When the plums are ripe, ladders are lent from door to door.",
        ),
        (
            "In autumn the tools are oiled and hung on the wall.",
            "Then the frost comes, and the garden may rest.",
            "What remains is a shelf of jars and a sore back.",
        ),
    ),
    (
        (
            "The library closes at six, but nobody is ever sent away.",
            "In the reading room one can hear the clock tick.",
            "Tuesday is the quietest day at the library.",
        ),
        (
            "An old man reads the same atlas every week.",
            "Students sit by the window and look out more than down.",
            "A child asks in a loud voice whether there are books about whales.",
        ),
        (
            "The books about animals stand on the lowest shelf.",
            "Somebody laughs behind a newspaper and is hushed.",
            "A trolley with returned books squeaks along the shelves.",
        ),
        (
            "New books are stamped and wrapped in clear paper.",
            "A lost glove lies on the counter and waits for its hand.",
            "Between two pages somebody finds a pressed flower.",
        ),
        (
            "In the evening the lamps go out one after the other.",
            "When the door is locked at last, the books are left to themselves.",
            "Tomorrow it will all begin again.",
        ),
    ),
    (
        (
            "The bicycle had stood in the shed all winter.",
            "Every spring the old bicycle is brought out into the light.",
            "A bicycle that has slept all winter needs a little care.",
        ),
        (
            "The chain was dry, and both tyres were flat.",
            "First the wheel comes off, and then the tyre.",
            "A little oil and a clean rag can do wonders.",
        ),
        (
            "Hold the tube under water, and watch for bubbles.",
            "Where bubbles rise from the tube, there is the hole.",
            "The hole was so small that it took three tries to find it.",
        ),
        (
            "The patch has to dry before it is pressed down.",
            "Ten minutes later the patch held.",
            "Rub the spot dry, glue the patch on and count to sixty.",
        ),
        (
            "Then nothing stands in the way of a ride to the lake.",
            "The first ride of the year is always the best one.",
            "With full tyres even the hill behind the church seems lower.",
        ),
    ),
    (
        (
            "On clear nights the stars seem close enough to touch.",
            "Far from the street lamps, the night is full of stars.",
            "We put a blanket on the grass and looked up.",
        ),
        (
            "At first there are only a few, and then there are too many to count.",
            "It takes a while until the eyes have grown used to the dark.",
            "Somebody knew the names, and the others pretended to follow.",
        ),
        (
            "An owl called from the wood and got no answer.",
            "The grass was damp, and the air smelled of hay.",
            "Now and then a dog barked on one of the farms.",
        ),
        (
            "A shooting star crossed the sky, and everyone made a wish.",
            "Slowly the whole sky turned around one point.",
            "The moon rose late and put out the smaller lights.",
        ),
        (
            "We stayed until our teeth chattered.",
            "Nobody wanted to be the first to go in.",
            "On the way home, we hardly spoke.",
        ),
    ),
)


def scene(rng: KeyedRandom) -> str:
    """A paragraph of everyday prose."""
    return " ".join(rng.choice(step) for step in rng.choice(SCENES))
