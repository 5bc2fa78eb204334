"""Words that several tasks share. Short lists keep most of them single tokens."""

# fmt: off
NAMES = (
    "Abel", "Bea", "Cato", "Dove", "Edda", "Faro", "Gwen", "Hugo", "Iris", "Jona",
    "Kira", "Luca", "Mona", "Nico", "Oren", "Pia", "Quin", "Rhea", "Saul", "Tess",
    "Umar", "Vida", "Wren", "Yuri",
)
GOODS = (
    "pens", "lamps", "books", "boxes", "caps", "cakes", "drums", "forks", "hats", "keys",
    "maps", "pots", "rings", "socks", "toys", "tiles", "seeds", "plates",
)
# fmt: on
