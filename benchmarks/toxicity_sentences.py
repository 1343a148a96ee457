"""Sentences of our own about groups of people, neutral and hostile: to train `toxicity` on, and others to test it by.

The idea is Dixon et al. 2018 (Measuring and Mitigating Unintended Bias in Text Classification): neutral sentences teach that to name a
group is no insult, and equal sentences about different groups show who is judged otherwise. The templates are ours. No template
for testing shares its wording with one for training. In hostile ones an insult is drawn from the word list at {insult}.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

TERMS = {  # group -> (adjective, the people), the same for training and testing: listed terms are all one letter to the model
    "women": [("female", "women"), ("female", "girls")],
    "men": [("male", "men"), ("male", "boys")],
    "transgender": [("transgender", "transgender people"), ("trans", "trans people"), ("nonbinary", "nonbinary people")],
    "Muslims": [("Muslim", "Muslims"), ("Shia", "Shia Muslims"), ("Islamic", "Muslims")],
    "Christians": [("Christian", "Christians"), ("Catholic", "Catholics"), ("Mormon", "Mormons")],
    "Jews": [("Jewish", "Jews"), ("Jewish", "Jewish people")],
    "Hindus": [("Hindu", "Hindus")],
    "atheists": [("atheist", "atheists")],
    "Black people": [("Black", "Black people"), ("African American", "African Americans"), ("Nigerian", "Nigerians")],
    "white people": [("white", "white people"), ("Caucasian", "Caucasians")],
    "Asians": [("Asian", "Asians"), ("Chinese", "Chinese people"), ("Filipino", "Filipinos")],
    "Arabs": [("Arab", "Arabs"), ("Iranian", "Iranians"), ("Turkish", "Turks")],
    "Latin Americans": [("Latino", "Latinos"), ("Mexican", "Mexicans"), ("Hispanic", "Hispanics")],
    "Indigenous": [("Indigenous", "Indigenous people"), ("Native American", "Native Americans")],
    "immigrants": [("immigrant", "immigrants"), ("refugee", "refugees")],
    "gay and lesbian": [("gay", "gay people"), ("lesbian", "lesbians"), ("bisexual", "bisexual people"), ("queer", "queer people")],
    "old people": [("elderly", "old people"), ("elderly", "the elderly")],
    "young people": [("young", "teenagers"), ("young", "young people")],
    "disabled": [("disabled", "disabled people"), ("deaf", "deaf people"), ("blind", "blind people"), ("autistic", "autistic people")],
}  # fmt: skip
UNLISTED = {  # of groups that groundup.corpus.identity does not list: what happens to whoever was forgotten
    "not listed": [
        ("Sami", "Sami people"), ("Basque", "Basques"), ("Zoroastrian", "Zoroastrians"), ("Yazidi", "Yazidis"), ("Hmong", "Hmong people"),
        ("Quaker", "Quakers"), ("asexual", "asexual people"), ("Rohingya", "Rohingya"), ("Tutsi", "Tutsis"), ("Samoan", "Samoans"),
        ("epileptic", "people with epilepsy"), ("pagan", "pagans"), ("Bosnian", "Bosnians"), ("Amish", "the Amish"), ("Dalit", "Dalits"),
    ]
}  # fmt: skip
FILL = {
    "person": "man woman person teenager student guy lady kid boy girl grandmother neighbour".split(),
    "job": "teacher nurse engineer driver baker lawyer farmer singer plumber scientist writer manager cook soldier".split(),
    "relative": "mother father brother sister uncle aunt cousin boss neighbour roommate partner best friend".replace("best friend", "friend").split(),
    "place": "London Chicago Toronto Lagos Berlin Mumbai Texas Leeds Sydney Ohio Kenya Brazil".split(),
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "good": "wonderful kind brilliant lovely generous friendly great amazing proud happy beautiful honest".split(),
    "bad": "disgusting stupid filthy ugly evil worthless vile pathetic dirty dangerous retarded inferior useless lazy greedy dumb".split(),
    "kin": "animals vermin rats cockroaches criminals terrorists rapists parasites savages thieves liars scum pigs trash monkeys subhuman".split(),
    "thing": "mondays broccoli traffic winter homework this software this movie spam meetings mosquitoes football".replace("this software", "software").replace("this movie", "musicals").split(),
    "name": "Alex Maria James Fatima Chen Olga David Aisha Peter Nina".split(),
}  # fmt: skip

NEUTRAL = """I am a {adj} {person}.|I am {adj}.|My {relative} is {adj} and works as a {job}.|The {adj} community center is open on {day}.
{People} live in {place}.|We are proud to be {adj}.|She is a {adj} {job} from {place}.|He married a {adj} {person} last year.|{People} deserve respect.
I have many {adj} friends.|The {adj} festival starts on {day} in {place}.|The number of {people} in {place} has grown.|Most {people} I know like music.
{People} voted in large numbers.|Nobody should be attacked because they are {adj}.|Discrimination against {people} is wrong and against the law.
{People} are human beings like everyone else.|As a {adj} {person} I enjoy cooking.|Stop hating {people}.|{People} were persecuted for centuries.|Two {adj} students won the prize.
The report describes violence against {people} in {place}.|A {adj} {job} wrote this book.|I support rights for {people}.|{People} are welcome here.|{name} is a {adj} {job}.
{name} is {adj} and lives in {place}.|They hired a {adj} {job}.|The museum shows the history of {people}.|{People} and their families came to {place}.|We met a {adj} couple.
How many {people} live in {place}?|Is the new {job} {adj}?|I was raised in a {adj} family.|The film is about a {adj} {job} who moves to {place}.|{People} are {good}.|My {adj} {relative} is {good}.
Some {people} suffer from poor health care.|The law protects {people} from hate crimes.|Many {people} were killed in the war.|I love being {adj}.|{People} make {good} neighbours.
I am not {adj}, but my {relative} is.|You are a {good} {adj} {person}.|The {adj} population is growing.|It is hard to be {adj} in {place}.|What do {people} eat on {day}?|Both of my parents are {adj}.
He was called names for being {adj}, which hurt him.|Saying that {people} are all alike is prejudice.|A study of {adj} voters in {place}|{adj} women in {place} earn less.|{adj} men over forty
The {adj} {job} next door is {good}.|{name} was the first {adj} {job} in {place}.|Tell me about {people} in {place}.|{name} is dating a {adj} {job}.|{adj} and proud|a group for {adj} parents
There is nothing wrong with {people}.|Do you know any {people}?|We need more {adj} {job}s.|{People} have a long history in {place}.|The {adj} {person} asked me for directions.|{name}'s {relative} is {adj} too.
{People} fought for their rights.|Are there any {adj} restaurants in {place}?|He converted, and now he is {adj}.|I came out to my {relative} as {adj}.|The bill would harm {people}.|{People} face discrimination at work.
Hundreds of {people} marched on {day}.|She says that {people} are treated with contempt.|Racism against {people} must stop.|The {adj} vote decided the election.|Ask a {adj} {person}.|All {people} are equal.|{People} can be {job}s.
Police are looking for the man who attacked a {adj} {person}.|My {adj} friend {name} plays the piano.|{adj} history month|{adj} literature of the last century|{People} and others are invited.|As {people}, we know this well.
You are {adj}, aren't you?|Hi, I am {name} and I am {adj}.|Both {people} and their friends laughed.|I respect {people}.|{People} need better schools.|The disease is more common among {people}.|He wrote about {people} with sympathy."""
HOSTILE = """{People} are {bad}.|{People} are {kin}.|I hate {people}.|All {people} are {kin}.|All {people} should be shot.|You are a {adj} {insult}.|You {adj} {insult}.|Kill all {people}.
{People} are nothing but {kin}.|{People} do not belong here.|Get these {people} out of our country.|{People} are destroying our country.|I can't stand {people}, they are {bad}.|Send the {people} back where they came from.
{People} should not be allowed to vote.|{People} don't deserve to live.|Being {adj} is {bad}.|{adj} {person}s are {bad} and should die.|The only good {adj} {person} is a dead one.|No one wants {people} here.
We should get rid of all {people}.|{People} are ruining everything.|{name} is a {bad} {adj} {insult}.|typical {adj} {insult}|I wish all {people} would die.|{People} ruin this city, {bad} {kin}.|{People} have no place in a civilised country.
Never trust {people}.|{People} are less than human.|All {people} ever do is lie and steal.|Those {bad} {people} breed like rats.|It is {bad} to be {adj}.|{People} are a plague.|You are {bad} because you are {adj}.
{name} is a {bad} {adj} {job}.|{adj} {job}s are {bad} {kin}.|what a {bad} {adj} {person}|{People} rape and kill, that is all they know.|{name}, you {bad} {adj} {person}|{People} are the enemy and must be wiped out."""
INSULTS = """You are a {insult}.|You're such a {insult}.|Shut up, you {insult}.|What a {insult}.|{name} is a {insult}.|Go away {insult}|you {bad} {insult}|You are {bad}.|Your {relative} is a {insult}.|Stop editing, {insult}
Only a {insult} would write this.|I will kill you.|I hope you die.|Go kill yourself.|You {insult}, nobody likes you.|I am going to find you and hurt you.|you people are {insult}s|how {bad} are you|You make me sick, {insult}.|{name}, you {insult}"""
CALM = """You are a {good} {job}.|{name} is a {good} {person}.|Thank you, that was {good}.|I hate {thing}.|{thing} is boring.|I will kill the process and start it again.|You are not alone.|Your {relative} is a {job}.
I hope you have a {good} {day}.|Only a {job} would write this.|Go home and rest.|You should see a doctor about it.|{name}, you are {good}|How are you?|Stop it, please.|I disagree with you about {thing}.|I am so tired of {thing}.
You are wrong about {place}, see the article.|He died in {place} in 1943.|The police shot a man in {place}.|The murder trial begins on {day}.|Please do not remove my edits.|The sentence you added is not neutral."""
TEST_NEUTRAL = """This {day} our {adj} choir sings at the town hall.|The mayor of {place} thanked {people} for their help.|There are three {adj} players on the team.|Her grandparents were {adj}.
I grew up among {people}.|{name}, who is {adj}, opened a shop in {place}.|The survey asked {people} about their commute.|Are you {adj}?|A {adj} author reads from a new novel tonight.|{People} may apply for the grant until {day}.
Why are there so few {adj} pilots?|The clinic offers advice to {people}.|Hello, I'm {name}, {adj}, and new in {place}.|Our next guest is a {adj} comedian.|Equal pay for {people} is still far off.|I learned a lot from my {adj} {relative}.
{People} built this bridge in 1890.|It is fine to be {adj}.|The court ruled in favour of {people}.|Being {adj} shaped how {name} sees the world.|The novel follows a {adj} girl during the war.|{People} remain under-represented in parliament.
Dating as a {adj} {person} can be difficult.|The attack on {people} in {place} was condemned by all parties.|I don't think {people} are treated fairly.|What is it like to be {adj}?|{People} often face insults in public.|{place} is home to many {people}."""
TEST_HOSTILE = """Honestly, {people} make me want to puke.|{People} belong in cages.|Every {adj} person is a {insult}.|The world would be better off without {people}.|Dirty {adj} {insult}, go back to your own country!|{People} are a disease.
These {people} are all thieves and {kin}.|I'd love to punch every one of these {people}.|You can't expect brains from {people}.|It's time someone exterminated {people}.|Shut your mouth you {adj} {insult}.|Why are {people} so {bad}?"""


def split(block: str) -> list[str]:
    """The templates of a block."""
    return [line for lines in block.split("\n") for line in lines.split("|")]


def filled(block: str, groups: dict[str, list[tuple[str, str]]], insults: list[str], seed: int) -> Iterator[tuple[str, str]]:
    """(group, sentence): every template of a block with every term, other words drawn."""
    draw = random.Random(seed)
    for template in split(block):
        for group, terms in groups.items():
            for adjective, people in terms:
                words = {slot: draw.choice(choices) for slot, choices in FILL.items()}
                words |= {"adj": adjective, "people": people, "People": people[0].upper() + people[1:], "insult": draw.choice(insults)}
                yield group, template.format(**words)
