"""The words and facts the demo model is to know.

A model this small knows only what it has been shown many times, so everything
it should be right about is listed here, by hand, and nowhere else.  All of it
was written for this project; the jokes and riddles are common folklore.
"""


def table(text, sep=":"):
    """'key: value' lines as a list of pairs."""
    return [tuple(p.strip() for p in line.split(sep, 1)) for line in text.strip().splitlines()]


ANIMALS = """fox bear rabbit mouse cat dog owl frog duck hen horse cow sheep goat pig donkey lion tiger
elephant monkey giraffe zebra wolf deer squirrel hedgehog turtle snail bee ant butterfly spider whale dolphin
shark crab octopus penguin seal eagle crow parrot swan goose camel kangaroo koala panda otter beaver badger mole
bat lizard snake crocodile hippo rhino hamster kitten puppy lamb dragon unicorn dinosaur""".split()

PEOPLE = """girl boy baker farmer king queen prince princess wizard witch knight sailor pirate painter gardener
teacher fisherman shepherd miller tailor clockmaker musician inventor astronaut giant fairy ghost mermaid dwarf
grandmother grandfather doctor postman librarian cook hunter traveller robot snowman programmer""".split()

THINGS = """teapot cloud star lamp boat train kite clock shoe umbrella tree flower stone river mountain moon
lighthouse computer balloon book pencil spoon candle leaf puppet drum violin bell chair castle mirror cup penguin
snowflake raindrop toy car bicycle tractor button hat scarf key pumpkin potato carrot apple cookie pancake""".split()

NAMES_HER = """Lily Anna Mia Emma Nora Ruby Clara Rosa Ella Ida Lucy Maya Zoe Alice Hazel Molly Daisy Greta Luna
Ivy Sara Tilda Wanda Olive Petra Marta Nina Vera Flora Julia""".split()
NAMES_HIM = """Tom Max Ben Leo Sam Finn Oscar Hugo Otto Felix Paul Emil Jack Noah Theo Karl Milo Toby Rufus Bruno
Arthur Henry Peter Anton Jonas Victor Walter Simon Oliver Martin""".split()

# Each with its preposition.
PLACES = """in the old forest;in a small village;in a green valley;near the sea;in a quiet town;on a high mountain;
on an island far away;on a sunny meadow;in a big city;on the bank of a river;on a farm on a hill;in a snowy land;
in a little house near a lake;in a garden full of flowers;in an old castle;in a harbour with many boats""".replace("\n", "").split(";")

TREASURES = """a golden key;a red ball;a silver bell;a blue stone;a warm scarf;a small map;a music box;a lost hat;
a little lantern;a shiny coin;a wooden boat;a magic seed;a kind letter;a green ribbon;a big jar of honey;
a book of songs""".replace("\n", "").split(";")

SKILLS = "swim;sing;dance;read;fly a kite;bake bread;paint;play the drum;climb trees;whistle;juggle;skate;row a boat".split(";")
FEARS = "the dark;thunder;deep water;high places;loud noises;the big dog next door;speaking to strangers;being alone".split(";")
FOODS = "bread;an apple;a honey cake;a bowl of soup;a basket of berries;a piece of cheese;a plum pie;some nuts;a pear".split(";")
BUILDS = "a raft;a tree house;a bridge;a windmill;a snow castle;a small boat;a kite;a garden wall;a cart;a nest".split(";")

CAPITALS = table("""
France: Paris
Germany: Berlin
Italy: Rome
Spain: Madrid
Portugal: Lisbon
England: London
the United Kingdom: London
Ireland: Dublin
Scotland: Edinburgh
Wales: Cardiff
Belgium: Brussels
the Netherlands: Amsterdam
Austria: Vienna
Switzerland: Bern
Poland: Warsaw
Hungary: Budapest
Greece: Athens
Turkey: Ankara
Norway: Oslo
Sweden: Stockholm
Finland: Helsinki
Denmark: Copenhagen
Iceland: Reykjavik
Estonia: Tallinn
Latvia: Riga
Lithuania: Vilnius
Ukraine: Kyiv
Romania: Bucharest
Bulgaria: Sofia
Serbia: Belgrade
Croatia: Zagreb
Slovenia: Ljubljana
Slovakia: Bratislava
the Czech Republic: Prague
Albania: Tirana
Malta: Valletta
Cyprus: Nicosia
Russia: Moscow
China: Beijing
Japan: Tokyo
South Korea: Seoul
North Korea: Pyongyang
India: New Delhi
Pakistan: Islamabad
Bangladesh: Dhaka
Nepal: Kathmandu
Thailand: Bangkok
Vietnam: Hanoi
Indonesia: Jakarta
the Philippines: Manila
Malaysia: Kuala Lumpur
Mongolia: Ulaanbaatar
Iran: Tehran
Iraq: Baghdad
Syria: Damascus
Lebanon: Beirut
Jordan: Amman
Saudi Arabia: Riyadh
Egypt: Cairo
Morocco: Rabat
Algeria: Algiers
Tunisia: Tunis
Libya: Tripoli
Kenya: Nairobi
Ethiopia: Addis Ababa
Ghana: Accra
Nigeria: Abuja
Senegal: Dakar
Uganda: Kampala
Rwanda: Kigali
Canada: Ottawa
the United States: Washington, D.C.
the USA: Washington, D.C.
Mexico: Mexico City
Cuba: Havana
Jamaica: Kingston
Brazil: Brasilia
Argentina: Buenos Aires
Chile: Santiago
Peru: Lima
Colombia: Bogota
Ecuador: Quito
Venezuela: Caracas
Uruguay: Montevideo
Paraguay: Asuncion
Australia: Canberra
New Zealand: Wellington
Fiji: Suva
""")

CONTINENTS = {
    "Europe": "France Germany Italy Spain Portugal Ireland Belgium Austria Poland Hungary Greece Norway Sweden Finland Denmark Iceland Romania Switzerland".split(),
    "Asia": "China Japan India Nepal Thailand Vietnam Indonesia Mongolia Iran Iraq Jordan Pakistan".split(),
    "Africa": "Egypt Morocco Algeria Tunisia Kenya Ethiopia Ghana Nigeria Senegal Uganda Rwanda".split(),
    "North America": "Canada Mexico Cuba Jamaica".split(),
    "South America": "Brazil Argentina Chile Peru Colombia Ecuador Uruguay Paraguay".split(),
}

LANGUAGES = table("""
France: French
Germany: German
Italy: Italian
Spain: Spanish
Portugal: Portuguese
England: English
Austria: German
Poland: Polish
Hungary: Hungarian
Greece: Greek
Turkey: Turkish
Norway: Norwegian
Sweden: Swedish
Finland: Finnish
Denmark: Danish
Russia: Russian
China: Chinese
Japan: Japanese
Brazil: Portuguese
Mexico: Spanish
Argentina: Spanish
Egypt: Arabic
Iran: Persian
Vietnam: Vietnamese
Thailand: Thai
the Netherlands: Dutch
the United States: English
Australia: English
""")

# animal: young, home, food, sound verb, legs
ANIMAL_FACTS = table("""
dog: puppy, with people, meat and dog food, barks, four
cat: kitten, with people, mice and fish, meows, four
cow: calf, on farms, grass, moos, four
horse: foal, on farms, grass and oats, neighs, four
sheep: lamb, in the meadow, grass, bleats, four
goat: kid, in the mountains, grass and leaves, bleats, four
pig: piglet, on farms, almost anything, grunts, four
hen: chick, on farms, seeds and worms, clucks, two
duck: duckling, near ponds, water plants and insects, quacks, two
goose: gosling, near lakes, grass, honks, two
owl: owlet, in forests, mice, hoots, two
lion: cub, in the grassland of Africa, meat, roars, four
tiger: cub, in the forests of Asia, meat, roars, four
bear: cub, in forests, berries and fish and honey, growls, four
wolf: pup, in forests, meat, howls, four
fox: cub, in forests and fields, mice and berries, barks, four
frog: tadpole, near ponds, insects, croaks, four
bee: larva, in a hive, nectar and pollen, buzzes, six
elephant: calf, in Africa and Asia, grass and leaves, trumpets, four
donkey: foal, on farms, grass and hay, brays, four
mouse: pup, in fields and houses, seeds and cheese, squeaks, four
snake: snakelet, in forests and deserts, small animals, hisses, no
crow: chick, in trees, seeds and insects, caws, two
deer: fawn, in forests, grass and leaves, grunts, four
rabbit: kit, in burrows, grass and carrots, squeaks, four
kangaroo: joey, in Australia, grass, grunts, two
penguin: chick, in the cold south, fish, squawks, two
spider: spiderling, in webs, insects, makes almost no sound, eight
ant: larva, in an ant hill, almost anything, makes almost no sound, six
swan: cygnet, on lakes, water plants, hisses, two
monkey: infant, in warm forests, fruit and leaves, chatters, four
giraffe: calf, in Africa, leaves from tall trees, hums, four
zebra: foal, in Africa, grass, barks, four
camel: calf, in the desert, dry plants, groans, four
whale: calf, in the sea, krill and fish, sings, no
dolphin: calf, in the sea, fish, clicks and whistles, no
shark: pup, in the sea, fish, makes no sound, no
hedgehog: hoglet, in gardens and woods, insects and worms, snuffles, four
squirrel: kit, in trees, nuts and seeds, chatters, four
""")

COLOURS = table("""
the sky: blue
grass: green
snow: white
the sun: yellow
a lemon: yellow
a banana: yellow
a tomato: red
a strawberry: red
blood: red
a fire engine: red
coal: black
the night: black
milk: white
an orange: orange
a carrot: orange
a pumpkin: orange
chocolate: brown
a leaf in summer: green
a frog: green
a cucumber: green
an elephant: grey
the sea: blue
a plum: purple
a flamingo: pink
gold: yellow
silver: grey
a polar bear: white
a raven: black
coffee: brown
a lavender flower: purple
""")

OPPOSITES = table("""
hot: cold
big: small
up: down
day: night
black: white
good: bad
fast: slow
old: young
new: old
happy: sad
light: dark
open: closed
full: empty
left: right
high: low
wet: dry
hard: soft
loud: quiet
early: late
rich: poor
strong: weak
long: short
clean: dirty
thick: thin
sweet: sour
yes: no
always: never
begin: end
buy: sell
win: lose
love: hate
inside: outside
true: false
near: far
heavy: light
brave: afraid
easy: difficult
push: pull
awake: asleep
first: last
""")

RHYMES = table("""
cat: hat, mat and rat
moon: spoon, soon and tune
tree: bee, sea and free
day: play, way and say
night: light, bright and kite
star: far, car and jar
rain: train, grain and plain
house: mouse and blouse
snow: grow, glow and slow
fox: box, socks and rocks
sun: run, fun and bun
king: ring, sing and wing
boat: goat, coat and note
bear: chair, hair and pear
sky: fly, high and why
dog: frog, log and fog
heart: part, start and art
book: cook, look and hook
sea: tree, bee and key
blue: true, new and you
""")

DEFINITIONS = table("""
a computer: a machine that stores information and follows instructions
a program: a list of instructions for a computer
a daemon: a program that runs in the background and waits for work
a server: a program or a machine that answers requests from others
a client: a program that asks a server to do something
a file: a named piece of data that is kept on a disk
a folder: a place on a disk that holds files
a kernel: the core of an operating system, which talks to the hardware
an operating system: the software that runs a computer and its programs
Linux: a free operating system that runs on phones, laptops and servers
Debian: a free operating system that is built on Linux
a terminal: a window in which you type commands for the computer
a process: a program that is running
a GPU: a processor with many small cores that is good at doing much arithmetic at once
a CPU: the main processor of a computer
memory: the part of a computer that holds what it is working on
an API: a set of rules by which one program talks to another
HTTP: the protocol by which web browsers and servers talk
JSON: a simple text format for data
a language model: a program that has learned to continue text, one piece at a time
a token: a small piece of text, often a word or a part of a word
a tokenizer: a program that cuts text into tokens
a neural network: a program made of many small sums whose numbers are learned from examples
machine learning: a way to make programs learn from examples instead of rules
artificial intelligence: the art of making machines do things that seem to need thinking
quantization: storing the numbers of a model with fewer bits, so that it needs less memory
temperature: a number that says how much chance there is in the choice of the next token
a context window: the amount of text that a model can look at in one go
an embedding: a list of numbers that stands for the meaning of a text
a transformer: a kind of neural network in which every token can look at the tokens before it
a prompt: the text that you give to a model to start from
open source: software whose source code everyone may read, change and share
a bug: a mistake in a program
an algorithm: a clear list of steps that solves a problem
a database: a program that keeps data in order and finds it again
a password: a secret word that shows who you are
a network: a group of computers that can talk to each other
the internet: a very large network that joins computers all over the world
a cloud: a lot of tiny drops of water that float in the sky
rain: water that falls from the clouds in drops
snow: frozen water that falls from the sky in soft white flakes
wind: air that moves
a storm: very bad weather with strong wind and rain
thunder: the loud sound that follows lightning
a rainbow: an arc of colours in the sky, made by sun and rain
the sun: the star that gives us light and warmth
the moon: a ball of rock that circles the Earth
a star: a very hot ball of gas that shines far away in space
a planet: a large round body that circles a star
the Earth: the planet on which we live
gravity: the force that pulls things towards each other and makes them fall
a volcano: a mountain from which hot rock can flow
an island: a piece of land with water all around it
a river: a stream of water that flows to the sea
a lake: a large body of water with land all around it
the sea: the salt water that covers most of the Earth
a mountain: a very high hill, often with snow on top
a desert: a dry land where it hardly ever rains
a forest: a large place full of trees
a tree: a tall plant with a trunk, branches and leaves
a flower: the colourful part of a plant that makes seeds
a seed: a small thing from which a plant grows
bread: a food that is baked from flour and water
cheese: a food that is made from milk
honey: a sweet food that bees make from flowers
tea: a hot drink made from leaves
coffee: a hot dark drink made from roasted beans
water: a clear liquid that all living things need
ice: water that is frozen
fire: the heat and light of something that burns
music: sound that is put in order so that it is good to hear
a song: a short piece of music with words
a poem: a short text that plays with the sound of words
a story: a telling of things that happened, true or made up
a joke: a short story that makes people laugh
a book: many pages of text, bound together
a letter: a message that is written on paper
a map: a drawing that shows where places are
a clock: a machine that shows the time
a bridge: a road that goes over a river or a valley
a boat: a small ship that carries people over water
a train: a row of wagons that runs on rails
a bicycle: a vehicle with two wheels that you move with your feet
a school: a place where people go to learn
a library: a place where many books are kept for people to read
a hospital: a place where sick people are made well
a friend: a person you like and trust
a family: a group of people who belong together
love: a deep and warm feeling for someone
courage: doing what is right although you are afraid
patience: being able to wait without getting angry
honesty: saying what is true
happiness: the good feeling of being content
time: what a clock measures, from past to future
a dream: the pictures and stories we see while we sleep
sleep: the rest that body and mind take at night
a fox: a clever wild animal with red fur and a bushy tail
an owl: a bird with big eyes that hunts at night
a whale: the largest animal in the sea
a bee: a small insect that makes honey
a dragon: a large animal in stories that can fly and breathe fire
a unicorn: a horse with one horn that lives only in stories
a robot: a machine that can move and do work by itself
football: a game in which two teams try to kick a ball into a goal
chess: a board game for two players with sixteen pieces each
""")

JOBS = table("""
a baker: bakes bread and cakes
a teacher: helps people to learn
a doctor: helps sick people to get well
a farmer: grows food and keeps animals
a sailor: works on a ship
a programmer: writes instructions for computers
a painter: makes pictures with colours
a gardener: looks after plants
a pilot: flies a plane
a cook: makes meals
a tailor: makes clothes
a musician: plays music
a writer: writes books and stories
a carpenter: makes things out of wood
a librarian: looks after the books in a library
a firefighter: puts out fires and saves people
a fisherman: catches fish
a shepherd: looks after sheep
a dentist: looks after teeth
a nurse: takes care of sick people
an astronaut: travels into space
a scientist: asks questions about the world and tests the answers
a system administrator: keeps computers and servers running
""")

AMOUNTS = table("""
How many days are in a week: There are seven days in a week.
How many days are in a year: There are 365 days in a year, and 366 in a leap year.
How many months are in a year: There are twelve months in a year.
How many weeks are in a year: There are 52 weeks in a year.
How many hours are in a day: There are 24 hours in a day.
How many minutes are in an hour: There are 60 minutes in an hour.
How many seconds are in a minute: There are 60 seconds in a minute.
How many letters are in the alphabet: The English alphabet has 26 letters.
How many fingers does a hand have: A hand has five fingers.
How many legs does a spider have: A spider has eight legs.
How many legs does an insect have: An insect has six legs.
How many wheels does a bicycle have: A bicycle has two wheels.
How many wheels does a car have: A car has four wheels.
How many continents are there: There are seven continents: Africa, Antarctica, Asia, Australia, Europe, North America and South America.
How many oceans are there: There are five oceans: the Pacific, the Atlantic, the Indian, the Southern and the Arctic Ocean.
How many planets are there: There are eight planets that circle the sun: Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune.
How many sides does a triangle have: A triangle has three sides.
How many sides does a square have: A square has four sides.
How many bits are in a byte: A byte has eight bits.
How many seasons are there: There are four seasons: spring, summer, autumn and winter.
How many colours does a rainbow have: We say that a rainbow has seven colours: red, orange, yellow, green, blue, indigo and violet.
How many cents are in a euro: There are 100 cents in a euro.
How many metres are in a kilometre: There are 1000 metres in a kilometre.
How many bytes are in a kilobyte: A kilobyte has 1000 bytes, and a kibibyte has 1024.
What is the largest planet: Jupiter is the largest planet that circles the sun.
What is the smallest planet: Mercury is the smallest planet that circles the sun.
What is the largest ocean: The Pacific Ocean is the largest ocean.
What is the largest animal: The blue whale is the largest animal on Earth.
What is the fastest animal: On land the cheetah is the fastest animal.
What is the tallest animal: The giraffe is the tallest animal.
What is the highest mountain: Mount Everest is the highest mountain on Earth.
What is the largest country: Russia is the largest country in the world.
What is the largest continent: Asia is the largest continent.
What is the smallest continent: Australia is the smallest continent.
Which planet is closest to the sun: Mercury is the planet closest to the sun.
Which planet is red: Mars is called the red planet.
Which planet has rings: Saturn is famous for its rings.
What are the colours of the rainbow: The colours of the rainbow are red, orange, yellow, green, blue, indigo and violet.
What are the seasons: The four seasons are spring, summer, autumn and winter.
What are the days of the week: The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.
What are the months of the year: The months are January, February, March, April, May, June, July, August, September, October, November and December.
What are the primary colours: In painting the primary colours are red, yellow and blue.
What do bees make: Bees make honey.
What do plants need to grow: Plants need light, water, air and good soil.
Where does milk come from: Milk comes from cows, and also from goats and sheep.
Where does honey come from: Honey comes from bees, who make it from the nectar of flowers.
Where does the sun rise: The sun rises in the east.
Where does the sun set: The sun sets in the west.
What is ice made of: Ice is made of frozen water.
What is bread made of: Bread is made of flour, water, salt and often yeast.
What is water made of: Water is made of hydrogen and oxygen.
What is glass made of: Glass is made mostly of sand.
What is paper made of: Paper is made of wood.
At what temperature does water boil: At sea level water boils at 100 degrees Celsius.
At what temperature does water freeze: Water freezes at zero degrees Celsius.
Why is the sky blue: The sky is blue because air scatters blue light more than red light.
Why is grass green: Grass is green because of chlorophyll, with which plants catch the light of the sun.
Why is the sea salty: The sea is salty because rivers carry a little salt from the rocks into it, year after year.
Why does it rain: Water rises from the sea as vapour, cools, gathers in clouds and falls as rain.
Why do we sleep: We sleep so that body and mind can rest and put things in order.
Why do leaves fall in autumn: Trees drop their leaves in autumn to save water and strength for the winter.
Why do birds fly south: Many birds fly south in autumn because it is warmer there and they find food.
Why do cats purr: Cats mostly purr when they are content.
Why do we have seasons: We have seasons because the Earth is tilted on its way around the sun.
Why is the night dark: The night is dark because our side of the Earth is turned away from the sun.
What comes after spring: After spring comes summer.
What comes after summer: After summer comes autumn.
What comes after autumn: After autumn comes winter.
What comes after winter: After winter comes spring.
What is the coldest season: Winter is the coldest season.
What is the warmest season: Summer is the warmest season.
What is the first month of the year: The first month of the year is January.
What is the last month of the year: The last month of the year is December.
What is the shortest month: February is the shortest month, with 28 or 29 days.
Who wrote Romeo and Juliet: William Shakespeare wrote Romeo and Juliet.
Who wrote Hamlet: William Shakespeare wrote Hamlet.
Who was Albert Einstein: Albert Einstein was a physicist who is famous for the theory of relativity.
Who was Isaac Newton: Isaac Newton was a scientist who described gravity and the laws of motion.
Who was Marie Curie: Marie Curie was a scientist who discovered radium and polonium.
Who was Ada Lovelace: Ada Lovelace wrote what is often called the first computer program.
Who was Alan Turing: Alan Turing was a mathematician who laid the ground for computer science.
Who made Linux: Linus Torvalds began to write Linux in 1991.
Who invented Linux: Linus Torvalds began to write Linux in 1991.
What is the speed of light: Light travels at about 300,000 kilometres per second.
What is pi: Pi is about 3.14. It is the length of a circle divided by its width.
""")

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty""".split()

JOKES = table("""
Why did the computer go to the doctor? = Because it had a virus.
Why was the computer cold? = Because someone left its windows open.
Why do bees have sticky hair? = Because they use honey combs.
What do you call a bear without teeth? = A gummy bear.
Why did the bicycle fall over? = Because it was two tired.
What do you call cheese that is not yours? = Nacho cheese.
Why can a leopard not hide? = Because it is always spotted.
Why did the student eat the homework? = Because the teacher said it was a piece of cake.
What is orange and sounds like a parrot? = A carrot.
Why did the tomato turn red? = Because it saw the salad dressing.
Why did the daemon never feel lonely? = Because somebody always connected.
Why did the small model bring a ladder? = Because it wanted to reach a higher context.
Why do programmers mix up two holidays? = Because Oct 31 equals Dec 25.
What did the zero say to the eight? = Nice belt!
Why is six afraid of seven? = Because seven eight nine.
What did the big model say to the small model? = You are quick, but I have more to say.
How does the ocean say hello? = It waves.
Why did the clock go to school? = To learn how to tell the time.
What has four wheels and flies? = A garbage truck.
Why did the owl get invited to every party? = Because it was a hoot.
""", "=")

RIDDLES = table("""
What has hands but cannot clap? = A clock.
What has keys but opens no door? = A piano.
What gets wetter the more it dries? = A towel.
What has one eye but cannot see? = A needle.
What has teeth but cannot bite? = A comb.
What can you catch but never throw? = A cold.
What runs but never walks? = A river.
What has a neck but no head? = A bottle.
What goes up but never comes down? = Your age.
What has many pages but is not a tree, though it has leaves? = A book.
""", "=")
