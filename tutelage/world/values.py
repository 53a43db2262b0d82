"""Every value that a fact of the world can take.

No value is part of another value of any attribute, so that a reply can be scored by the values it contains.
"""

from __future__ import annotations

from typing import Literal, get_args

Attribute = Literal["birthplace", "birth_year", "school", "employer", "role", "instrument", "band"]
ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)

TOWNS = """
Harrowmere Ostwick Pellbrook Dunmarrow Saltmoor Vennerby Coldhithe Aldersby Marrowfield Tarnholm Wexcombe Ravelstow
Brindleford Kestrelham Lunnsea Oxmarsh Petherwick Staveling Greyminster Hollowby Inchcraig Jessamere Lowenport Millhaven
Nettlecombe Rookhampton Skerrydale Umberton Yarrowgate Zeldenburgh Farrowdean Cinderbridge
""".split()

SCHOOLS = """
Larkfield School, Saint Oswin's, Birchgate Academy, Thistledown College, Corvane Institute, Embervale School,
Wrenlow College, Hartsong Academy, Mossgrave School, Pembury Hall, Ivorstone College, Quillmore School,
Sandlark Academy, Tidewell College, Underhill School, Saint Maude's, Beaconsward School, Copperlane College,
Dovecote Hall, Elmsward Academy, Foxhollow School, Glasslea College, Highcairn School, Juniper Hall, Kingsrow Academy,
Limewood College, Marigold Hall, Orchardside School, Priorsgate Academy, Rosmarin College, Silverbeck Hall,
Windlass School
"""

EMPLOYERS = """
Tallow & Finch, Brasswell Brothers, Greaves & Moody, Northgate Works, Hobday & Daughters, Ironbark Limited,
Lindqvist & Rowe, Orrin Industries, Bellweather Company, Castor & Pike, Pemberline, Fairlight Works, Quayside Makers,
Redfern & Sharp, Saxby Brothers, Three Gables, Vantry Works, Wold & Wether, Yellowhammer Company, Ackroyd & Bly,
Bluestone Trading, Cobblestone Works, Dunnock & Daughters, Everard Supplies, Foundry Lane, Gannet & Gale,
Hawksmoor Company, Indigo House, Jackdaw Brothers, Kittering Works, Larch & Linden, Mulberry Stores
"""

ROLES = """
accountant archivist bookkeeper buyer caretaker carpenter chemist courier designer driver electrician engineer
gardener glazier inspector interpreter lawyer librarian locksmith machinist mechanic nurse packer painter photographer
plumber receptionist secretary surveyor tailor typist welder
""".split()

INSTRUMENTS = """
accordion, banjo, bassoon, bugle, cello, clarinet, concertina, cornet, double bass, dulcimer, euphonium, flute,
glockenspiel, guitar, harmonica, harp, mandolin, marimba, oboe, organ, piano, piccolo, saxophone, sitar, tambourine,
trombone, trumpet, tuba, ukulele, viola, violin, zither
"""

BANDS = """
The Paper Lanterns, Velvet Harbour, Nine Quiet Owls, The Copper Tide, Midnight Allotment, Sunday Static,
Borrowed Thunder, The Salt Choir, Glass Orchard, The Second Moon, Winter Telegraph, The Tin Astronauts, Crooked Avenue,
The Gentle Riot, Hollow Weather, Marmalade Sky, The Night Ferry, Parallel Rivers, The Pocket Giants, Red Kite Radio,
The Sleepy Comets, Slow Carousel, The Spare Keys, Stranger Lights, The Tall Shadows, Telephone Garden,
Thirteen Sparrows, Tomorrow's Echo, Violet Hour, The Wandering Maps, Wooden Satellites, Yesterday's Rain
"""

PRODUCTS = """
umbrellas, bicycles, candles, clocks, kettles, mattresses, mirrors, pencils, raincoats, rocking chairs, saddles,
scissors, soap, spectacles, suitcases, teapots, telescopes, tents, typewriters, wallpaper, watering cans, wheelbarrows,
barometers, blankets, buttons, chocolate, compasses, doorbells, fishing nets, hammocks, marbles, weighing scales
"""

LANDMARKS = """
lighthouse, clock tower, windmill, rope bridge, fish market, hot springs, walled garden, stone circle, glass dome,
white cliffs, cable car, copper statue, ruined abbey, puppet theatre, flower festival, bell foundry, toy museum,
chalk horse, sea baths, covered arcade, painted houses, hedge maze, observatory, vineyards, waterfall, cheese fair,
boat races, black beach, canal locks, deer park, rose gardens, old fortress
"""


def listed(table: str) -> tuple[str, ...]:
    """The entries of a table of values that may hold spaces, parted by commas."""
    return tuple(entry.strip() for entry in table.split(","))


def years(first: int) -> tuple[str, ...]:
    """32 years in a row."""
    return tuple(str(year) for year in range(first, first + 32))


# Attributes of people, in the order of ATTRIBUTES; then the two-step facts, of a person's school, employer, band and
# birthplace.
VALUES: dict[str, tuple[str, ...]] = {
    "birthplace": tuple(TOWNS),
    "birth_year": years(1950),
    "school": listed(SCHOOLS),
    "employer": listed(EMPLOYERS),
    "role": tuple(ROLES),
    "instrument": listed(INSTRUMENTS),
    "band": listed(BANDS),
    "school_town": tuple(TOWNS),
    "employer_product": listed(PRODUCTS),
    "band_year": years(1985),  # apart from the years of birth, so that a reply never names both kinds by accident
    "birthplace_landmark": listed(LANDMARKS),
}

# A two-step fact -> the attribute of the person that leads to it.
BRIDGES: dict[str, Attribute] = {
    "school_town": "school",
    "employer_product": "employer",
    "band_year": "band",
    "birthplace_landmark": "birthplace",
}


def with_article(noun: str) -> str:
    """The noun after "a" or "an"."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
