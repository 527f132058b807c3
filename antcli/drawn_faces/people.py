"""The people of the drawn domains: the truth about one of them, and what there is to choose."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from antcli.drawn_faces.pen import Colour

SKIN_TONES: dict[str, Colour] = {
    "porcelain": (250, 222, 200),
    "light": (240, 196, 160),
    "tan": (214, 160, 114),
    "olive": (186, 132, 84),
    "brown": (140, 90, 56),
    "dark": (92, 58, 40),
}
HAIR_COLOURS: dict[str, Colour] = {
    "black": (34, 28, 30),
    "brown": (94, 58, 34),
    "auburn": (150, 66, 32),
    "ginger": (220, 120, 44),
    "blond": (236, 204, 112),
    "grey": (170, 170, 176),
    "pink": (226, 104, 160),
}
CLOTHES: dict[str, Colour] = {
    "red": (204, 52, 52),
    "green": (46, 140, 84),
    "blue": (44, 92, 180),
    "yellow": (238, 190, 60),
    "white": (238, 238, 234),
    "charcoal": (62, 62, 72),
}
BACKGROUNDS: dict[str, Colour] = {
    "sky": (150, 204, 240),
    "mint": (168, 226, 190),
    "lilac": (200, 178, 236),
    "peach": (250, 202, 168),
    "sand": (236, 224, 184),
    "slate": (122, 138, 158),
}
IRIS_COLOURS: dict[str, Colour] = {
    "brown": (86, 52, 30),
    "blue": (48, 110, 190),
    "green": (60, 130, 70),
    "grey": (110, 120, 130),
}
HAIR_STYLES = ("bald", "short", "spiky", "curly", "bob", "long")
MOUTHS = ("smile", "open", "flat")
LENSES = ("round", "square", "wide")
LENS_COLOURS: dict[str, Colour] = {
    "black": (22, 22, 26),
    "brown": (66, 38, 22),
    "navy": (24, 34, 74),
}
HATS = ("beanie", "top", "party")
HAT_COLOURS: dict[str, Colour] = {
    "crimson": (176, 24, 60),
    "emerald": (16, 116, 92),
    "royal": (58, 56, 168),
    "orange": (244, 132, 24),
}
FACE_PAINTS = ("mask", "half", "stripes")
PAINT_COLOURS: dict[str, Colour] = {
    "turquoise": (24, 196, 196),
    "violet": (130, 62, 190),
    "scarlet": (224, 34, 40),
}

BEARDS = ("full", "goatee", "moustache")
MASKS = ("surgical", "cloth", "spotted")
MASK_COLOURS: dict[str, Colour] = {
    "teal": (110, 196, 200),
    "snow": (244, 246, 248),
    "ink": (40, 40, 54),
    "rose": (232, 140, 150),
}
SCARVES = ("plain", "striped", "long")
CLOWN_HAIR: tuple[Colour, ...] = ((232, 60, 60), (60, 190, 90), (80, 110, 240), (250, 150, 30))
PATCHES = ("left", "right")
CAPES: dict[str, Colour] = {"wine": (112, 10, 30), "plum": (76, 20, 92), "coal": (30, 28, 36)}
VAMPIRE_SKIN: Colour = (198, 206, 220)
RIMS: dict[str, Colour] = {"lemon": (246, 214, 40), "coral": (250, 94, 80), "lime": (128, 214, 50)}
ALIEN_SKINS: tuple[Colour, ...] = ((120, 196, 96), (84, 156, 132), (164, 208, 84), (130, 140, 210))


@dataclass(frozen=True)
class Attributes:
    """The truth about one drawing. Lengths are fractions of the side, colours RGB 0..255."""

    skin: str
    hair_style: str
    hair: str
    clothes: str
    background: str
    iris: str
    mouth: str
    lenses: str
    """Shape of the sunglasses; empty where there are none."""
    lens: str
    head_x: float
    head_y: float
    head_width: float
    head_height: float
    eye_size: float
    eye_gap: float
    eye_height: float
    """Of the eyes below the head's centre."""
    brow_tilt: float
    nose: float
    mouth_width: float
    skin_rgb: Colour
    hair_rgb: Colour
    clothes_rgb: Colour
    background_rgb: Colour
    hat: str = ""
    """Its shape; empty where there is none."""
    hat_colour: str = ""
    face_paint: str = ""
    """Its pattern; empty where there is none."""
    paint: str = ""
    """Its colour."""
    beard: str = ""
    """Its shape; empty where there is none."""
    mask: str = ""
    """Over mouth and nose; empty where there is none."""
    mask_colour: str = ""
    antennae: bool = False
    scarf: str = ""
    """Its shape; empty where there is none."""
    scarf_colour: str = ""
    clown: bool = False
    """With a red ball for a nose, white around a wide mouth."""
    bandana: str = ""
    """Its colour; empty where there is none."""
    patch: str = ""
    """Over which eye; empty where there is none."""
    cape: str = ""
    """Its colour; empty where there is none, nor fangs."""
    diving_mask: str = ""
    """The colour of its rim, and of a snorkel; empty where there is none."""

    def as_dict(self) -> dict[str, object]:
        """All attributes as plain values, ready for JSON."""
        return asdict(self)
