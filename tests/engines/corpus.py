"""A small corpus for tests with real models: statements on twelve topics, and questions about them."""

from langchain_core.documents import Document

_TOPICS = {
    "rivers": """
        A river carries the finest sand the farthest, because slow water still lifts small grains.
        Meanders wander downstream as the outer bank is cut and the inner bank grows.
        Deltas form where a river meets a sea with little tide and drops what it carried.
        After heavy rain the level of a short mountain stream rises within an hour.
        Salmon swim up the river they hatched in to lay their eggs in its gravel.
        A weir slows the current and lets boats pass through a lock beside it.""",
    "bread": """
        Sourdough rises through wild yeast and bacteria that live in flour and water.
        Strong flour has more gluten, so that the dough holds the gas and the loaf stands high.
        Steam in the first minutes of baking keeps the crust soft until the loaf has risen.
        Dough that rests overnight in the cold tastes better and is easier to shape.
        Salt slows the yeast down and tightens the dough.
        A loaf is done when it sounds hollow if you knock on its bottom.""",
    "bicycles": """
        A chain that is worn by one per cent wears out the sprockets too and should be replaced.
        Wide tyres at low pressure roll faster on gravel than narrow hard ones.
        Disc brakes stop a bicycle in the rain almost as well as in the dry.
        A low gear lets you climb a steep hill without hurting your knees.
        Spokes are under tension all around the wheel, and a loose one makes the rim wobble.
        The height of the saddle is right when the leg is nearly straight at the lowest pedal.""",
    "stars": """
        The colour of a star tells its temperature: blue ones are hotter than red ones.
        A white dwarf is what a star like the sun leaves behind when its fuel is spent.
        Light of the nearest star beyond the sun takes more than four years to reach us.
        Astronomers measure how far a star is by its tiny yearly shift against the background.
        Iron is the heaviest element that a star can make and still gain energy.
        A pulsar is a turning neutron star whose beam sweeps over us like that of a lighthouse.""",
    "databases": """
        A transaction is durable once its log record has reached the disk.
        An index on a column makes reading faster and every insert a little slower.
        Two transactions that wait for each other's locks are in a deadlock, and one is rolled back.
        A replica that falls behind answers with data of some seconds ago.
        Vacuuming removes versions of rows that no running transaction can see any more.
        A foreign key keeps rows from pointing to a parent that does not exist.""",
    "bees": """
        A worker bee dances to tell the others in which direction flowers are and how far.
        In winter the bees sit in a cluster and shiver to keep their queen warm.
        A colony swarms in spring when the hive gets too full, and the old queen leaves with half of it.
        Drones are male bees that neither sting nor gather nectar.
        Honey keeps for years because it holds too little water for anything to grow in it.
        Many fruit trees bear next to nothing unless insects pollinate their blossom.""",
    "law": """
        A contract needs no paper to be binding, but it is hard to prove without one.
        Whoever claims something before a civil court has to prove the facts it rests on.
        A limitation period ends the right to sue some years after the damage was known.
        An appeal must be lodged within a few weeks after the judgment was served.
        A tenant may reduce the rent as long as the flat has a serious defect.
        Copyright arises with the work itself; nobody has to register it.""",
    "weather": """
        Warm air holds more water vapour, so storms in a warmer climate bring more rain.
        Fog forms in clear calm nights when the ground cools the damp air above it.
        Wind blows along the lines of equal pressure, with low pressure to its left in the north.
        Thunder follows lightning by three seconds for every kilometre of distance.
        Hail grows in layers while strong updrafts lift the stones again and again.
        A forecast for ten days ahead is hardly better than the average of the season.""",
    "medicine": """
        Antibiotics act against bacteria and do nothing against the virus of a cold.
        High blood pressure causes no pain for years while it harms heart and kidneys.
        A vaccine shows the immune system a harmless part of the germ in advance.
        Insulin lets cells take up sugar from the blood, and people with diabetes lack it.
        A broken bone heals within weeks if its ends are held still against each other.
        Fever above forty degrees in a small child is a reason to call a doctor.""",
    "music": """
        A string half as long sounds an octave higher.
        The oboe gives the note by which an orchestra tunes, because its pitch hardly drifts.
        In a fugue the voices enter one after another with the same theme.
        Felt dampers stop the strings of a piano when the key is let go.
        A drum sounds lower when its skin is loose.
        Syncopation puts the accent where the listener does not expect it.""",
    "trains": """
        A train on wet leaves needs far longer to brake, since steel slips on steel.
        Points move the rails sideways so that a train changes to another track.
        Overhead wires carry alternating current of some thousand volts to the locomotive.
        Signals keep a stretch of track free until the train before has left it.
        Night trains take longer on purpose so that nobody arrives at four in the morning.
        The gauge of the rails differs from land to land, and some trains change wheels at the border.""",
    "gardens": """
        Tomatoes want sun, a stake and water on the soil rather than on the leaves.
        Compost turns kitchen waste into dark soil within a year.
        Beans feed the ground with nitrogen through bacteria at their roots.
        Slugs come out at night after rain and prefer young lettuce.
        Roses are cut back in early spring, just above a bud that points outward.
        A hedge of hawthorn gives birds a place to nest and keeps cattle out.""",
}

QUESTIONS = (
    "why does a star shine blue or red?",
    "how do I know that my loaf is baked?",
    "what makes a wheel wobble?",
    "how do bees tell each other where to find food?",
    "when is written data safe against a crash?",
    "do I have to pay the whole rent for a damaged flat?",
    "how far away is the lightning?",
    "which medicine helps against a cold?",
    "why does braking on rails take so long in autumn?",
    "what grows well next to beans?",
    "how does a river build land at the coast?",
    "which instrument does the orchestra tune to?",
)


def documents() -> list[Document]:
    """Return the corpus: ids of topic and number, the topic and the number (from 0) in the metadata."""
    return [
        Document(
            id=f"{topic}-{number}", page_content=line.strip(), metadata={"topic": topic, "number": number}
        )
        for topic, lines in _TOPICS.items()
        for number, line in enumerate(lines.strip().splitlines())
    ]
