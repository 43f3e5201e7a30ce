"""Sentences of the miniature corpora: stories, talk and neutral statements in English, daily life in Welsh and Basque.

A grammar gives more sentences than any corpus takes. The hash of a sentence says which split may have it, at whatever
size: no sentence of valid or test is ever trained on, and none is heard in pre-training.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from summarymixing_fairseq.corpora.writing.splits import stable_fraction
from summarymixing_fairseq.system.errors import InputError

# Shares of a grammar's sentences, as ranges of the hash.
SPLITS = {"test": 0.12, "test_other": 0.24, "valid": 0.34, "train": 0.72, "pretrain": 1.0}
# Draws that bring nothing new after which a grammar counts as used up.
_MOST_DRAWS_IN_VAIN = 3000

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Grammar:
    """Templates with slots, whose choices are joined with "|"; `test_templates` are for test alone."""

    templates: Sequence[str]
    slots: Mapping[str, str] = field(repr=False)
    test_templates: Sequence[str] = ()


def split_of(sentence: str) -> str:
    """The split that may have a sentence."""
    fraction = stable_fraction(sentence)
    return next(split for split, end in SPLITS.items() if fraction < end)


def compose(grammar: Grammar, split: str, count: int) -> list[str]:
    """The first `count` different sentences of a split, always the same, from each template in turn.

    Raises:
        InputError: for more than the grammar has.
    """
    sentences: dict[str, None] = {}
    in_vain = 0
    draws = _draws(grammar, split)
    while len(sentences) < count:
        sentence, from_test_template = next(draws)
        if sentence in sentences or not (from_test_template or split_of(sentence) == split):
            in_vain += 1
            if in_vain > _MOST_DRAWS_IN_VAIN:
                raise InputError(
                    f"only {len(sentences)} sentences for {split} can be composed like "
                    f"{grammar.templates[0]!r}, not {count}: give a smaller --scale"
                )
            continue
        in_vain = 0
        sentences[sentence] = None
    return list(sentences)


def _draws(grammar: Grammar, split: str) -> Iterator[tuple[str, bool]]:
    """Sentences without end, and whether each is of a template for test alone."""
    templates = [(template, False) for template in grammar.templates]
    if split == "test":
        templates += [(template, True) for template in grammar.test_templates]
    number = 0
    while True:
        for template, for_test in templates:
            names = dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(template) if name)
            chosen = {name: pick(f"{template} {number} {name}", grammar.slots[name].split("|")) for name in names}
            yield template.format(**chosen), for_test
        number += 1


def pick(key: str, choices: Sequence[Choice]) -> Choice:
    """One of `choices`, as the hash of `key` has it."""
    return choices[int(stable_fraction(key) * len(choices))]


def rich_first(sentences: Sequence[str]) -> list[str]:
    """`sentences`, those first that hold a letter, then those that hold a word, which none before has.

    Any part of them, however small, then knows most letters and words of the grammar.
    """
    return _new_first(_new_first(sentences, str.split), str)


def _new_first(sentences: Sequence[str], units_of: Callable[[str], Iterable[str]]) -> list[str]:
    seen: set[str] = set()
    first, rest = [], []
    for sentence in sentences:
        new = set(units_of(sentence.lower())) - seen
        (first if new else rest).append(sentence)
        seen |= new
    return first + rest


STORIES = Grammar(
    (
        "the {kind} {person} {did} {place} {time}",
        "{time} the {person} {found} a {quality} {thing} {place}",
        "when the {event}, the {kind} {person} {did} {place}",
        "she told the {person} that a {quality} {thing} was {place}",
        "he had never seen such a {quality} {thing} {place}",
        "the {person} and the {kind} {person_too} {did} {time}",
        "there was a {thing} {place}, and the {person} knew why",
        "my {relative} {found} {number} of the {quality} {thing}s {time}",
        "nobody but the {kind} {person} {did} after the {event}",
        "if the {person} comes back, give her the {quality} {thing}",
    ),
    {
        "kind": "old|young|quiet|brave|gentle|clever|weary|lonely|proud|kind|tall|poor",
        "person": "farmer|sailor|doctor|teacher|captain|queen|stranger|merchant|soldier|painter|judge|widow",
        "person_too": "child|hunter|baker|priest|guest|prisoner|servant|girl",
        "did": "walked|waited|sang|slept|stood still|laughed|worked|wept|sat down|kept silent|gazed around|dreamed",
        "place": "by the river|under the bridge|in the garden|at the gate|near the forest|behind the church|"
        "on the frozen lake|beside the fire|in the narrow street|upon the hill|at the harbour|in the empty house",
        "time": "every morning|all night|before dawn|last winter|that evening|for an hour|once again|in the autumn|"
        "after supper|until midnight|on Sunday|many years ago",
        "found": "found|carried|wanted|lost|sold|hid|brought|remembered|painted|watched",
        "quality": "silver|broken|heavy|small|golden|strange|yellow|beautiful|plain|wooden|dusty|famous",
        "thing": "ring|letter|basket|lantern|chair|mirror|flower|ribbon|drum|picture|horse|jewel",
        "event": "storm passed|moon rose|bell rang|king died|music stopped|snow fell|journey began|war was over|"
        "train arrived|box was opened",
        "relative": "father|mother|sister|uncle|cousin|brother|aunt|neighbour",
        "number": "two|three|four|five|six|seven|eight|ten|twelve|twenty",
    },
)

TALK = Grammar(
    (
        "I think that the {work} was {judgement}, and I would do it again",
        "well, we started {activity} {since}, just for fun",
        "you know, {people} always asked me about the {work}",
        "to be honest, I was {feeling} when {people} called me",
        "the best thing about {activity} is that you meet {people}",
        "I grew up in {home}, so {activity} was {judgement} for me",
        "we spent {since} on the {work} and it felt {judgement}",
        "nobody told {people} that the {work} would be {judgement}",
        "my first {work} was about {people} in {home}",
    ),
    {
        "work": "film|album|book|concert|show|game|story|play|season|project|race|interview",
        "judgement": "wonderful|very hard|a little strange|the right choice|too long|really new|quite natural|"
        "a great success|a mistake|so much work",
        "activity": "acting|running|writing songs|playing the guitar|cooking|swimming|travelling|dancing|teaching|"
        "racing cars",
        "since": "two years ago|last summer|a long time ago|in the nineties|after school|about ten months|"
        "almost every weekend|the whole winter",
        "people": "my parents|the director|our fans|other players|young people|the coach|my old friends|the press|"
        "my agent|so many children",
        "feeling": "nervous|happy|surprised|tired|really angry|proud|not sure|thankful",
        "home": "a small town|Chicago|the north|a big family|Australia|the mountains|London|a fishing village",
    },
)

# Sentences that say nothing of how the speaker feels.
STATEMENTS = Grammar(
    (
        "the {thing} is {where}",
        "{who} put the {thing} {where}",
        "they are coming back {when}",
        "{who} said the {thing} was {where} {when}",
        "it will be {number} o'clock when {who} arrives",
        "{who} is going to {town} {when}",
        "there are {number} people {where}",
        "I will see you {when} in {town}",
        "{who} has {number} of them {where}",
    ),
    {
        "thing": "cup|green bag|telephone|paper|blue coat|table cloth|second key|old map|list|small box",
        "where": "on the shelf|in the kitchen|next door|under the table|by the window|in the other room|upstairs|"
        "in the car|at the office|on the wall",
        "who": "John|my sister|the doctor|your neighbour|Mary|our teacher|the driver|her brother",
        "when": "on Monday|tomorrow morning|in an hour|next week|after lunch|this evening|on Friday|before noon",
        "number": "two|three|four|five|seven|nine|ten|eleven|twelve",
        "town": "Berlin|Dover|the city|Cambridge|Toronto|the village|Leeds|Madrid",
    },
)

_WELSH_HOURS = "un|ddau|dri|bedwar|bump|chwech|saith|wyth|naw|ddeg"  # mutated, as after "am"
_WELSH_TOWNS_IN = (
    "yng Nghaerdydd|yn Abertawe|ym Mangor|yn Aberystwyth|yn Llandudno|yng Nghaernarfon|yn Wrecsam|"
    "yn Llanelli|ym Mhenarth|yn Nhregaron"
)

# Nouns and verbs stand mutated in the slots, as what comes before them asks for.
WELSH = Grammar(
    (
        "mae {person} yn {doing} {place}",
        "bydd y {event} yn dechrau am {hour} o'r gloch {day}",
        "hoffwn i {buying} {goods} {day}",
        "mae'r tywydd yn {weather} {town_in} {now}",
        "rydw i'n mynd {goal} {company} {day}",
        "mae'r {vehicle} nesaf {town_to} yn gadael am {hour} o'r gloch",
        "wnewch chi {favour} {courtesy}",
        "pwyswch y rhif {digit} er mwyn {purpose}",
        "roedd {person} yn {pastime} {past}",
        "mae {person} yn byw {town_in} ers {years} mlynedd",
    ),
    {
        "person": "Siân|Huw|Gareth|Mair|Nia|Dafydd|Elin|Rhys|fy mrawd|fy chwaer|fy nhad|fy mam|y plant|yr athrawes|"
        "y meddyg",
        "doing": "gweithio|darllen|siarad|aros|eistedd|chwarae|canu|cysgu",
        "place": "yn y gegin|yn y llyfrgell|yn yr ysgol|yn y parc|ar y trên|wrth y drws|yn y dref|ger yr afon|"
        "yn yr ardd|ar lan y môr",
        "event": "cyfarfod|ffilm|gêm|cyngerdd|wers|gwasanaeth",
        "hour": _WELSH_HOURS,
        "day": "ddydd Llun|ddydd Mawrth|ddydd Mercher|ddydd Iau|ddydd Gwener|ddydd Sadwrn|ddydd Sul|yfory|heno",
        "buying": "brynu|gael|archebu",
        "goods": "torth o fara|potel o ddŵr|paned o goffi|cwpanaid o de|darn o gaws|bag o siwgr|map o Gymru|dau lyfr|"
        "tri thocyn|dwy dorth|pedwar afal",
        "weather": "oer|boeth|braf|wlyb|sych|wyntog|niwlog|gymylog|heulog|stormus|gynnes",
        "town_in": _WELSH_TOWNS_IN,
        "now": "heddiw|y bore yma|yr wythnos hon|ar hyn o bryd|heno",
        "goal": "i'r siop|i'r farchnad|i'r ysgol|i'r gwaith|i'r sinema|i'r traeth|i'r dref|i'r ysbyty|i'r theatr|"
        "i'r banc",
        "company": "gyda fy mam|gyda fy nhad|gyda'r plant|gyda Nia|gyda Huw|gyda ffrind",
        "vehicle": "trên|bws",
        "town_to": "i Gaerdydd|i Fangor|i Abertawe|i Lundain|i Gaernarfon|i Lanelli|i Landudno|i Aberystwyth|"
        "i Wrecsam|i Fachynlleth",
        "favour": "agor y ffenestr|gau'r drws|ffonio'r meddyg|droi'r golau ymlaen|ddarllen y llythyr|"
        "olchi'r llestri|anfon neges at Mair|siarad yn arafach|aros funud|fwydo'r gath|dacluso'r ystafell",
        "courtesy": "os gwelwch yn dda|i mi|nawr|cyn cinio|ar ôl swper|cyn mynd",
        "digit": "un|dau|tri|pedwar|pump|chwech|saith|wyth|naw",
        "purpose": "siarad â rhywun|clywed y neges eto|newid eich cyfrinair|talu bil|archebu tocyn|gadael neges|"
        "clywed y prisiau|cadw'r neges",
        "pastime": "dysgu Cymraeg|paentio'r tŷ|dringo'r mynydd|coginio swper|gwylio'r teledu|canu yn y côr|"
        "ysgrifennu llythyr|garddio|glanhau'r car|gwrando ar y radio",
        "past": "ddoe|neithiwr|y llynedd|yr wythnos diwethaf|fore ddoe",
        "years": "dwy|tair|pedair|pum|chwe|deng",
    },
)

_BASQUE_HOURS = (
    "zortzietan|bederatzietan|hamarretan|hamaiketan|hamabietan|ordu bietan|hiruretan|lauretan|bostetan|"
    "seietan|zazpietan"
)

# Each slot stands in the case that its verb asks for.
BASQUE = Grammar(
    (
        "{person} {place} dago {now}",
        "{event} {day} hasiko da {hour}",
        "{goods} erosi nahi dut {shop}",
        "{many} erosi behar ditugu {shop}",
        "{weather} egingo du {town_in} {future}",
        "{town_to} doan {vehicle} {hour} aterako da",
        "mesedez, {favour} {order}",
        "sakatu {digit} zenbakia {purpose}",
        "{past} {agent} {deed} zuen",
        "{future} {goal} joango naiz {company}",
    ),
    {
        "person": "Miren|Jon|Ane|Iker|Amaia|Mikel|nire anaia|nire arreba|gure ama|gure aita|irakaslea|medikua",
        "place": "eskolan|etxean|sukaldean|liburutegian|hondartzan|mendian|plazan|tabernan|bulegoan|lorategian|"
        "geltokian|azokan",
        "now": "gaur|orain|oraintxe|berriro|goiz honetan|arratsalde honetan",
        "event": "bilera|filma|kontzertua|partida|klasea|jaia|ikastaroa|azterketa",
        "day": "astelehenean|asteartean|asteazkenean|ostegunean|ostiralean|larunbatean|igandean|bihar",
        "hour": _BASQUE_HOURS,
        "goods": "ogia|esnea|gazta|txartel bat|ur botila bat|arraina|kafea|egunkaria|liburu bat|txokolatea",
        "many": "bi sagar|hiru liburu|lau laranja|patatak|lore batzuk|sei arrautza|bost tomate|oinetako berriak",
        "shop": "azokan|dendan|supermerkatuan|geltokian|hemen|auzoan|herrian",
        "weather": "hotz|bero|eguraldi ona|eguraldi txarra|haize handia|euria|elurra",
        "town_in": "Bilbon|Donostian|Gasteizen|Iruñean|Baionan|Getarian|Tolosan|Eibarren|Zarautzen|Lekeition",
        "future": "bihar|gaur|etzi|ostiralean|larunbatean|igandean|aste honetan|gaur arratsaldean",
        "town_to": "Bilbora|Donostiara|Gasteizera|Iruñera|Baionara|Tolosara|Zarautzera|Eibarrera|Madrilera",
        "vehicle": "trena|autobusa",
        "favour": "itxi atea|ireki leihoa|piztu argia|itzali telebista|deitu medikuari|utzi mezu bat|"
        "hitz egin polikiago|itxaron pixka bat|garbitu platerak|jarri mahaia|ekarri egunkaria|irakurri gutuna",
        "order": "orain|gero|afaldu baino lehen|bazkaldu ondoren|nire ordez|berriro",
        "digit": "bat|bi|hiru|lau|bost|sei|zazpi|zortzi|bederatzi",
        "purpose": "mezuak entzuteko|operadore batekin hitz egiteko|pasahitza aldatzeko|faktura ordaintzeko|"
        "mezu bat uzteko|sarrerak erosteko|ordutegia jakiteko|mezua gordetzeko",
        "past": "atzo|herenegun|joan den astean|iaz|bart",
        "agent": "Mirenek|Jonek|Anek|Ikerrek|Amaiak|Mikelek|nire anaiak|gure amak|irakasleak|medikuak",
        "deed": "liburu bat irakurri|gutun bat idatzi|afaria prestatu|kotxea garbitu|abesti bat abestu|"
        "irratia entzun|film bat ikusi|etxea margotu",
        "goal": "hondartzara|mendira|eskolara|zinemara|azokara|ospitalera|antzokira|bankura|igerilekura|lanera|"
        "liburutegira",
        "company": "lagunekin|amarekin|aitarekin|Mirenekin|Jonekin|umeekin|nire anaiarekin|bakarrik",
    },
)
