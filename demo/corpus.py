"""Writes the text that the demo model learns from: conversations and stories.

There is no data set: everything comes from the word lists, plots and answers
beside this file, put together by chance from one seed.  A document is either
("chat", [(role, text), ...]) or ("text", text).  To look at some:

    python3 corpus.py 20
"""
import random
import re
import sys

import intents as I
import stories as S
import words as W


def expand_all(text):
    """Every reading of a text with [a|b] choices (no nesting)."""
    m = S.CHOICE.search(text)
    if not m:
        return [text]
    return [r for a in m.group(1).split("|") for r in expand_all(text[:m.start()] + a + text[m.end():])]


def parse_intents(block):
    """[(questions, answers)] from blocks of Q: and A: lines."""
    out = []
    for part in block.strip().split("\n\n"):
        q, a = [], []
        for line in part.splitlines():
            if line.startswith("Q: "):
                q += expand_all(line[3:])
            elif line.startswith("A: "):
                a.append(line[3:].replace("~", "\n"))
        assert q and a, part
        out.append((q, a))
    return out


ABOUT = parse_intents(I.ABOUT)
SMALLTALK = parse_intents(I.SMALLTALK)
ADVICE = W.table(I.ADVICE)
UNKNOWN_TOPICS = [t.strip() for t in I.UNKNOWN_TOPICS.replace("\n", "").split(";")]
UNKNOWN_OTHER = I.UNKNOWN_OTHER.strip().splitlines()
UNKNOWN_ANSWERS = I.UNKNOWN_ANSWERS.strip().splitlines()
STATES = W.table(I.STATES)
STATEMENTS = W.table(I.STATEMENTS, "=")
CATEGORIES = [(k, [m.strip() for m in v.split(",")]) for k, v in W.table(I.KINDS)]
COLOUR_NAMES = "red blue green yellow black white brown orange purple pink grey".split()
UNKNOWN_PEOPLE = [t.strip() for t in I.UNKNOWN_PEOPLE.replace("\n", "").split(";")]
UNKNOWN_PLACES = [t.strip() for t in I.UNKNOWN_PLACES.replace("\n", "").split(";")]
NEGATIVE_NOUNS = [t.strip() for t in I.NEGATIVE_NOUNS.replace("\n", "").split(";")]
POEMS = list(S.COUPLETS)
HEROES = W.ANIMALS + W.PEOPLE + W.THINGS

QUESTION_WORDS = set("who what what's how why when where which is are do does can could will would whom was did whose at".split())


# ---- how people type -------------------------------------------------------

def typo(rng, s):
    i = rng.randrange(1, max(2, len(s) - 1))
    kind = rng.randrange(3)
    if kind == 0:
        return s[:i] + s[i + 1:]
    if kind == 1:
        return s[:i] + s[i:i + 1] + s[i:]
    return s[:i - 1] + s[i:i + 1] + s[i - 1:i] + s[i + 1:]


def fix_names(s):
    """Questions are listed in lower case; write I, Linux and the like as people do."""
    s = re.sub(r"\bi\b", "I", s)
    for low, proper in (("linux", "Linux"), ("debian", "Debian"), ("gguf", "GGUF"), ("openai", "OpenAI"), ("gpu", "GPU"),
                        ("unix", "Unix"), ("api", "API"), ("cpu", "CPU")):
        s = re.sub(r"\b%s\b" % low, proper, s)
    return s


def typed(rng, q, plain=False):
    """A question as a person would type it: politeness, capitals, marks and slips vary."""
    q = q.strip()
    question = q.split()[0].lower() in QUESTION_WORDS
    if not plain and len(q) > 6:
        r = rng.random()
        if r < 0.03:
            q = "please " + q
        elif r < 0.08:
            q = rng.choice(("hi, ", "hello, ", "hey, ", "ok, ", "so ", "and ", "now ", "well, ", "hello! ", "hi! ", "hello. ", "good morning, ", "thanks. ", "okay, ", "great, ")) + q
        elif r < 0.11 and not q[-1] in "?!.":
            q = q + rng.choice((" please", ", please"))
    q = fix_names(q)
    if rng.random() < 0.72:
        q = q[0].upper() + q[1:]
    elif rng.random() < 0.8:
        q = q.lower()
    if q[-1] not in "?!.":
        r = rng.random()
        if question:
            q += "?" if r < 0.75 else ""
        else:
            q += "." if r < 0.3 else "!" if r < 0.4 else ""
    if not plain and len(q) > 8 and rng.random() < 0.04:
        q = typo(rng, q)
    return q


# ---- single exchanges: each returns (question, answer) ----------------------

def about(rng):
    q, a = rng.choice(ABOUT)
    return typed(rng, rng.choice(q)), rng.choice(a)


def smalltalk(rng):
    q, a = rng.choice(SMALLTALK)
    return typed(rng, rng.choice(q)), rng.choice(a)


def advice(rng):
    if rng.random() < 0.15:
        state, a = rng.choice(STATES)
        return typed(rng, S.choose(rng, I.STATE_FORMS.format(state))), a
    topic, a = rng.choice(ADVICE)
    return typed(rng, S.choose(rng, I.ADVICE_FORMS.format(topic))), a


def fantasy_word(rng):
    parts = "ba be bo da de do fa fi ga go ka ke ki la le lo ma mi mo na ne ni pa po ra re ri sa si ta te to va vi za zo zu lan mor tek vin dor bel gar lim tan qua xi yor".split()
    return "".join(rng.choice(parts) for _ in range(rng.choice((2, 3, 3, 4))))


def unknown_question(rng):
    r = rng.random()
    if r < 0.06:
        return S.choose(rng, "[who is|who was|tell me about|what do you know about|when was the birth of|what did they say about] ") + \
            rng.choice(UNKNOWN_PEOPLE + [rng.choice(W.NAMES_HER + W.NAMES_HIM) + " " + fantasy_word(rng).capitalize() for _ in range(20)])
    if r < 0.12:
        return S.choose(rng, "[what is the capital of|what is the capital of|capital of|how many people live in|what is|how big is|who rules|tell me about] ") + rng.choice(UNKNOWN_PLACES)
    if r < 0.32:
        x = rng.choice(NEGATIVE_NOUNS)
        return S.choose(rng, I.NEGATIVE_FORMS).format(x=x, a=S.article(x), xs=S.plural(x))
    if r < 0.65:
        return S.choose(rng, I.UNKNOWN_FORMS.format(rng.choice(UNKNOWN_TOPICS)))
    if r < 0.90:
        return S.choose(rng, rng.choice(UNKNOWN_OTHER))
    w = fantasy_word(rng)
    w = w.capitalize() if rng.random() < 0.5 else w
    return S.choose(rng, rng.choice((
        "[what is|who is|tell me about|explain|what does|do you know|where is|who was|what was] %s" % w,
        "[what is the capital of|how many people live in|which language do they speak in|where is] %s" % w,
        "%s" % w, "%s %s %s" % (fantasy_word(rng), w, fantasy_word(rng)),
        "what is the [difference between|best] %s and %s" % (w, fantasy_word(rng)))))


def unknown(rng):
    return typed(rng, unknown_question(rng)), rng.choice(UNKNOWN_ANSWERS)


def statement(rng):
    """Something the user tells; the answer takes up a word of it."""
    q, a = rng.choice(STATEMENTS)
    animal, (job_name, does), (country, _), colour_name = rng.choice(W.ANIMALS), rng.choice(W.JOBS), rng.choice(W.CAPITALS), rng.choice(COLOUR_NAMES)
    slots = dict(animal=animal, animals=S.plural(animal), Animals=S.plural(animal).capitalize(), name=rng.choice(W.NAMES_HER + W.NAMES_HIM),
                 country=country, n=rng.randrange(5, 90), job=job_name, Job=job_name[0].upper() + job_name[1:], does=does,
                 colour=colour_name, Colour=colour_name.capitalize(), skill=rng.choice(W.SKILLS), fear=rng.choice(W.FEARS),
                 food=rng.choice(W.FOODS), day=rng.choice(W.DAYS))
    q = S.choose(rng, q).format(**slots).strip().replace("a elephant", "an elephant").replace("a owl", "an owl").replace("a eagle", "an eagle").replace("a ant", "an ant").replace("a octopus", "an octopus").replace("a otter", "an otter")
    a = re.sub(r"\ba ([aeio])", r"an \1", a.format(**slots))
    q = q[0].upper() + q[1:] if rng.random() < 0.7 else q
    return q + rng.choice(("", ".", ".", "!")), a


def kind_of(rng):
    name, members = rng.choice(CATEGORIES)
    many = S.plural(name) if name != "fish" else "fish"
    if rng.random() < 0.45:
        names = name in ("colour", "country", "city", "planet")
        n = rng.choice((3, 3, 4, 5))
        shown = [m if names else S.plural(m) for m in members[:n]]
        if rng.random() < 0.4:
            count = rng.choice((str(n), W.NUMBERS[n]))
            q = S.choose(rng, "[name %s %s|tell me %s %s|list %s %s|give me %s %s]" % ((count, many) * 4))
            return typed(rng, q), "%s %s are %s." % (W.NUMBERS[n].capitalize(), many, ", ".join(shown[:-1]) + " and " + shown[-1])
        q = S.choose(rng, "[name some {0}|tell me some {0}|list some {0}|which {0} do you know|what {0} do you know|give me some {0}|do you know some {0}|name a few {0}]".format(many))
        text = ", ".join(shown[:-1]) + " and " + shown[-1]
        return typed(rng, q), "Some %s are %s." % (many, text)
    thing = rng.choice(members)
    if name == "colour":
        return colour(rng)
    if name in ("country", "city", "planet"):
        return typed(rng, "is %s %s" % (thing, S.article(name))), "Yes, %s is %s." % (thing, S.article(name))
    is_a = "is %s %s" % (S.article(thing), S.article(name))
    if rng.random() < 0.5:
        return typed(rng, is_a), "Yes, %s is %s." % (S.article(thing), S.article(name))
    other, _ = rng.choice([c for c in CATEGORIES if c[0] not in (name, "colour", "animal") and not (name == "animal" and c[0] in ("bird", "fish", "insect"))])
    q = "is %s %s" % (S.article(thing), S.article(other))
    return typed(rng, q), "No, %s is %s." % (S.article(thing), S.article(name))


def big_sum(rng):
    a, b = rng.randrange(21, 5000), rng.randrange(21, 5000)
    op = rng.choice(("plus", "minus", "times", "divided by", "+", "-", "*", "/"))
    return typed(rng, rng.choice(("what is %d %s %d", "%d %s %d", "how much is %d %s %d", "calculate %d %s %d")) % (a, op, b), plain=True), \
        "I can only do small sums, with numbers up to twenty. A bigger model can do more: put its GGUF file into the models path."


def country(rng):
    """What the lists know about a country, in one or two sentences."""
    name = rng.choice([c for k in W.CONTINENTS for c in W.CONTINENTS[k]])
    where = next(k for k in W.CONTINENTS if name in W.CONTINENTS[k])
    text = "%s is a country in %s. Its capital is %s." % (name, where, dict(W.CAPITALS)[name])
    if name in dict(W.LANGUAGES):
        text += " People there speak %s." % dict(W.LANGUAGES)[name]
    q = S.choose(rng, "[tell me about|what is|what do you know about|describe|what can you tell me about] ") + name
    return typed(rng, q), text


def go_on(rng):
    """The user begins a story in the chat; the model goes on with it."""
    hero = rng.choice(HEROES)
    c = S.cast(rng, hero)
    opening = S.choose(rng, rng.choice(S.OPENINGS).format(**c))
    rest = S.choose(rng, rng.choice(S.PLOTS).format(**c))
    if rng.random() < 0.4:
        q = rng.choice(("once upon a time", "Once upon a time", "Once upon a time...", "once upon a time there was", "Once upon a time, there was"))
        return q, S.story(rng)
    return rng.choice(("", "", "continue: ", "continue this story: ", "Go on: ")) + opening, rest


def capital(rng):
    country, city = rng.choice(W.CAPITALS)
    r = rng.random()
    if r < 0.8:
        q = S.choose(rng, "[what is the capital of|what is the capital of|what's the capital of|capital of|the capital of|tell me the capital of|which city is the capital of|do you know the capital of|name the capital of|what is the capital city of] " + country)
        return typed(rng, q), "The capital of %s is %s." % (country, city)
    country, city = rng.choice([c for c in W.CAPITALS if not c[0].startswith(("the U", "England"))] + [("the United Kingdom", "London"), ("the United States", "Washington, D.C.")])
    q = S.choose(rng, "[tell me about|what is|which country has the capital|where is|in which country is|what country is {0} in|{0} is the capital of which country|where is the city of] {0}".replace("{0}", city))
    q = q.replace("%s in %s" % (city, city), city + " in").replace("which country " + city, "which country")
    return typed(rng, q), "%s is the capital of %s." % (city, country)


def continent(rng):
    name = rng.choice(list(W.CONTINENTS))
    country = rng.choice(W.CONTINENTS[name])
    q = S.choose(rng, "[where is %s|on which continent is %s|which continent is %s in|where can I find %s]" % ((country,) * 4))
    return typed(rng, q), "%s is in %s." % (country, name)


def language(rng):
    country, lang = rng.choice(W.LANGUAGES)
    q = S.choose(rng, "[what language do they speak in|which language do people speak in|what do people speak in|what is the language of|which language is spoken in|what language is spoken in] " + country)
    return typed(rng, q), "People in %s speak %s." % (country, lang)


def animal(rng):
    name, rest = rng.choice(W.ANIMAL_FACTS)
    young, home, food, sound, legs = [x.strip() for x in rest.split(",")]
    A = S.article(name).capitalize()
    leg = "%s has %s legs." % (A, legs)
    if name == "whale" or legs == "no" and name != "snake":
        leg = "%s has no legs, but it swims very well." % A
    them, a = S.plural(name), S.article(name)
    q, ans = rng.choice((
        ("[what is a baby %s called|what do you call a baby %s|what is a young %s|what is the name of a young %s]" % ((name,) * 4), "A young %s is called %s." % (name, S.article(young))),
        ("[where do %s live|where does %s live|where can I find %s|where is the home of %s]" % (them, a, them, them), "%s live %s." % (them.capitalize(), home)),
        ("[what do %s eat|what does %s eat|what is the food of %s|what should I feed %s]" % (them, a, them, a), "%s eat %s." % (them.capitalize(), food)),
        ("[what sound does %s make|what does %s say|which sound do %s make|what noise does %s make]" % (a, a, them, a), "%s %s." % (A, sound)),
        ("[how many legs does %s have|how many legs do %s have|how many feet does %s have]" % (a, them, a), leg),
        ("[tell me about %s|what do you know about %s|what is %s|describe %s]" % (them, them, a, a), "%s live %s and eat %s. A young %s is called %s." % (them.capitalize(), home, food, name, S.article(young))),
    ))
    return typed(rng, S.choose(rng, q)), ans


def colour(rng):
    thing, c = rng.choice(W.COLOURS)
    word = rng.choice(("colour", "color"))
    q = S.choose(rng, "[what {1} is {0}|which {1} is {0}|what {1} does {0} have|what is the {1} of {0}|tell me the {1} of {0}]").format(thing, word)
    return typed(rng, q), "%s is %s." % (thing[0].upper() + thing[1:], c)


def opposite(rng):
    a, b = rng.choice(W.OPPOSITES)
    if (a, b) not in (("new", "old"), ("light", "dark"), ("hard", "soft")) and b not in ("old", "light") and rng.random() < 0.4:
        if b not in dict(W.OPPOSITES):
            a, b = b, a
    q = S.choose(rng, "[what is the opposite of|what's the opposite of|opposite of|tell me the opposite of|the opposite of] " + a)
    return typed(rng, q), "The opposite of %s is %s." % (a, b)


def rhyme(rng):
    w, r = rng.choice(W.RHYMES)
    q = S.choose(rng, "[what rhymes with|which words rhyme with|find a rhyme for|give me a rhyme for|what is a rhyme for|tell me words that rhyme with] " + w)
    return typed(rng, q), "%s rhymes with %s." % (w.capitalize(), r)


def repeat(rng):
    """Say it again: the shortest way to teach a network to copy, which names in stories need too."""
    r = rng.random()
    if r < 0.6:
        bag = rng.choice((W.NAMES_HER + W.NAMES_HIM, W.NAMES_HER + W.NAMES_HIM, HEROES, NEGATIVE_NOUNS, COLOUR_NAMES, [fantasy_word(rng) for _ in range(8)]))
        text = " ".join(rng.choice(bag) for _ in range(rng.choice((1, 2, 3, 4, 6, 8, 12))))
    elif r < 0.8:
        text = rng.choice(re.split(r"(?<=[.!?]) ", S.choose(rng, rng.choice(S.PLOTS).format(**S.cast(rng)))))
    else:
        text = " ".join(S.choose(rng, "{name} [met|saw|likes|helps|knows] {fname} the {fkind}.").format(**S.cast(rng)) for _ in range(rng.choice((1, 2, 3))))
    ask = rng.choice(("repeat: ", "Repeat: ", "Repeat after me: ", "repeat after me: ", "Say: ", "say ", "Say ", "Please repeat: ", "Write: ", "Please say: "))
    return ask + text, text


def definition(rng):
    w, d = rng.choice(W.DEFINITIONS)
    bare = re.sub("^(an?|the) ", "", w)
    q = S.choose(rng, "[what is {0}|what is {0}|what is {0}|what's {0}|explain {0}|define {1}|what does {1} mean|what is meant by {1}|explain what {0} is|tell me what {0} is|can you explain {0}|do you know what {0} is|what is the meaning of {1}]".format(w, bare))
    verb = "is"
    return typed(rng, q), "%s %s %s." % (w[0].upper() + w[1:], verb, d)


def job(rng):
    w, d = rng.choice(W.JOBS)
    q = S.choose(rng, "[what does {0} do|what is {0}|what is the job of {0}|what is the work of {0}|explain what {0} does]".format(w))
    return typed(rng, q), "%s %s." % (w[0].upper() + w[1:], d)


def amount(rng):
    q, a = rng.choice(W.AMOUNTS)
    if rng.random() < 0.3:
        q = q.replace("How many", "Tell me how many", 1) if q.startswith("How many") else q
        q = re.sub("^What is", rng.choice(("What's", "Tell me: what is", "Do you know what is")), q)
        q = q.replace("colours", "colors") if rng.random() < 0.3 else q
    return typed(rng, q[0].lower() + q[1:]), a


def calendar(rng):
    seq, what = rng.choice(((W.DAYS, "day"), (W.MONTHS, "month")))
    i = rng.randrange(len(seq))
    if rng.random() < 0.6:
        q = S.choose(rng, "[what comes after {0}|which %s comes after {0}|what %s is after {0}|what is the %s after {0}|what follows {0}]" % (what, what, what)).format(seq[i])
        return typed(rng, q), "After %s comes %s." % (seq[i], seq[(i + 1) % len(seq)])
    q = S.choose(rng, "[what comes before {0}|which %s comes before {0}|what %s is before {0}|what is the %s before {0}]" % (what, what, what)).format(seq[i])
    return typed(rng, q), "Before %s comes %s." % (seq[i], seq[i - 1])


def division(rng):
    b, v = rng.randrange(1, 11), rng.randrange(11)
    q = rng.choice(("what is {a} divided by {b}", "{a} divided by {b}", "divide {a} by {b}", "{a} / {b}", "{a}/{b}", "how much is {a} divided by {b}", "what is {a} / {b}"))
    return typed(rng, q.format(a=b * v, b=b), plain=True), "%d divided by %d is %d." % (b * v, b, v)


def arithmetic(rng):
    if rng.random() < 0.06:
        return division(rng)
    if rng.random() < 0.06:
        return big_sum(rng)
    op = rng.choice(("plus", "plus", "plus", "minus", "times"))
    if op == "plus":
        a, b = rng.randrange(11), rng.randrange(11)
        if rng.random() < 0.3:
            a = rng.randrange(21)
            b = rng.randrange(21 - a)
        value, sign = a + b, "+"
    elif op == "minus":
        a = rng.randrange(11) if rng.random() < 0.5 else rng.randrange(21)
        b = rng.randrange(a + 1)
        value, sign = a - b, "-"
    else:
        a, b = rng.randrange(11), rng.randrange(11)
        value, sign = a * b, rng.choice(("*", "x"))
    if rng.random() < 0.12 and max(a, b) <= 10 and value <= 20:
        A, B, V = W.NUMBERS[a], W.NUMBERS[b], W.NUMBERS[value]
        return typed(rng, S.choose(rng, "[what is|what's|how much is|calculate|] %s %s %s" % (A, op, B))), "%s %s %s is %s." % (A.capitalize(), op, B, V)
    forms = ["what is {a} {op} {b}"] * 3 + ["what's {a} {op} {b}", "how much is {a} {op} {b}", "{a} {op} {b}", "calculate {a} {op} {b}",
             "{a} {s} {b}", "{a}{s}{b}", "{a} {s} {b} =", "{a}{s}{b}=", "what is {a} {s} {b}", "what is {a}{s}{b}", "how much is {a} {s} {b}"]
    if op == "plus":
        forms += ["what is the sum of {a} and {b}", "add {a} and {b}", "what do you get if you add {a} and {b}"]
    if op == "times":
        forms += ["multiply {a} by {b}", "multiply {a} and {b}"]
    if op == "minus":
        forms += ["subtract {b} from {a}"]
    q = rng.choice(forms).format(a=a, b=b, op=op, s=sign)
    return typed(rng, q, plain=True), "%d %s %d is %d." % (a, op, b, value)


def compare(rng):
    a, b = rng.sample(range(21), 2)
    big = rng.random() < 0.5
    q = S.choose(rng, "[which is %s, %d or %d|what is %s, %d or %d|which number is %s: %d or %d]" % ((("[bigger|larger]" if big else "smaller"), a, b) * 3))
    hi, lo = max(a, b), min(a, b)
    return typed(rng, q), ("%d is bigger than %d." % (hi, lo) if big else "%d is smaller than %d." % (lo, hi))


def next_number(rng):
    n = rng.randrange(1, 40)
    if rng.random() < 0.5:
        return typed(rng, S.choose(rng, "[what number comes after %d|what comes after %d|which number comes after %d|what is the next number after %d]" % ((n,) * 4))), "After %d comes %d." % (n, n + 1)
    return typed(rng, S.choose(rng, "[what number comes before %d|what comes before %d|which number comes before %d]" % ((n,) * 3))), "Before %d comes %d." % (n, n - 1)


def joke(rng):
    q = S.choose(rng, "[tell me a joke|tell a joke|a joke please|do you know a joke|make a joke|joke|say something funny|do you know any jokes|can you tell me a joke|tell me something funny|give me a joke|make me laugh]")
    return typed(rng, q), " ".join(rng.choice(W.JOKES))


def riddle(rng):
    q = S.choose(rng, "[tell me a riddle|give me a riddle|do you know a riddle|a riddle please|riddle|ask me a riddle]")
    a, b = rng.choice(W.RIDDLES)
    return typed(rng, q), "%s The answer: %s" % (a, b[0].lower() + b[1:] if b.startswith("A ") else b)


STORY_ASK = "[tell me a story|tell me a story|tell me a story|tell a story|write a story|write me a story|can you tell me a story|make up a story|I want a story|I would like to hear a story|please tell me a story|give me a story|story|tell me a fairy tale|tell me a bedtime story|write a little story|tell me another story]"


def tell_story(rng):
    r = rng.random()
    if r < 0.12:
        return typed(rng, S.choose(rng, STORY_ASK + "[||| for children| before I sleep]")), S.story(rng)
    short = rng.random() < 0.15
    ask = S.choose(rng, STORY_ASK)
    if short:
        ask = ask.replace("a story", rng.choice(("a short story", "a very short story")))
        short = "short" in ask
    if r < 0.16:
        theme = rng.choice("friendship;love;courage;honesty;patience;a long journey;a secret;the winter;a storm;animals;children;two friends;something nice;luck;a birthday".split(";"))
        return typed(rng, "%s about %s" % (ask, theme)), S.story(rng, short=short)
    # A made-up creature now and then: the model must copy the word, not know it.
    hero = rng.choice(HEROES) if rng.random() < 0.7 else rng.choice((fantasy_word(rng), rng.choice(NEGATIVE_NOUNS)))
    if r < 0.70:
        return typed(rng, "%s about %s" % (ask, rng.choice((S.article(hero),) * 6 + ("the " + hero, S.plural(hero), hero)))), S.story(rng, hero, short=short)
    if r < 0.86:
        name = rng.choice(W.NAMES_HER + W.NAMES_HIM)
        if (hero in S.HER and name in W.NAMES_HIM) or (hero in S.HIM and name in W.NAMES_HER):
            hero = rng.choice(W.ANIMALS)
        return typed(rng, "%s about %s %s %s" % (ask, S.article(hero), rng.choice(("named", "called")), name)), S.story(rng, hero, name, short=short)
    friend = rng.choice([x for x in W.ANIMALS + W.PEOPLE if x != hero])
    return typed(rng, "%s about %s and %s" % (ask, S.article(hero), S.article(friend))), S.story(rng, hero, friend=friend, short=short)


def write_poem(rng):
    ask = S.choose(rng, "[write a poem|write a short poem|write me a poem|write a little poem|a poem|tell me a poem|make a poem|can you write a poem|give me a poem|compose a poem|recite a poem|say a poem|I want a poem|write a verse]")
    theme = rng.choice(POEMS)
    if rng.random() < 0.2:
        other = rng.choice(UNKNOWN_TOPICS + [rng.choice(HEROES) for _ in range(150)])
        if other not in " ".join(POEMS):
            other = rng.choice((other, S.article(other), S.plural(other))) if other in HEROES else other
            return typed(rng, "%s about %s" % (ask, other)), "I do not know a poem about that, but here is one about %s:\n%s" % (theme, S.poem(rng, theme))
    if rng.random() < 0.2:
        return typed(rng, ask), S.poem(rng, theme)
    bare = re.sub("^(an?|the) ", "", theme)
    subject = rng.choice((theme, theme, theme, bare, "the " + bare, S.plural(bare) if theme.startswith("a ") else theme))
    return typed(rng, "%s %s %s" % (ask, rng.choice(("about", "about", "about", "on")), subject)), S.poem(rng, theme)


KINDS = ((about, 24), (smalltalk, 9), (advice, 5), (unknown, 16), (capital, 7), (continent, 1), (language, 1.5), (animal, 6), (colour, 2),
         (opposite, 2), (rhyme, 1), (repeat, 4), (definition, 6), (job, 1.5), (amount, 5), (calendar, 2), (statement, 4), (country, 1.5), (go_on, 1), (kind_of, 2.5), (arithmetic, 20), (compare, 1.5),
         (next_number, 1), (joke, 1.5), (riddle, 0.8), (tell_story, 9), (write_poem, 4))
FUNCTIONS, WEIGHTS = zip(*KINDS)


def exchange(rng):
    return rng.choices(FUNCTIONS, WEIGHTS)[0](rng)


# ---- conversations of several turns ----------------------------------------

def another(rng):
    """A request and then 'another one', which only makes sense with what came before."""
    f = rng.choice((joke, riddle, write_poem, tell_story, tell_story, joke))
    turns = [f(rng)]
    for _ in range(rng.choice((1, 1, 2)) if f is not tell_story else 1):
        kind = {joke: "joke", riddle: "riddle", write_poem: "poem", tell_story: "story"}[f]
        q = S.choose(rng, "[another one|one more|tell me another one|another|again|one more please|more|tell me one more|another %s|one more %s|do it again|next]" % (kind, kind))
        turns.append((typed(rng, q), f(rng)[1]))
    return turns


def and_what_about(rng):
    """'And of Spain?' after a question about a capital, and its relatives."""
    f = rng.randrange(4)
    if f == 0:
        picks = rng.sample(W.CAPITALS, rng.choice((2, 3)))
        turns = [(typed(rng, "what is the capital of " + picks[0][0]), "The capital of %s is %s." % picks[0])]
        for c in picks[1:]:
            turns.append((typed(rng, S.choose(rng, "[and|and of|what about|and what about|how about] " + c[0]), plain=True), "The capital of %s is %s." % c))
    elif f == 1:
        picks = rng.sample(W.OPPOSITES, 2)
        turns = [(typed(rng, "what is the opposite of " + picks[0][0]), "The opposite of %s is %s." % picks[0]),
                 (typed(rng, S.choose(rng, "[and|and of|what about] " + picks[1][0]), plain=True), "The opposite of %s is %s." % picks[1])]
    elif f == 2:
        picks = rng.sample(W.COLOURS, 2)
        turns = [(typed(rng, "what colour is " + picks[0][0]), "%s is %s." % (picks[0][0].capitalize(), picks[0][1])),
                 (typed(rng, S.choose(rng, "[and|what about|and what about] " + picks[1][0]), plain=True), "%s is %s." % (picks[1][0].capitalize(), picks[1][1]))]
    else:
        a, b = rng.randrange(10), rng.randrange(10)
        c = rng.randrange(5)
        turns = [(typed(rng, "what is %d plus %d" % (a, b), plain=True), "%d plus %d is %d." % (a, b, a + b)),
                 (typed(rng, S.choose(rng, "[and plus|plus|and|add] %d" % c), plain=True), "%d plus %d is %d." % (a + b, c, a + b + c))]
        if turns[1][0].lower().startswith("and %d" % c):
            turns[1] = ("And plus %d?" % c, turns[1][1])
    return turns


def my_name(rng):
    """The user says a name and asks for it later: the model must look back."""
    name = rng.choice(W.NAMES_HER + W.NAMES_HIM + [fantasy_word(rng).capitalize() for _ in range(30)])
    q = S.choose(rng, "[my name is %s|I am %s|I'm %s|call me %s|hello, I am %s|hi, my name is %s|hello, my name is %s]" % ((name,) * 7))
    q = q[0].upper() + q[1:] + rng.choice(("", ".", "!"))
    turns = [(q, rng.choice(("Nice to meet you, %s! What can I do for you?", "Hello %s! What can I do for you?")) % name)]
    if rng.random() < 0.3:
        turns.append(exchange(rng))
    if rng.random() < 0.75:
        turns.append((typed(rng, rng.choice(("what is my name", "do you know my name", "who am I", "what's my name", "do you remember my name"))), "Your name is %s." % name))
    return turns


def comfort(rng):
    """The model offers a story, the user takes it."""
    sad = by_question(SMALLTALK, "i am sad")
    yes = S.choose(rng, "[yes|yes please|yes, please|ok|sure|of course|yes, tell me a story|yeah|please do]")
    return [say(rng, sad), (typed(rng, yes, plain=True), S.story(rng))]


def who_is_it(rng):
    """A question about the story just told: the hero, the place, the friend."""
    hero = rng.choice(HEROES)
    c = S.cast(rng, hero)
    text = S.choose(rng, (S.OPENINGS[0] + " " + rng.choice(S.SHORT_PLOTS)).format(**c))
    turns = [(typed(rng, S.choose(rng, "[tell me|write] a short story about " + S.article(hero))), text)]
    q, a = rng.choice((
        ("[who else was in the story|whom did %s meet|who was the other one]" % c["name"], "%s met %s." % (c["name"], c["afkind"])),
        ("[what was the name of the %s|what is the %s called|who is the hero]" % (hero, hero), "The %s is called %s." % (hero, c["name"])),
        ("[where did %s live|where was that|where does %s live]" % (c["name"], c["name"]), "%s lived %s." % (c["name"], c["place"]))))
    turns.append((typed(rng, S.choose(rng, q)), a))
    return turns


FOLLOW = parse_intents("""
Q: [why|why?|how|how so|tell me more|more|go on|continue|explain that|can you say more|more details please|what else|and then|what happens next]
A: I am only a small demo model, so that is all I know about it. A bigger model can tell you more.

Q: [how do i do that|how can i do that|how do i add one|how do i get one|how can i get a bigger model|where do i get it|show me how]
A: Put a GGUF file into the models path of zerollama. It then appears in `zerollama list`, and you can use it with `zerollama run`.
""")


def follow_up(rng):
    first = rng.choices((about, unknown, definition, amount), (3, 4, 2, 2))[0]
    turns = [first(rng)]
    q, a = FOLLOW[0]
    if first is unknown and rng.random() < 0.6:
        q, a = FOLLOW[1]
    turns.append((typed(rng, rng.choice(q), plain=True), rng.choice(a)))
    return turns


def by_question(block, word):
    return next(i for i in block if word in i[0])


GREET, HOW, THANKS, BYE = (by_question(SMALLTALK, w) for w in ("hello", "how are you", "thank you", "goodbye"))
FINE = by_question(SMALLTALK, "i am fine")


def say(rng, intent):
    return typed(rng, rng.choice(intent[0])), rng.choice(intent[1])


def conversation(rng):
    """Turns as they come in a real chat: a greeting perhaps, some questions, a thank you."""
    r = rng.random()
    if r < 0.50:
        return [exchange(rng)]
    turns = []
    if rng.random() < 0.35:
        turns.append(say(rng, GREET))
    if rng.random() < 0.12:
        turns += [(say(rng, HOW)[0], HOW[1][0]), say(rng, FINE)]
    r = rng.random()
    if r < 0.12:
        turns += another(rng)
    elif r < 0.24:
        turns += and_what_about(rng)
    elif r < 0.34:
        turns += my_name(rng)
    elif r < 0.42:
        turns += who_is_it(rng)
    elif r < 0.50:
        turns += follow_up(rng)
    elif r < 0.53:
        turns += comfort(rng)
    else:
        turns += [exchange(rng) for _ in range(rng.choice((1, 2, 2, 3)))]
    if rng.random() < 0.2:
        turns.append(say(rng, THANKS))
    if rng.random() < 0.1:
        turns.append(say(rng, BYE))
    return turns


SYSTEMS = ("You are a helpful assistant.", "You are a helpful assistant.", "You are a friendly assistant.", "You are zerollama-demo.",
           "Answer in short sentences.", "You are a helpful, honest assistant. Be brief.", "Be polite.", "You are a chatbot.")


# ---- plain text, for completion without a chat ------------------------------

def plain_text(rng):
    r = rng.random()
    if r < 0.72:
        return S.story(rng)
    if r < 0.80:
        plot = rng.choice(S.PLOTS).format(**S.cast(rng))
        return S.choose(rng, plot)
    if r < 0.9:
        return S.poem(rng, rng.choice(POEMS))
    f = rng.choice((capital, definition, colour, animal, calendar, arithmetic, about))
    if f is about:
        return rng.choice(by_question(ABOUT, "what is zerollama")[1])
    return " ".join(f(rng)[1] for _ in range(rng.choice((1, 2, 3))))


def documents(seed):
    """Endless documents, the same for the same seed."""
    rng = random.Random(seed)
    while True:
        if rng.random() < 0.12:
            yield "text", plain_text(rng)
            continue
        turns = []
        if rng.random() < 0.08:
            turns.append(("system", rng.choice(SYSTEMS)))
        for q, a in conversation(rng):
            turns += [("user", q), ("assistant", a)]
        yield "chat", [(role, text.replace("D.C..", "D.C.")) for role, text in turns]


if __name__ == "__main__":
    for _, (kind, doc) in zip(range(int(sys.argv[1]) if len(sys.argv) > 1 else 10), documents(1)):
        print("----", kind)
        print(doc if kind == "text" else "\n".join("%s: %s" % t for t in doc))
