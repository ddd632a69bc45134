"""Procedural faces: identities, shots and a small software renderer, from one integer seed.

identity = build_identity(7)
picture = render(identity, draw_shot(7, shot=0, occluder="sunglasses"))
"""

from ifr.faces.identity import EXCHANGED, Identity, build_identity, exchange_part
from ifr.faces.render import Render, contact_sheet, render
from ifr.faces.shade import PARTS
from ifr.faces.shot import EXPRESSIONS, LIGHT_OCCLUDERS, LIGHTINGS, OCCLUDERS, Shot, draw_shot
