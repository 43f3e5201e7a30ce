"""Sentence material for the spoken corpus: telephone prompts in seven languages, composed from word lists."""

from __future__ import annotations

import itertools
import string

from summarymixing_fairseq.corpora.writing.splits import stable_fraction
from summarymixing_fairseq.system.errors import InputError

# Slots are joined with "|"; every combination of a template's slots is a prompt.
_DIGITS_EN = "zero|one|two|three|four|five|six|seven|eight|nine"
_NUMBERS_EN = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fifteen|seventeen|twenty|"
    "twenty one|thirty|thirty six|forty|forty eight|fifty|sixty two|seventy|eighty five|ninety"
)
_ACTIONS_EN = (
    "hear your messages|leave a message|change your greeting|speak to an operator|return to the main menu|"
    "delete this recording|save the message|repeat these options|join the conference|mute your microphone|"
    "forward the call to a colleague|check your balance|cancel your order|confirm the appointment|"
    "update your address|quit the directory|enter a new password|listen to the weather report|"
    "choose another language|report a broken line|reach the emergency service|find the nearest branch|"
    "book a journey|renew your subscription|ask about an invoice|exit"
)

_ENGLISH = {
    "press {digit} to {action}": {"digit": _DIGITS_EN, "action": _ACTIONS_EN},
    "to {action}, press {digit} now": {"digit": _DIGITS_EN, "action": _ACTIONS_EN},
    "please enter {thing}, followed by the {key} key": {
        "thing": "your extension|your password|the area code|the account number|your date of birth|"
        "the number of the mailbox|your zip code|the first three letters of the name|the expiry date|"
        "your telephone number|the quantity|the serial number on the box",
        "key": "pound|star|hash|green|next",
    },
    "you have {number} {kind} messages": {
        "number": _NUMBERS_EN,
        "kind": "new|old|urgent|unheard|saved|forwarded|private|deleted",
    },
    "your {event} is on {day}, the {ordinal} of {month}": {
        "event": "appointment|delivery|payment|flight|examination|next lesson",
        "day": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday",
        "ordinal": "first|second|third|fourth|fifth|eighth|ninth|twelfth|sixteenth|twentieth|thirtieth",
        "month": "January|February|March|April|May|June|July|August|September|October|November|December",
    },
    "the estimated waiting time is {number} {unit}": {"number": _NUMBERS_EN, "unit": "minutes|seconds"},
    "I'm sorry, {problem}. Please {remedy}.": {
        "problem": "that is not a valid extension|the line is busy|nobody is available|"
        "all of our agents are helping other callers|we didn't understand you|the mailbox is full|"
        "your session has expired|there is no such number|the office is closed|that choice does not exist",
        "remedy": "try again later|stay on the line|leave your name and number|call back in an hour|"
        "speak more clearly|check the number|hang up and dial again|visit our office|"
        "send us a letter|hold for the next available person",
    },
    "thank you for calling the {place}. {line}.": {
        "place": "city library|railway office|gas company|children's hospital|savings bank|zoo|"
        "water works|travel agency|university|customs house|jazz club|post office",
        "line": "This call may be recorded|How may we help you today|We're open from nine to six|"
        "Your call is very important to us|You are number four in the queue|Have a pleasant evening",
    },
    "transferring you to {person} in {room}": {
        "person": "a specialist|the manager|our support team|the duty officer|the switchboard|a nurse|"
        "the accounts desk|an adviser|Mister Jackson|Doctor Quinn|Missus Vaughan",
        "room": "building six|the head office|room twelve|the east wing|sales|the repair shop|"
        "the export department|reception",
    },
    "the temperature in {city} is {number} degrees, with {weather}": {
        "city": "London|Boston|Zurich|Quebec|Oxford|Mexico City|Johannesburg|Sydney|Brussels|Vienna",
        "number": _NUMBERS_EN,
        "weather": "light rain|bright sunshine|heavy snow|thick fog|a gentle breeze|frequent showers",
    },
}

_SPANISH = {
    "marque {digit} para {action}": {
        "digit": "cero|uno|dos|tres|cuatro|cinco|seis|siete|ocho|nueve",
        "action": "escuchar sus mensajes|dejar un mensaje|cambiar la contraseña|hablar con un operador|"
        "volver al menú principal|borrar la grabación|guardar el mensaje|salir de la conferencia",
    },
    "usted tiene {number} mensajes {kind}": {
        "number": "dos|tres|cuatro|cinco|siete|nueve|diez|once|quince|veinte|treinta",
        "kind": "nuevos|antiguos|urgentes|guardados",
    },
    "por favor introduzca {thing} y pulse {key}": {
        "thing": "su número de teléfono|su contraseña|el código postal|la fecha de nacimiento|su extensión",
        "key": "almohadilla|asterisco|la tecla verde",
    },
    "su cita es el {day} a las {hour} de la {part}": {
        "day": "lunes|martes|miércoles|jueves|viernes|sábado|domingo",
        "hour": "dos|tres|cuatro|cinco|seis|siete|ocho",
        "part": "tarde",
    },
}

_FRENCH = {
    "appuyez sur {digit} pour {action}": {
        "digit": "zéro|un|deux|trois|quatre|cinq|six|sept|huit|neuf",
        "action": "écouter vos messages|laisser un message|changer votre mot de passe|parler à un conseiller|"
        "revenir au menu principal|effacer l'enregistrement|garder le message|quitter la conférence",
    },
    "vous avez {number} {kind}": {
        "number": "deux|trois|quatre|cinq|sept|neuf|dix|onze|quinze|vingt|trente",
        "kind": "nouveaux messages|messages urgents|anciens messages|appels en attente",
    },
    "veuillez saisir {thing}, suivi de {key}": {
        "thing": "votre numéro de téléphone|votre mot de passe|le code postal|votre numéro de client",
        "key": "la touche dièse|la touche étoile",
    },
    "votre rendez-vous est fixé au {day} à {hour} heures": {
        "day": "lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche",
        "hour": "huit|neuf|dix|onze|quatorze|seize|dix-sept",
    },
}

_ITALIAN = {
    "premere {digit} per {action}": {
        "digit": "zero|uno|due|tre|quattro|cinque|sei|sette|otto|nove",
        "action": "ascoltare i messaggi|lasciare un messaggio|cambiare la password|parlare con un operatore|"
        "tornare al menu principale|cancellare la registrazione|salvare il messaggio|uscire",
    },
    "ha {number} messaggi {kind}": {
        "number": "due|tre|quattro|cinque|sette|nove|dieci|undici|quindici|venti|trenta",
        "kind": "nuovi|vecchi|urgenti|salvati",
    },
    "prego digitare {thing} e premere {key}": {
        "thing": "il numero di telefono|la password|il codice postale|la data di nascita|il numero interno",
        "key": "cancelletto|asterisco",
    },
    "il suo appuntamento è {day} alle {hour}": {
        "day": "lunedì|martedì|mercoledì|giovedì|venerdì|sabato|domenica",
        "hour": "otto|nove|dieci|undici|quindici|sedici|diciotto",
    },
}

_RUSSIAN = {
    "нажмите {digit}, чтобы {action}": {
        "digit": "ноль|один|два|три|четыре|пять|шесть|семь|восемь|девять",
        "action": "прослушать сообщения|оставить сообщение|изменить пароль|поговорить с оператором|"
        "вернуться в главное меню|удалить запись|сохранить сообщение|выйти из конференции",
    },
    "у вас {number} {kind} сообщений": {
        "number": "пять|шесть|семь|восемь|девять|десять|одиннадцать|пятнадцать|двадцать|тридцать",
        "kind": "новых|старых|срочных|сохранённых",
    },
    "пожалуйста, введите {thing} и нажмите {key}": {
        "thing": "номер телефона|пароль|почтовый индекс|дату рождения|добавочный номер",
        "key": "решётку|звёздочку",
    },
    "мы ждём вас {day} в {hour} часов": {
        "day": "в понедельник|во вторник|в среду|в четверг|в пятницу|в субботу|в воскресенье",
        "hour": "восемь|девять|десять|одиннадцать|двенадцать|семнадцать|восемнадцать",
    },
}

_WELSH = {
    "pwyswch {digit} i {action}": {
        "digit": "dim|un|dau|tri|pedwar|pump|chwech|saith|wyth|naw",
        "action": "wrando ar eich negeseuon|adael neges|newid eich cyfrinair|siarad â rhywun|"
        "ddychwelyd i'r brif ddewislen|ddileu'r recordiad|gadw'r neges|ymuno â'r gynhadledd",
    },
    "mae gennych chi {number} neges {kind}": {
        "number": "un|dwy|tair|pedair|pum|chwe|saith|wyth|naw|deg",
        "kind": "newydd|bwysig|breifat|heb ei chlywed",
    },
    "rhowch eich {thing}, os gwelwch yn dda, {then}": {
        "thing": "cyfrinair|rhif ffôn|enw|cod post|dyddiad geni|cyfeiriad|rhif cwsmer",
        "then": "ar ôl y sŵn|ac yna'r seren|nawr",
    },
    "bydd y swyddfa ar agor ddydd {day} am {hour} o'r gloch": {
        "day": "Llun|Mawrth|Mercher|Iau|Gwener|Sadwrn|Sul",
        "hour": "un|dau|tri|pedwar|wyth|naw|deg",
    },
}

_BASQUE = {
    "sakatu {digit} {action}": {
        "digit": "zero|bat|bi|hiru|lau|bost|sei|zazpi|zortzi|bederatzi",
        "action": "mezuak entzuteko|mezu bat uzteko|pasahitza aldatzeko|operadore batekin hitz egiteko|"
        "menu nagusira itzultzeko|grabazioa ezabatzeko|mezua gordetzeko|deia amaitzeko",
    },
    "{number} mezu {kind} dituzu": {
        "number": "bi|hiru|lau|bost|sei|zazpi|zortzi|bederatzi|hamar|hamabi|hogei",
        "kind": "berri|zahar|pribatu|premiazko",
    },
    "mesedez, idatzi zure {thing} {then}": {
        "thing": "pasahitza|telefono zenbakia|izena|helbidea|posta kodea|jaioteguna|bezero zenbakia",
        "then": "orain|seinalearen ondoren|eta sakatu izartxoa",
    },
    "bulegoa {day} irekiko da {hour}": {
        "day": "astelehenean|asteartean|asteazkenean|ostegunean|ostiralean|larunbatean|igandean",
        "hour": "zortzietan|bederatzietan|hamarretan|hamaiketan|ordu bietan|hiruretan|lauretan",
    },
}

GRAMMARS = {
    "en": _ENGLISH,
    "es": _SPANISH,
    "fr": _FRENCH,
    "it": _ITALIAN,
    "ru": _RUSSIAN,
    "cy": _WELSH,
    "eu": _BASQUE,
}


def compose(language: str, num_prompts: int) -> list[str]:
    """`num_prompts` different prompts, always the same, taken from each template of the language in turn."""
    if language not in GRAMMARS:
        raise InputError(f"no prompts in language '{language}': there are {', '.join(GRAMMARS)}")
    columns = [sorted(_expand(template, slots), key=stable_fraction) for template, slots in GRAMMARS[language].items()]
    turns = itertools.zip_longest(*columns)
    prompts = list(dict.fromkeys(prompt for turn in turns for prompt in turn if prompt is not None))
    if num_prompts > len(prompts):
        raise InputError(f"only {len(prompts)} prompts can be composed in '{language}', not {num_prompts}")
    return prompts[:num_prompts]


def _expand(template: str, slots: dict[str, str]) -> list[str]:
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name]
    choices = itertools.product(*(slots[name].split("|") for name in names))
    return [template.format(**dict(zip(names, choice))) for choice in choices]
