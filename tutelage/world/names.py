"""The names of people, and the seeded bijection between indices and full names.

Each of the three lists has 128 names, so that a full name corresponds to a 21-bit number.
"""

from __future__ import annotations

from tutelage.world.keyed_random import KeyedRandom

SHE = """
Ada Agnes Alma Anneke Astrid Beatrix Brenna Carys Celeste Clara Daphne Delia Edith Elena Elspeth Esme Fenna Flora Freya
Greta Hanna Hazel Helga Ida Ingrid Iris Isolde Jana Josefine Juno Katya Kirsten Leonie Lotte Lydia Mabel Maren Mathilda
Mira Nadia Nell Nora Odette Olive Petra Philippa Ramona Rosalind Runa Sabine Selma Sigrid Tamsin Thea Ursula Vera
""".split()

HE = """
Abel Alaric Ambrose Anton Axel Basil Bertram Bruno Caspar Cedric Clement Conrad Cyril Dimitri Dorian Edgar Emil Ernst
Evander Felix Florian Gideon Gregor Gustav Hector Henrik Hugo Ivan Jasper Joachim Jonas Julian Kilian Lambert Leopold
Linus Lorenz Lucian Magnus Matthias Milo Nikolai Oskar Otto Percival Quentin Rafael Reuben Rufus Silas Stefan Theodor
Ulrich Viktor Walter Yannick
""".split()

THEY = "Ariel Ashby Blair Bryn Ellis Emery Finley Jules Kit Marlo Perrin Quill Rowan Sage Teal Wren".split()

FIRST = (*SHE, *HE, *THEY)

MIDDLE = tuple(
    """
Abernel Adair Aldane Ambrel Andover Arden Arkwell Auberon Averil Balfour Bancroft Barclay Bayard Belmont Benwick Birkett
Blaine Bramwell Brennan Calder Callow Camber Carrick Cassidy Cheverel Colton Corbel Cordell Crispin Dacre Dalton Darrow
Delmar Denholm Devane Drummond Dunmore Eastley Ellery Emlyn Everly Fairfax Farley Fenwick Forsythe Garrick Gilroy Glenn
Gower Granby Grenville Hadley Halden Harcourt Harlan Haverly Hawley Heron Ingram Jarrow Kendal Kerrick Kinross Lacey
Langley Larkin Leland Lennox Linley Lorne Lovell Maddox Mallory Marden Maxwell Melrose Merrick Monroe Nairn Neville
Norwood Oakley Ogilvy Orville Osborne Paget Paxton Penrose Quincy Radley Ramsey Ransome Raynor Ridley Roscoe Rutland
Selwyn Severn Sheridan Sinclair Stafford Sterling Talbot Tarrant Tennant Thorne Tolvane Tremayne Trevor Upton Vance
Vaughan Verrill Wakefield Warren Warwick Wells Weston Whitby Wilder Winslow Wyndham Yardley Yorke Zeller Zennor
Brisco Dunbar
""".split()
)

LAST = tuple(
    """
Ainsley Albright Askew Babbage Barnaby Beckwith Bellamy Birdsong Blackwood Blenkin Bonnell Brackley Bramble Broadbent
Buckthorn Burdock Calloway Chadwick Chalmer Cleave Coverdale Crabtree Cranmer Crowther Culpepper Dashwood Dewhurst
Dimmock Drinkwater Duckworth Elderfield Fairweather Fanshawe Fernsby Flintoff Frobisher Gadsby Galbraith Goodenough
Gotobed Grimshaw Haddock Halliwell Hardcastle Haythorn Henbest Hibbert Huckaby Jellicoe Jolliffe Kettlewell Kirkbride
Ladbroke Lamplugh Lavender Leadbetter Lightfoot Loveday Lovelace Makepeace Mandeville Marchbank Midwinter Mossop Mudge
Nettleton Oglethorpe Oldcastle Onslow Ormerod Outhwaite Partridge Peabody Peverell Pettigrew Plumtree Popplewell
Prendergast Pumphrey Quarmby Rainbird Ravenscroft Rosewarne Rowntree Sallow Scattergood Shackleton Silverlock Skelhorn
Sparrow Standish Sudbury Swallow Tattersall Tempest Thistlewood Threlfall Thwaite Tipping Trelawney Turnbull
Twelvetree Umpleby Venable Wagstaff Waverley Whitlock Winterbourne Woodruff Wormald Yelland Yarwood Zouche Applegate
Ballantyne Bickerstaff Cadwell Copperfield Dandridge Entwistle Gillow Hathaway Ironside Kenyon Lockhart Merryweather
Penhallow Redgrave
""".split()
)

BITS = 21
COUNT = 1 << BITS  # how many full names there are, of which a world uses the first `people`
SHIFT = 11  # more than half the bits, so that x ^ (x >> SHIFT) is its own inverse


def rounds(seed: int) -> tuple[tuple[int, int], ...]:
    """The multipliers (odd, hence invertible) and offsets of the bijection."""
    rng = KeyedRandom(seed, "names")
    return tuple((rng.randbelow(COUNT) | 1, rng.randbelow(COUNT)) for _ in range(3))


def name_parts(index: int, keys: tuple[tuple[int, int], ...]) -> tuple[int, int, int]:
    """The positions of the first, middle and last name of person `index`; unique for each index below COUNT."""
    for multiplier, offset in keys:
        index = (index * multiplier + offset) % COUNT
        index ^= index >> SHIFT
    return index & 127, index >> 7 & 127, index >> 14


def name_index(first: int, middle: int, last: int, keys: tuple[tuple[int, int], ...]) -> int:
    """The index of a name: the inverse of `name_parts`."""
    index = first | middle << 7 | last << 14
    for multiplier, offset in reversed(keys):
        index ^= index >> SHIFT
        index = (index - offset) * pow(multiplier, -1, COUNT) % COUNT
    return index
