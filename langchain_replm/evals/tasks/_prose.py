"""English of no interest, made by a small grammar: a haystack that does not repeat itself.

It has no digits and no brackets, so that what a task hides in it is not there by chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_replm.evals.tasks._grammar import Grammar, phrases, words

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

ADJECTIVES = words("""
ancient amber bitter blue brisk calm careful clever coastal crooked curious damp distant drowsy
dusty early eager faded famous foggy friendly frosty gentle golden graceful grey hollow humble
idle jolly lazy lively lonely lucky mellow misty modest narrow noisy northern odd pale patient
playful polite proud quiet rainy restless rusty salty scarlet secret shaded shy silent silver
simple sleepy slender slow smoky solemn southern spare steady stern stony stubborn sturdy subtle
sunlit tall tidy tired velvet wandering warm wary weathered wide windy wistful wooden young
""")
NOUNS = words("""
alley anchor apron arch archive attic bakery balcony barge barn basket beacon bell bench bicycle
boat bottle bridge broom bucket cabin candle canal carpet cart castle cellar chapel chimney clock
coat compass copper cottage courtyard cradle cupboard curtain dairy ditch dock doorway drum engine
fence ferry field fiddle flask forge fountain garden gate glove granary hallway hammer harbor
hedge hill inn island jacket jar kettle kite ladder lamp lantern ledger library lighthouse loom
mailbox map market meadow mill mirror monument mountain museum needle notebook oar orchard oven
paddle painting pantry parcel path pavilion pebble pier pillow pipe pitcher plaza plow pond porch
quarry quilt railway reservoir ribbon river road roof rope saddle sail sawmill school shawl shed
shelf shore shutter signpost spindle spoon square stable staircase station statue stove stream
table tavern teapot telescope temple terrace theater thread tower train trunk tunnel umbrella
valley village violin wagon wall warehouse well wharf wheel whistle window workshop yard
""")
_PEOPLE = words("""
actor archer baker barber beekeeper blacksmith boatman bookbinder butcher captain carpenter clerk
cobbler cook cooper courier dancer doctor farmer ferryman fiddler fisherman gardener glazier guide
historian hunter inspector janitor jeweler judge locksmith mason mechanic merchant messenger
midwife miller miner musician nurse painter pharmacist pilot plumber porter potter printer sailor
scholar sculptor shepherd shopkeeper singer smith stonecutter student surveyor tailor teacher
tinker trader translator traveler watchmaker weaver widow
""")
_ACTS = words("""
admired borrowed bought carried cleaned copied counted covered crossed described emptied
examined fetched filled found guarded ignored inherited inspected kept left lost
measured mended moved noticed offered opened ordered owned painted passed photographed polished
praised prepared promised repaired rented returned searched sketched sold stored studied swept
traded visited washed watched weighed wrapped
""")
_TIMES = phrases("""
after breakfast | after lunch | after the concert | after the flood | after the harvest | at dawn
at dusk | at noon | before sunrise | before the storm | before winter | during the fair
during the long drought | every autumn | every other week | for most of the summer
for several days | in early spring | in the afternoon | in the middle of the night
late in the evening | once again | on market day | on a wet morning | on the last day of the month
one cold evening | long ago | some years later | that same week | the next morning
toward the end of the season | when the bells rang | when the guests had gone
when the rain stopped | while the others slept | while the tide was low | without any hurry
with great care | with little success
""")
_WHYS = phrases("""
because nobody else wanted it | because the days were getting shorter | because the door was stuck
because the neighbors had asked | because the price was fair | because the road was closed
because there was nothing else to do | even though the light was poor
even though it was hardly worth it | though few people remember it
though the letters say otherwise | though the weather was against it | as everyone had expected
as the custom was | as the old songs tell | so that the children could see it
so that the work could go on | so the others had to wait | and it took longer than planned
and that was the end of the matter | and the talk turned to other things | and nobody complained
and the dog followed all the way | and the rest was left for another day | or so the story goes
""")
_SAYS = words("""
believed claimed explained hinted insisted mentioned recalled remarked said suspected wrote
""")
_STATES = phrases("""
belonged to | could be seen from | depended on | faced | had been built beside | lay beyond
looked down on | looked much like | reminded visitors of | smelled of smoke like | stood behind
stood between the river and | was hidden by | was joined to | was named after | was older than
was painted to match | was smaller than
""")
_PLACES = words(
    "above across against along around behind below beside beyond inside near outside past"
)

_SHAPES = phrases("""
The [adj] [person] [act] the [noun] [place] the [adj] [noun] [time].
The [person] [act] one [adj] [noun] [time], [why].
[Time] the [person] [act] the [adj] [noun], [why].
The [noun] [state] the [adj] [noun], and the [person] [act] it [time].
The [person] [say] that the [adj] [noun] [state] the [noun].
[Place] the [adj] [noun] the [person] [act] the [noun] of the [adj] [person] [time].
The [adj] [noun] of the [person] [state] the [noun] [place] the [adj] [noun].
No [person] had ever [act] the [adj] [noun] [place] the [noun], [why].
[Time], [why], the [person] and the [adj] [person] [act] the [noun].
Some [adj] [person] [say] that the [person] [act] the [noun] [time].
The [person] who [act] the [adj] [noun] also [act] the [noun] [place] the [noun], [why].
What the [person] [act] [time] was neither the [adj] [noun] nor the [noun].
The [noun] [place] the [adj] [noun] [state] the [noun] that the [person] [act].
There was only one [adj] [noun] [place] the [noun], and [time] the [person] [act] it.
""")
_GRAMMAR = Grammar(
    _SHAPES,
    {
        "adj": ADJECTIVES,
        "noun": NOUNS,
        "person": _PEOPLE,
        "act": _ACTS,
        "time": _TIMES,
        "why": _WHYS,
        "say": _SAYS,
        "state": _STATES,
        "place": _PLACES,
    },
)


def sentences(rng: random.Random, chars: int) -> list[str]:
    """Sentences that, with one character between them, have about `chars` characters.

    The last one is cut at a word, so that not even a small text is off by a whole sentence.
    """
    found: list[str] = []
    left = chars
    while left > 0:
        text = _GRAMMAR.say(rng)
        if len(text) > left:
            text = text[:left].rpartition(" ")[0].rstrip(",")
            if not text:
                break
            text += "."
        found.append(text)
        left -= len(text) + 1
    return found


def paragraphs(rng: random.Random, parts: Sequence[str]) -> str:
    """The parts as text: a space between most of them, a new line after every few."""
    pieces: list[str] = []
    until_break = rng.randint(3, 7)
    for part in parts:
        until_break -= 1
        pieces += (part, " " if until_break else "\n")
        if not until_break:
            until_break = rng.randint(3, 7)
    return "".join(pieces[:-1])
