"""Stories and poems, made so that every sentence fits the others.

A tiny model learns to keep a name, a pronoun and a goal straight only if the
text it reads always does.  A story is therefore one plot with its cast filled
in, and chance plays only where any choice gives a good sentence: [a|b|c].
"""
import re

import words as W

CHOICE = re.compile(r"\[([^\[\]]*)\]")


def choose(rng, text):
    """Replace every [a|b|c], innermost first, by one of its alternatives."""
    while True:
        m = CHOICE.search(text)
        if not m:
            return text
        text = text[:m.start()] + rng.choice(m.group(1).split("|")) + text[m.end():]


def article(noun):
    return ("an " if noun[0] in "aeiou" and not noun.startswith(("unicorn", "uni")) else "a ") + noun


def plural(noun):
    irregular = {"mouse": "mice", "wolf": "wolves", "sheep": "sheep", "goose": "geese", "deer": "deer", "salmon": "salmon", "trout": "trout", "carp": "carp", "tuna": "tuna", "shrimp": "shrimp", "bison": "bison", "leaf": "leaves",
                 "scarf": "scarves", "fish": "fish", "dwarf": "dwarfs",
                 "fisherman": "fishermen", "postman": "postmen", "snowman": "snowmen", "knife": "knives"}
    if noun in irregular:
        return irregular[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


HER = "girl queen princess witch fairy mermaid grandmother hen cow".split()
HIM = "boy king prince wizard knight grandfather snowman fisherman postman".split()
SMALL = "mouse bee ant frog snail kitten puppy lamb duck squirrel hedgehog rabbit button teapot spoon cup".split()


def cast(rng, hero=None, name=None, friend=None):
    """The people of a story: {kind}, {name}, pronouns, and a friend of another kind and name."""
    kind = hero or rng.choice(W.ANIMALS * 2 + W.PEOPLE + W.THINGS)
    her = kind in HER or (kind not in HIM and rng.random() < 0.5)
    if name:
        her = name in W.NAMES_HER
    name = name or rng.choice(W.NAMES_HER if her else W.NAMES_HIM)
    fkind = friend or rng.choice([a for a in W.ANIMALS + W.PEOPLE if a != kind])
    fher = fkind in HER or (fkind not in HIM and rng.random() < 0.5)
    fname = rng.choice([n for n in (W.NAMES_HER if fher else W.NAMES_HIM) if n != name])
    place = rng.choice(W.PLACES)
    return dict(
        kind=kind, akind=article(kind), name=name,
        he="she" if her else "he", He="She" if her else "He", his="her" if her else "his", him="her" if her else "him",
        himself="herself" if her else "himself",
        fkind=fkind, afkind=article(fkind), fname=fname,
        fhe="she" if fher else "he", fHe="She" if fher else "He", fhis="her" if fher else "his",
        place=place, Place=place[0].upper() + place[1:], thing=rng.choice(W.TREASURES), skill=rng.choice(W.SKILLS),
        fear=rng.choice(W.FEARS), food=rng.choice(W.FOODS), build=rng.choice(W.BUILDS))


OPENINGS = (
    "[Once upon a time|Once upon a time|Once upon a time|Long ago|Once], there was {akind} named {name} who lived {place}.",
    "[Once upon a time|Long ago], {akind} named {name} lived {place}.",
    "{Place} there lived {akind} named {name}.",
    "There was once {akind} [named|called] {name}, who lived {place}.",
    "[Once upon a time|Once] there was a [little|young|small|clever|kind|curious|shy|brave|cheerful] {kind} named {name}. {He} lived {place}.",
)

# Each plot goes on after the opening: trouble, a turn, an end.
PLOTS = (
    # something lost
    "One [morning|day], {name} lost {thing}. {He} looked under the bed, behind the door and in the grass, but it was "
    "[nowhere|not there]. Then {name} met {afkind}. \"[I can help you|Let us look together|Two can look better than one],\" said the {fkind}. "
    "They [searched|looked] until the sun went down, and at last they found it [near the well|under a big leaf|in an old nest|beside the path]. "
    "{name} was so happy that {he} [danced|laughed|sang]. [From that day on, they were friends.|That evening they shared {food} and talked until the stars came out.]",
    # a fear
    "{name} was afraid of {fear}. [Everyone knew it, and {name} was a little ashamed.|{He} told nobody about it.] One [evening|night], {he} heard {afkind} "
    "calling for help. {name} wanted to run away, but {he} took a deep breath and went to look. The {fkind} was stuck [in a hole|between two rocks|in the mud]. "
    "{name} pulled and pulled until the {fkind} was free. \"You are very brave,\" said the {fkind}. \"I was afraid,\" said {name}, \"but you needed me.\" "
    "[Since that night, {name} was not so afraid any more.|And that is what courage means.]",
    # sharing
    "One [cold|rainy|windy] day, {name} had only {food} left to eat. Then {afkind} knocked at the door. \"I am so hungry,\" said the {fkind}. "
    "{name} thought for a moment. Then {he} [cut it in two|shared it] and gave the {fkind} the bigger half. [The next day|A week later], the {fkind} came back with a whole basket of food. "
    "\"You shared with me when you had [little|almost nothing],\" said the {fkind}, \"so now I share with you.\" They ate together and were [happy|warm and happy].",
    # lost on the way
    "One day, {name} walked [too far|farther than ever before] and could not find the way home. It grew dark, and {he} began to [cry|worry]. "
    "Then a [soft|kind|friendly] voice said, \"Follow the [stars|river|light], and I will walk with you.\" It was {afkind} who knew every path. "
    "Together they walked [through the night|over the hills|slowly and carefully], and the {fkind} told funny stories on the way. When the sun came up, {name} saw {his} home. "
    "\"Thank you,\" said {name}. \"[With a friend, no way is too long|I was lost, and you found me].\"",
    # building
    "{name} wanted to build {build}. {He} worked all day, but in the evening it [fell apart|broke in two]. {name} was sad and wanted to give up. "
    "\"Do not give up,\" said {afkind}. \"[Let us try again, slowly this time|Let us find out why it broke].\" They [worked|thought and worked] together, "
    "and the second time they made it stronger. [At last it was ready|In the end it stood firm], and everybody came to look. {name} smiled and said, \"[The first try taught us how to do the second|Some things are easier with two].\"",
    # a race
    "One day there was a big race. {name} ran as fast as {he} could and was [first|far ahead]. Then {he} saw that {afkind} had fallen [in the mud|over a stone]. "
    "{name} stopped and helped the {fkind} to get up. They reached the [end|goal] together, and both were last. But the people clapped for them [louder than for anyone else|for a long time]. "
    "\"You lost the race,\" said the {fkind}, \"but you won a friend.\" [{name} thought that this was the better prize.|And {name} was very happy.]",
    # a seed
    "One [spring|day], {name} found a [small|tiny|strange] seed and put it into the ground. Every day {he} gave it water, but nothing [grew|happened]. \"It is only a stone,\" said {afkind}. "
    "But {name} was patient and went on. After [many days|three weeks], a green leaf came out of the ground. In summer it was a [beautiful|tall|golden] flower, and all the bees came to visit. "
    "\"How did you do it?\" asked the {fkind}. \"I waited,\" said {name}, [\"and I did not give up.\"|\"and I gave it water every day.\"]",
    # a storm
    "One night a great storm came. The wind was loud and the rain fell without end. {name} looked out of the window and saw [a small light|somebody] in the dark. It was {afkind} who had no home any more. "
    "\"Come in, [it is warm here|there is room for two],\" said {name}. {He} made [tea|soup] and gave the {fkind} a dry blanket. In the morning the storm was over. {name} and the {fkind} went out and built [a new home|the home again], "
    "[stronger than before|right next door]. Since then they have been neighbours and good friends.",
    # learning
    "{name} wanted to learn to {skill}. [The first day went badly|At first it was very hard], and some people laughed. But an old {fkind} said, \"[Try a little every day|Nobody is good at the beginning].\" "
    "So {name} tried [every morning|again and again]. After a while it went better, and after a year {he} could {skill} better than anyone in the [village|land]. "
    "Then a small child came and said, \"I want to learn it too.\" {name} smiled and said, \"[Try a little every day|Nobody is good at the beginning], and I will help you.\"",
    # loneliness
    "{name} was [often alone|lonely] and wished for a friend. One day {he} wrote a letter: \"Whoever finds this, please come for tea.\" The wind took the letter and carried it [over the hills|far away]. "
    "{name} waited one day, and two days, and three. On the fourth day somebody knocked. It was {afkind} with the letter. \"I found this,\" said the {fkind}. \"Is the tea still warm?\" "
    "{name} laughed, and they talked [until the evening|for hours]. {He} was never lonely again.",
    # a present
    "Tomorrow was the birthday of {his} friend, the {fkind}, and {name} had no present. {He} had no money, only {thing} that {he} loved very much. [All night {name} thought about it|{name} thought for a long time]. "
    "In the morning {he} wrapped it in paper and gave it to the {fkind}. The {fkind} opened it and [was very glad|could not believe it]. \"You gave me what you love most,\" said the {fkind}. "
    "\"[No,|Not quite,]\" said {name}, \"what I love most is my friend.\"",
    # a strange noise
    "One night {name} heard a strange noise. [Knock, knock, knock|Tap, tap, tap]! \"[Is it a ghost|Is it a monster]?\" thought {name} and hid under the blanket. But the noise did not stop. "
    "At last {name} took a [lamp|candle] and went to look. There stood a [small|little|wet] {fkind} in front of the door. \"I only wanted to ask for [some light|a cup of tea|a warm place],\" said the {fkind}. "
    "{name} laughed and let the {fkind} in. \"[The dark makes small things big|Next time I will look first and be afraid later],\" said {name}.",
    # a star
    "Every night {name} looked at the stars and made a wish. {He} wished to [see the whole world|fly|visit the moon]. One night a star fell [into the garden|from the sky] and said, \"I am lost. Can you help me to go home?\" "
    "{name} climbed the highest [hill|tree] and held the star up [high|to the sky]. A warm wind came and lifted both of them, high over the roofs and the [rivers|fields]. {name} saw everything from above. "
    "When {he} woke up in the morning, there was [silver dust|a little light] on {his} hand. {He} smiled and told nobody but {his} best friend, the {fkind}.",
    # winter
    "Winter was coming, and {name} had [not gathered any food|only a little wood for the fire]. All summer {he} had [sung and danced|played in the sun]. \"What shall I do now?\" {he} said. "
    "But {afkind} heard it and opened the door. \"Come in,\" said the {fkind}. \"I have enough for two, and you know so many [songs|stories].\" So all winter long {name} [sang|told stories] while the snow fell, "
    "and the {fkind} cooked soup. In spring {name} said, \"Next summer I will work with you, and then we will both sing.\"",
    # a river
    "One day {name} came to a wide river. On the other side stood {afkind} [and waved|and called]. \"I cannot come to you,\" called {name}. \"The water is too [deep|fast].\" "
    "\"Then let us build a bridge,\" called the {fkind}. {name} put one stone into the water, and the {fkind} put one stone from the other side. They did so every day. "
    "[In autumn|After a month], there was only one stone missing, and they laid it together. Since then [everyone can cross the river|it is called the Bridge of Friends].",
    # a secret
    "{name} had a secret: every night {he} [painted pictures|wrote little songs|built tiny boats], but {he} never showed them to anyone. \"They are not good enough,\" {he} thought. One day the wind blew the door open, and {afkind} looked in. "
    "\"Did you make all this?\" asked the {fkind}. \"It is wonderful!\" {name} turned red. [The next day|Soon] the whole village came to see it. {name} learned that [a gift grows when you show it|it is good to share what you love].",
    # the big and the small
    "The others often laughed at {name} and said, \"You are too [small|slow|quiet] to help.\" One day {afkind} fell into a deep hole, and nobody could help. {name} came and [looked carefully|thought for a while]. "
    "Then {he} tied a long rope to a tree and let it down. \"Hold on!\" called {name}, and everybody pulled together. Soon the {fkind} stood in the sun again. "
    "After that nobody laughed at {name} any more. \"[It is not size that counts|A good idea is stronger than a big arm],\" said the {fkind}.",
)

SHORT_PLOTS = (
    "One day {he} found {thing} and gave it to {afkind} who was very sad. The {fkind} smiled for the first time in weeks. {name} went home happy.",
    "{name} wanted to {skill}, and everyone said it was too hard. {He} tried every day. After a year, {name} could do it, and {he} taught it to {afkind}.",
    "One evening {he} met {afkind} with no place to sleep. {name} made room in {his} little house. From then on neither of them was alone.",
    "{name} was afraid of {fear}. But when {afkind} needed help, {name} went at once. After that {he} was not so afraid any more.",
    "One day {name} shared {food} with {afkind}. The next day the {fkind} shared with {name}. So they became friends.",
)

ENDINGS = ("", "", "", "", " The end.", " And they lived happily ever after.", " And if you walk there today, you can still hear them laugh.")


def story(rng, hero=None, name=None, friend=None, short=False):
    c = cast(rng, hero, name, friend)
    plot = rng.choice(SHORT_PLOTS if short else PLOTS)
    text = rng.choice(OPENINGS) + " " + plot + ("" if short else rng.choice(ENDINGS))
    return choose(rng, text.format(**c))


# Verses by theme: couplets that end in a rhyme; any two of a theme make a poem.
COUPLETS = {
    "the sea": ("The sea is wide, the sea is deep,\nIt sings the little boats to sleep.",
                "The waves roll in, the waves roll out,\nThey whisper first and then they shout.",
                "I hear the song of wind and foam,\nIt calls the tired sailor home.",
                "The gulls fly high above the bay,\nAnd carry all my cares away."),
    "the moon": ("The moon looks in my window bright,\nAnd fills the room with silver light.",
                 "She walks alone across the sky,\nAnd waves at clouds that wander by.",
                 "O moon, you watch the world below,\nYou paint the hills as white as snow.",
                 "When morning comes, you fade away,\nAnd sleep behind the light of day."),
    "rain": ("The rain is tapping on the pane,\nIt sings its quiet song again.",
             "It waters every field and tree,\nAnd runs in rivers to the sea.",
             "The street is shining, wet and grey,\nThe puddles ask me out to play.",
             "And when at last the clouds are gone,\nA rainbow lights the silver lawn."),
    "winter": ("The snow falls softly on the ground,\nIt covers all without a sound.",
               "The lake is ice, the fields are white,\nThe stars are burning in the night.",
               "Inside, a fire warms the room,\nAnd keeps away the winter gloom.",
               "Beneath the snow the flowers stay,\nAnd dream about a warmer day."),
    "spring": ("The snow is gone, the air is mild,\nThe brook runs laughing like a child.",
               "The first green leaves are on the tree,\nThe garden hums with many a bee.",
               "The birds are back, they sing all day,\nThey chase the last of frost away.",
               "O spring, you open every door,\nAnd make the old world young once more."),
    "summer": ("The sun is high, the days are long,\nThe field is full of cricket song.",
               "We swim and run and lie in hay,\nAnd wish that summer days would stay.",
               "The evening comes with golden light,\nAnd warm and gentle is the night.",
               "The apples grow, the wheat stands tall,\nThe sun has gifts enough for all."),
    "autumn": ("The leaves are red, the leaves are gold,\nThe wind is fresh, the nights are cold.",
               "The swallows leave, they know the way,\nThey will be back again in May.",
               "We gather apples, nuts and grain,\nAnd listen to the autumn rain.",
               "The year grows quiet, soft and slow,\nAnd waits for winter's early snow."),
    "a cat": ("My cat is sleeping in the sun,\nHer busy day has just begun.",
              "She stretches out from nose to tail,\nA little ship without a sail.",
              "She hunts at night on quiet feet,\nAnd dreams of fish that she will eat.",
              "And when she purrs upon my knee,\nI know that she is fond of me."),
    "a dog": ("My dog is waiting at the door,\nHe wants to run an hour more.",
              "He wags his tail, he jumps around,\nHe sniffs at every bit of ground.",
              "In rain or sun, in dark or light,\nHe guards my house all through the night.",
              "No matter what I say or do,\nA dog will be a friend to you."),
    "love": ("Love is a light that does not end,\nIt turns a stranger to a friend.",
             "It asks for little, gives a lot,\nIt keeps you warm when days are not.",
             "It is a word, a hand, a smile,\nIt walks beside you mile by mile.",
             "And where it grows, in sun or rain,\nThe heart will bloom and bloom again."),
    "friendship": ("A friend is someone who will stay,\nWhen all the rest have gone away.",
                   "We share our bread, we share a song,\nThe way with you is never long.",
                   "You know my faults, you like me still,\nYou help me climb the highest hill.",
                   "So take my hand and let us go,\nThrough summer sun and winter snow."),
    "the stars": ("The stars are lamps so far and small,\nThey shine for you, they shine for all.",
                  "They tell no tales, they make no sound,\nThey only turn around, around.",
                  "I count them all, I lose my way,\nI start again another day.",
                  "And when I sleep, they watch and gleam,\nAnd lay their light upon my dream."),
    "a tree": ("A tree stands quiet on the hill,\nIts roots are deep, its leaves are still.",
               "It gives us shade, it gives us air,\nIt gives the birds a home up there.",
               "A hundred winters it has seen,\nAnd every spring it turns to green.",
               "I lean against it, close my eyes,\nAnd feel it reaching for the skies."),
    "the night": ("The day is done, the lamps are lit,\nBeside the fire now we sit.",
                  "The owl is calling from the tree,\nThe dark is soft as it can be.",
                  "The houses sleep, the streets are bare,\nA smell of rain is in the air.",
                  "Good night, good night, the stars are near,\nThere is no thing for you to fear."),
    "the sun": ("The sun gets up and lights the land,\nIt warms the sea, it warms the sand.",
                "It wakes the birds, it wakes the bees,\nIt plays with shadows in the trees.",
                "It paints the evening red and gold,\nA fire that is never old.",
                "Good night, dear sun, come back once more,\nAnd knock at morning's open door."),
    "a computer": ("A little light, a quiet hum,\nIt waits all day for words to come.",
                   "It counts in ones and zeros fast,\nAnd keeps the present and the past.",
                   "It does not eat, it does not sleep,\nIt has a thousand things to keep.",
                   "But what to ask and where to start,\nIs still a matter for the heart."),
    "home": ("A lamp, a chair, an open door,\nA coat, a cat upon the floor.",
             "The kettle sings, the bread is warm,\nThe walls keep out the wind and storm.",
             "Wherever I may have to roam,\nMy feet will find the path to home.",
             "And those who wait for me inside,\nAre worth the whole wide world outside."),
    "a bird": ("A little bird upon the tree,\nIs singing out for you and me.",
               "It has no gold, it has no ring,\nBut all it needs to do is sing.",
               "It spreads its wings and off it goes,\nTo where the wind of summer blows.",
               "I wish that I could fly as high,\nAnd see the world from in the sky."),
    "a river": ("The river starts as one small spring,\nA clear and cold and quiet thing.",
                "It runs past village, field and town,\nIt turns the mill wheels going down.",
                "It never stops, it never stays,\nIt sings through all its nights and days.",
                "And at the end, so wide and free,\nIt gives its water to the sea."),
    "a flower": ("A flower opens in the sun,\nIts quiet work has just begun.",
                 "It feeds the bee, it scents the air,\nIt does not know that it is fair.",
                 "The rain may fall, the wind may blow,\nIt bends its head and goes on so.",
                 "And when it fades, it leaves a seed,\nA gift for every bird in need."),
}


def poem(rng, theme):
    lines = list(COUPLETS[theme])
    pick = sorted(rng.sample(range(4), rng.choice((2, 2, 3, 4))))
    return "\n".join(lines[i] for i in pick)
