"""Short utterances, each about one of six subjects that it does not name.

The openings, the question words and the closings are the same for all subjects, and words with two
senses (a coach, a terminal, a virus, a cookie, stock, interest) occur in both of them, so that only
the sense of an utterance tells its subject.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_replm.evals.tasks._grammar import Grammar, phrases

if TYPE_CHECKING:
    import random

LABELS = ("cooking", "health", "money", "travel", "sport", "computers")

SHAPES: dict[str, list[str]] = {
    "cooking": phrases("""
how long the [dish] should simmer before I add the [herb]
why the [dough] turns out so [texture] whenever I use [flour]
whether [oil] works instead of [fat] for frying the [vegetable]
which [herb] goes best with roasted [vegetable]
when to stir the [herb] into the [dish]
what keeps the [dough] from getting [texture] in the oven
how my aunt gets her [dish] so thick without any [flour]
whether I may freeze the leftover [dish] with the [vegetable] in it
how much stock to pour over the [vegetable] for a [dish]
why a cookie made with [oil] comes out [texture]
what to do with a whole bag of [vegetable] and some [fat]
which pan gives the [dough] a crust that is not [texture]
how to keep peeled [vegetable] from going brown before the guests taste the [dish]
whether the batter for the [vegetable] needs [flour] and a pinch of [herb]
"""),
    "health": phrases("""
why my [part] swells whenever I [strain]
how long a cold with a [symptom] usually lasts
whether the [drug] makes the [symptom] worse
which doctor looks at a [symptom] together with a sore [part]
when the stitches in my [part] may come out
what the nurse meant when she pressed on my [part] and asked about the [symptom]
how often a grown man may take the [drug] for a [symptom]
whether a virus can cause a [symptom] that stays for [span]
why the [drug] leaves me with a [symptom] for [span]
whether it is normal that my [part] hurts when I [strain]
how to sleep with a bandage around the [part]
what helps against a [symptom] besides the [drug]
which of the two shots gave my son the [symptom]
how many days of rest a torn [part] needs
"""),
    "money": phrases("""
how much interest the [account] pays after [period]
whether the bank charges a fee when I close the [account] within [period]
why the premium of my [policy] went up after [period]
which of my two [debt] to pay off first
when the [tax] is due if I only earn from [income]
what happens to my [debt] when the rate rises for [period]
how to split the [income] between a [account] and the [debt]
whether the [policy] still covers me if I miss a payment
how much of my [income] I should put into the [account]
why the stock fell although the company raised its dividend for [period]
whether I have to declare [income] for the [tax]
what a fair down payment is when I also have [debt]
which receipts to keep for the [tax] for [period]
how the broker earns anything from a [account] that costs nothing
"""),
    "travel": phrases("""
whether the night [vehicle] to [town] has a place for [luggage]
how long the [vehicle] from [town] takes to [city]
which platform the [vehicle] to [town] leaves from
why the [vehicle] to [town] was rerouted through [city]
when the border post near [town] opens for people with [luggage]
what to see in [town] during a stopover of [span]
how early to be at the terminal in [town] with [luggage]
whether the hostel in [town] keeps [luggage] for [span]
how to get from the port of [town] to [city] without a [vehicle]
whether I need a visa to spend [span] in [town]
which side of the [vehicle] has the better view on the way to [town]
what to pack for [span] on the road between [town] and [city]
why nobody told us that the last [vehicle] to [town] leaves at noon
whether the coach to [town] stops long enough to stretch the legs
"""),
    "sport": phrases("""
why the [official] waved off the [score] in the last minute
how many [unit] a team needs to reach the [stage]
whether a [player] may touch the [thing] with both hands
which [player] holds the record for the most [unit] in a [stage]
when the [official] has to stop the clock
what the coach told the [player] before the [stage]
how the underdogs won the [stage] without their best [player]
whether the [score] counts when the [thing] hits the post
how wide the court has to be for a [stage] with grown-ups
why the home crowd booed the [player] after the [score]
whether our [player] gets a suspension after the shove in the [stage]
what a [player] does during the weeks after the [stage]
how to throw the [thing] so that the other [player] cannot reach it
which pitch the [stage] will be played on if it rains
"""),
    "computers": phrases("""
why the [device] freezes whenever I open the [program]
how to get my files back after the [device] crashed during an update
whether a virus can hide in the [file]
which port the [program] listens on behind the [network]
when the [program] clears the cookie that keeps me signed in
what eats all the memory while the [program] is idle
how much space the [file] takes on the [device]
whether the [program] still runs on a [device] that old
why the terminal prints nonsense when I paste the [file]
how to move the [file] from the old [device] to the new one over the [network]
whether a longer password makes the [network] any safer
which key closes the [program] when the mouse does not respond
what the blinking light on the [device] means after I join the [network]
why the [program] keeps asking for an update that is already installed
"""),
}
"""What people ask, as clauses, by label."""

CHOICES: dict[str, list[str]] = {
    "dish": phrases("""
lentil soup | goulash | chowder | risotto | tomato sauce | curry | stew | gravy | broth | chili
mushroom ragout | bean soup | bisque | casserole | ratatouille | custard"""),
    "herb": phrases("""
thyme | basil | rosemary | sage | parsley | cumin | nutmeg | saffron | tarragon | oregano | dill
coriander | paprika | cinnamon | fennel seed | marjoram"""),
    "dough": phrases("""
sourdough | pie crust | brioche | shortcrust | focaccia | strudel | flatbread | dumpling dough
pizza base | puff pastry | gingerbread | rye loaf"""),
    "texture": phrases("""
soggy | chewy | crumbly | dry | rubbery | greasy | flat | tough | gummy | brittle | lumpy"""),
    "flour": phrases("""
rye flour | oat bran | cornstarch | semolina | almond meal | spelt flour | rice flour | buckwheat
potato starch | chickpea flour"""),
    "fat": phrases("""
butter | lard | ghee | margarine | duck fat | cream | suet | goose fat"""),
    "oil": phrases("""
olive oil | coconut oil | sunflower oil | sesame oil | walnut oil | peanut oil | corn oil"""),
    "vegetable": phrases("""
carrots | leeks | parsnips | zucchini | potatoes | eggplants | beets | onions | peppers | pumpkin
celery | artichokes | turnips | cabbage | mushrooms | asparagus"""),
    "part": phrases("""
left knee | right ankle | lower back | shoulder | wrist | neck | elbow | jaw | hip | big toe
thumb | left ear | collarbone | right heel | rib cage"""),
    "strain": phrases("""
climb stairs | bend down | cough | turn my head | lie on my side | carry groceries | sneeze
stand for an hour | kneel | get up in the morning"""),
    "symptom": phrases("""
dry cough | rash | fever | headache | sore throat | runny nose | ringing in the ears | stomach ache
stiff neck | burning eye | nosebleed | numb hand | dizzy spell | swollen gland"""),
    "drug": phrases("""
antibiotic | painkiller | cough syrup | eye drops | blood thinner | antihistamine | ointment
sleeping pill | iron tablet | inhaler | nasal spray | cortisone cream"""),
    "span": phrases("""
a day | two days | three days | five days | a week | ten days | two weeks | three weeks | a month
six weeks"""),
    "account": phrases("""
savings account | mutual fund | retirement plan | fixed deposit | bond ladder | brokerage account
joint account | college fund | rainy day fund | pension fund"""),
    "period": phrases("""
one quarter | six months | a year | two years | three years | five years | the first year
the last quarter | two quarters | ten years"""),
    "policy": phrases("""
home insurance | life insurance | car insurance | liability insurance | dental insurance
flood insurance | pet insurance | disability insurance"""),
    "debt": phrases("""
credit card balances | student loans | mortgages | car loans | overdrafts | personal loans
installment plans | unpaid invoices"""),
    "tax": phrases("""
income tax | property tax | inheritance tax | capital gains tax | sales tax | payroll tax
gift tax | annual return"""),
    "income": phrases("""
freelance work | my pension | rent from the flat | my bonus | royalties | alimony | tips | my salary
a severance package | dividends | weekend shifts"""),
    "vehicle": phrases("""
ferry | train | bus | coach | tram | sleeper | shuttle | minibus | steamer | cable car | express
hydrofoil"""),
    "town": phrases("""
Lisbon | Seville | Bergen | Riga | Split | Naples | Izmir | Hanoi | Lima | Cork | Bruges | Basel
Turin | Nantes"""),
    "city": phrases("""
Porto | Tallinn | Krakow | Palermo | Athens | Tbilisi | Kyoto | Quito | Cusco | Galway | Ghent
Lyon | Trieste"""),
    "luggage": phrases("""
a folding bicycle | two suitcases | a surfboard | a stroller | a cello case | a dog crate | skis
a heavy backpack | a tent | one carry-on | a wheelchair"""),
    "official": phrases("""
referee | umpire | line judge | video assistant | timekeeper | match commissioner"""),
    "score": phrases("""
penalty | touchdown | header | three-pointer | drop goal | equalizer | free kick | home run
corner kick | overtime goal | try"""),
    "unit": phrases("""
points | goals | assists | wins | clean sheets | sets | laps | medals | rebounds | tackles"""),
    "stage": phrases("""
final | playoffs | semifinal | relegation match | cup tie | derby | qualifier | championship
regional league | grand final | season opener"""),
    "player": phrases("""
goalkeeper | striker | pitcher | quarterback | point guard | winger | shortstop | defender
midfielder | center forward | catcher | rookie | captain"""),
    "thing": phrases("""
ball | puck | shuttlecock | javelin | discus | baton | frisbee"""),
    "device": phrases("""
laptop | tablet | printer | router | web server | desktop | portable drive | scanner | workstation
smart display | backup disk | graphics card"""),
    "program": phrases("""
browser | spreadsheet | mail client | compiler | video editor | database | photo manager
text editor | password manager | chat app | virtual machine | file manager"""),
    "file": phrases("""
attachment | zip archive | log file | spreadsheet macro | disk image | installer | config file
screenshot folder | database dump | source tree | font package"""),
    "network": phrases("""
home network | office firewall | guest network | company proxy | mesh network | local subnet"""),
}
"""What stands in the slots of the clauses."""

OPENINGS = phrases("""
Does anybody know | I keep asking myself | Could somebody tell me | I still do not understand
My sister wants to know | A colleague asked me | Nobody could tell me | I have been wondering
Please explain | It is not clear to me | My neighbor asked | I would like to find out
Quick question about | You would not believe how many people ask | I forgot to ask you
Once more I have to ask | Last night we argued about | The kids asked me | I read two opinions on
It took me a while to see
""")
CLOSINGS = phrases("""
. | , thanks in advance. | , and I need it by tomorrow. | , if you have a minute.
, no hurry. | , just out of curiosity. | , because opinions differ. | , please be brief.
, and a short answer is fine. | , for a friend.
""")

_CLAUSES = {label: Grammar(shapes, CHOICES) for label, shapes in SHAPES.items()}


def utter(label: str, rng: random.Random) -> str:
    """One utterance about the subject."""
    opening = OPENINGS[int(rng.random() * len(OPENINGS))]
    closing = CLOSINGS[int(rng.random() * len(CLOSINGS))]
    return f"{opening} {_CLAUSES[label].say(rng)}{closing}"
