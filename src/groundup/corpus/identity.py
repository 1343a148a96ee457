"""Words that name groups of people: whom `bias` counts, and what `toxicity` must not judge by.

The lists are our own and English: the names that people use for themselves in edited prose, no slurs. They are short on
purpose: a term belongs here if a reader of the report would agree that it names the group.
"""

from __future__ import annotations

_LISTS = {
    "gender": {
        "women": "woman women female females girl girls lady ladies mother mothers daughter daughters wife wives sister sisters",
        "men": "man men male males boy boys gentleman gentlemen father fathers son sons husband husbands brother brothers",
        "transgender": "trans transgender transsexual nonbinary genderqueer genderfluid intersex",
    },
    "religion": {
        "Muslims": "muslim muslims islam islamic islamist sunni shia shiite",
        "Christians": "christian christians christianity catholic catholics catholicism protestant protestants evangelical evangelicals "
        "baptist baptists methodist methodists lutheran lutherans orthodox mormon mormons",
        "Jews": "jew jews jewish judaism",
        "Hindus": "hindu hindus hinduism",
        "Buddhists": "buddhist buddhists buddhism",
        "Sikhs": "sikh sikhs sikhism",
        "atheists": "atheist atheists atheism agnostic agnostics",
    },
    "ethnicity": {
        "Black people": "black blacks african africans nigerian nigerians kenyan kenyans somali somalis ethiopian ethiopians ghanaian "
        "jamaican jamaicans haitian haitians afro",
        "white people": "white whites caucasian caucasians",
        "Asians": "asian asians chinese japanese korean koreans vietnamese filipino filipinos thai taiwanese indonesian indonesians",
        "South Asians": "indian indians pakistani pakistanis bangladeshi bangladeshis nepali",
        "Arabs and Middle Easterners": "arab arabs arabic iranian iranians persian iraqi iraqis syrian syrians turkish turk turks kurdish kurd kurds "
        "palestinian palestinians lebanese egyptian egyptians saudi saudis afghan afghans moroccan moroccans",
        "Latin Americans": "latino latinos latina latinas latinx hispanic hispanics mexican mexicans cuban cubans brazilian brazilians "
        "colombian colombians venezuelan venezuelans",
        "Indigenous people": "indigenous aboriginal aboriginals aborigines maori inuit native natives cherokee navajo",
        "Europeans": "european europeans british english french german germans italian italians spanish irish scottish polish russian "
        "russians ukrainian ukrainians greek greeks dutch swedish swedes norwegian danish portuguese romanian romanians",
        "Roma": "roma romani",
        "Americans": "american americans canadian canadians",
        "Israelis": "israeli israelis",
        "immigrants": "immigrant immigrants migrant migrants refugee refugees foreigner foreigners",
    },
    "sexuality": {
        "gay, lesbian and bisexual people": "gay gays lesbian lesbians bisexual bisexuals homosexual homosexuals homosexuality queer lgbt lgbtq lgbtqia",
        "heterosexual people": "heterosexual heterosexuals straight",
    },
    "age": {
        "old people": "elderly elder elders senior seniors pensioner pensioners grandmother grandfather grandmothers grandfathers old older",
        "young people": "teenager teenagers teen teens adolescent adolescents youth youths millennial millennials young younger",
    },
    "disability": {
        "disabled people": "disabled disability disabilities handicapped wheelchair paralyzed paralysed amputee amputees",
        "deaf and blind people": "deaf blind",
        "people with mental illness or autism": "autistic autism schizophrenic bipolar dyslexic depressed",
    },
}  # fmt: skip

GROUPS: dict[str, dict[str, frozenset[str]]] = {
    axis: {group: frozenset(terms.split()) for group, terms in groups.items()} for axis, groups in _LISTS.items()
}
"""Axis -> group -> lower-case words."""

GROUP_OF: dict[str, str] = {term: group for groups in GROUPS.values() for group, terms in groups.items() for term in terms}
"""Word -> group; no word names two."""

COMMON = GROUPS["gender"]["women"] | GROUPS["gender"]["men"] | GROUPS["age"]["old people"] | GROUPS["age"]["young people"]
"""Half of humankind each, and so in ordinary prose on every page; the other terms mark a group out."""

PEOPLE = frozenset(
    "people person persons man men woman women boy boys girl girls child children kid kids folk folks male males female females community "
    "communities couple couples family families american americans student students worker workers citizen citizens voter voters neighbour "
    "neighbours neighbor neighbors population populations guy guys lady ladies adult adults".split()
)
"""Who is meant when an adjective could as well describe a thing."""

AMBIGUOUS = frozenset("black white straight old older young younger blind deaf native orthodox polish depressed bipolar paralyzed paralysed".split())
"""Adjectives of things as much as of people: `bias` counts them only before one of PEOPLE."""
