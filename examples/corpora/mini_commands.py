"""Commands to a home assistant, in the 18 scenarios of SLURP: our own wordings, none of the corpus's."""

from __future__ import annotations

from mini_texts import Grammar

# Shared between scenarios, so that a name or an hour does not say which it is.
_SLOTS = {
    "hour": "five|six|seven|eight|nine|ten|eleven",
    "part": "in the morning|in the evening|tonight|after lunch|this afternoon",
    "day": "today|tomorrow|on monday|on tuesday|on wednesday|on thursday|on friday|this weekend|next week",
    "person": "john|mary|sarah|my mother|my boss|david|emma|peter|my sister|uncle tom",
    "event": "meeting|party|dinner|birthday|lunch|interview|lesson|wedding",
    "number": "two|three|four|five|ten|twelve|twenty|thirty",
    "city": "london|paris|new york|berlin|rome|tokyo|madrid|chicago|sydney|moscow",
    "room": "kitchen|bedroom|bathroom|living room|hall|office|garage",
    "food": "eggs|rice|chicken|potatoes|bread|milk|tomatoes|fish|cheese|apples",
    "dish": "pizza|lasagne|apple pie|vegetable soup|pancakes|fried rice|chocolate cake|a burger",
    "genre": "jazz|rock|pop|country|classical|folk|blues|disco",
    "animal": "dogs|elephants|penguins|dragons|horses|whales|tigers",
    "device": "speaker|radio|television|phone|music player|headset",
    "list": "shopping|holiday|packing|birthday|work|weekend",
    "cuisine": "chinese|indian|thai|mexican|italian|greek|japanese",
    "network": "facebook|twitter|instagram|my page",
    "status": "i am on holiday|i got the job|the concert was great|my train is late|we have a new house|i feel ill",
    "topic": "football|the election|the economy|science|the storm|the film festival|the strike|health",
    "source": "the times|the bbc|the guardian|the local paper|the evening post",
    "destination": "airport|station|museum|hospital|zoo|stadium|theatre|beach",
    "spot": "bar|cafe|museum|park|restaurant|cinema|club|beach",
    "country": "france|brazil|india|canada|egypt|norway|peru|china|kenya|spain",
    "holiday": "christmas|easter|new year|halloween|mother's day|thanksgiving",
}

# Of each scenario the usual wordings, then one that is for test alone, then slots of its own.
_SCENARIOS: dict[str, tuple[tuple[str, ...], str, dict[str, str]]] = {
    "alarm": (
        (
            "wake me up at {hour} {day}",
            "set an alarm for {hour} {part}",
            "cancel my alarm for {hour} {day}",
            "which alarms are set for {part_of} {day}",
            "turn off the alarm at {hour} {part}",
            "i need an alarm at half past {hour} {day}",
        ),
        "make sure that i am awake by {hour} {day}",
        {"part_of": "the morning|the evening|the night"},
    ),
    "audio": (
        (
            "turn the volume of the {device} {way}",
            "make the {device} {louder}",
            "mute the {device} for {number} minutes",
            "set the volume to {number} percent in the {room}",
            "the sound of the {device} is too {loud}",
            "please be silent until {hour} {part}",
        ),
        "i can not hear the {device} in the {room}",
        {
            "way": "up|down|up a little|all the way down",
            "louder": "louder|quieter|much louder|a bit quieter",
            "loud": "loud|quiet|low|high",
        },
    ),
    "calendar": (
        (
            "remind me of the {event} with {person} {day}",
            "add a {event} with {person} {day} at {hour}",
            "what is on my calendar {day} at {hour}",
            "cancel the {event} with {person}",
            "when is my next {event} with {person}",
            "move the {event} to {hour} {day}",
        ),
        "am i free {day} at {hour}",
        {},
    ),
    "cooking": (
        (
            "how long should i {cook} the {food}",
            "give me a good recipe for {dish}",
            "what can i make with {food} and {more}",
            "how do i {cook} {food} with {more}",
            "how much {more} goes into {dish}",
            "which spice goes with {food} and {more}",
        ),
        "tell me the steps to prepare {dish}",
        {"cook": "boil|fry|bake|roast|steam|grill", "more": "butter|garlic|flour|sugar|onions|cream|salt"},
    ),
    "datetime": (
        (
            "what time is it in {city} {now}",
            "what will the date be {number} days from {day}",
            "how many days are there until {holiday}",
            "is it later in {city} or here {now}",
            "which day of the week is {holiday} this year",
            "tell me the time in {city} please",
        ),
        "what is the time difference between here and {city}",
        {"now": "now|right now|at the moment|at this time"},
    ),
    "email": (
        (
            "send an email to {person} about the {event}",
            "do i have new mail from {person} {day}",
            "read me the {last} email from {person}",
            "reply to {person} that i will be late {day}",
            "add the address of {person} to my contacts",
            "what is the email address of {person}",
        ),
        "write to {person} that the {event} is off",
        {"last": "last|first|newest|long"},
    ),
    "general": (
        (
            "tell me a {funny} joke about {animal}",
            "thank you {name}, that was {good}",
            "i did not understand the {nth} thing you said",
            "you are {good} at this, {name}",
            "never mind {name}, forget the {nth} {question}",
            "say that {question} again {manner}, {name}",
        ),
        "that is not what i asked, {name}",
        {
            "name": "olly|computer|my friend|dear|robot",
            "funny": "funny|short|new|good|silly",
            "good": "great|very nice|perfect|terrible|really good|awful",
            "nth": "first|second|last|other",
            "question": "question|answer|sentence|word",
            "manner": "slowly|louder|more clearly|please",
        },
    ),
    "iot": (
        (
            "switch {on} the lights in the {room} {part}",
            "make the lights in the {room} {colour}",
            "start the {appliance} {part}",
            "dim the lamp in the {room} by {number} percent",
            "turn {on} the {appliance} at {hour}",
            "clean the floor of the {room} {part}",
        ),
        "it is too dark in the {room}",
        {
            "on": "on|off",
            "colour": "red|blue|green|warm white|brighter|darker",
            "appliance": "coffee machine|vacuum cleaner|washing machine|heating|smart socket|dishwasher",
        },
    ),
    "lists": (
        (
            "add {food} to the {list} list",
            "what is on my {list} list {day}",
            "remove {food} from the {list} list",
            "create a new {list} list for the {event}",
            "delete my {list} list from {day_before}",
            "is there {food} on the {list} list",
        ),
        "put {food} down on the list for the {event}",
        {"day_before": "yesterday|last week|last month"},
    ),
    "music": (
        (
            "what is the name of this {song}",
            "i {like} this {genre} {song} very much",
            "who sings this {genre} {song}",
            "save this {song} to my favourite {genre} tunes",
            "which {genre} band wrote this {song}",
            "i {like} {genre} more than {genre_too}",
        ),
        "shuffle all of my {genre} songs",
        {
            "song": "song|track|tune|melody",
            "like": "like|love|hate|enjoy|dislike",
            "genre_too": "opera|techno|reggae|soul|metal",
        },
    ),
    "news": (
        (
            "what is the latest news about {topic}",
            "read me the headlines of {source} from {day}",
            "tell me what happened in {city} {day}",
            "is there any news on {topic} from {source}",
            "notify me when there is news about {topic}",
            "what does {source} say about {topic}",
        ),
        "keep me informed about {topic}",
        {},
    ),
    "play": (
        (
            "play {genre} music in the {room}",
            "play the {nth} episode of the podcast about {animal}",
            "play some {genre} {part}",
            "start the audio book about {animal} at chapter {number}",
            "put the radio station {station} on in the {room}",
            "let us have a game of {game} {part}",
        ),
        "i want to listen to {genre} {part}",
        {
            "nth": "first|second|third|last|newest",
            "station": "radio one|classic gold|city talk|magic",
            "game": "chess|cards|hangman|quiz",
        },
    ),
    "qa": (
        (
            "what is the capital of {country}",
            "how many people live in {country}",
            "who is the president of {country}",
            "what does the word {word} mean",
            "how much is {number} times {number_too}",
            "how many {currency} are {number} dollars",
        ),
        "where do {animal} live",
        {
            "word": "zeal|abrupt|gravity|candid|brisk|meadow|frugal|jolly",
            "number_too": "six|seven|nine|fifteen|eleven|forty",
            "currency": "euros|pounds|yen|pesos|rupees",
        },
    ),
    "recommendation": (
        (
            "recommend a {cuisine} restaurant in {city}",
            "which film should i see with {person} {day}",
            "are there any good {spot}s near {city}",
            "what is there to do in {city} {day}",
            "suggest a {spot} for {person}",
            "find me a nice {spot} in {city}",
        ),
        "where should i take {person} {day}",
        {},
    ),
    "social": (
        (
            "post a message on {network} that {status}",
            "tweet that {status} {day}",
            "what is new on {network} {day}",
            "how many people liked my {photo} on {network}",
            "complain to the {company} on {network}",
            "share my {photo} with {person} on {network}",
        ),
        "let everyone on {network} know that {status}",
        {"photo": "photo|video|story|post", "company": "bank|railway|phone company|shop|airline"},
    ),
    "takeaway": (
        (
            "order {dish} from the {cuisine} restaurant",
            "how long will the delivery of {dish} take",
            "does the {cuisine} place deliver {day}",
            "i would like {dish} to be delivered at {hour}",
            "where is my order from the {cuisine} place",
            "get me {cuisine} food for {hour} {day}",
        ),
        "i am hungry, have {dish} brought to me",
        {},
    ),
    "transport": (
        (
            "book a train to {city} {day}",
            "when does the next {vehicle} to {city} leave",
            "get me a taxi to the {destination} at {hour}",
            "how is the traffic on the way to the {destination}",
            "how much is a {vehicle} ticket to {city}",
            "which {vehicle} goes to {city} {day}",
        ),
        "how do i get to the {destination} by {vehicle}",
        {"vehicle": "bus|train|ferry|tram"},
    ),
    "weather": (
        (
            "will it {rain} in {city} {day}",
            "what is the weather like in {city} {day}",
            "do i need {clothes} {day}",
            "how {hot} will it get in {city} {day}",
            "is it going to be {sunny} in {city}",
            "what is the temperature in {city} {part}",
        ),
        "should i put on {clothes} {part}",
        {
            "rain": "rain|snow|freeze|hail",
            "clothes": "an umbrella|a coat|sun glasses|warm gloves|boots",
            "hot": "hot|cold|warm|windy",
            "sunny": "sunny|cloudy|foggy|stormy",
        },
    ),
}

SCENARIOS = {
    name: Grammar(templates, {**_SLOTS, **own}, (for_test,)) for name, (templates, for_test, own) in _SCENARIOS.items()
}
