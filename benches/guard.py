"""Whether modelfetch is as far ahead of the alternatives as it was: ratios, which move less from machine to machine
than times. `guard.json` holds those of the last release, with the worst that a check could have seen in its runs."""

import itertools
import json
import pathlib
import statistics

import contenders
from surroundings import processor

COMMITTED = pathlib.Path(__file__).with_name("guard.json")

# Where the time goes another way in each: the hash, the number of connections, and the files.
PARTS = {
    "uncapped": ("1GiB", "curl, openssl dgst"),
    "capped": ("512MiB", "aria2c -x16 --checksum"),
    "punishing": ("256MiB", "aria2c -x16 --checksum"),
    "many": ("1MB", "curl -Z --parallel-max 8, openssl dgst"),
}
RUNS = 3
RUNS_TO_WRITE = 7
# Of another processor the hash and the memory are quicker or slower, not by the same share.
OTHER_PROCESSOR = 0.85


def measured(measure, is_thorough):
    """How many times as long the alternative took, run by run, for each part."""
    ratios = {}
    for link, (size, rival) in PARTS.items():
        chosen = [contender for contender in contenders.of(link) if contender.name in ("modelfetch", rival)]
        results = measure(link, size, RUNS_TO_WRITE if is_thorough else RUNS, chosen)
        pairs = zip(results["modelfetch"].durable(), results[rival].durable(), strict=True)
        ratios[link] = [theirs / ours for ours, theirs in pairs]
    return ratios


def write(ratios):
    """Commits to these."""
    parts = {link: {"rival": PARTS[link][1], "size": PARTS[link][0], "median": round(statistics.median(seen), 2),
                    "least": round(least(seen), 2), "runs": [round(ratio, 2) for ratio in seen]}
             for link, seen in ratios.items()}
    COMMITTED.write_text(json.dumps({"processor": processor(), "parts": parts}, indent=2, ensure_ascii=False) + "\n")
    print(COMMITTED.read_text())
    return 0


def least(seen):
    """The lowest median that a check could have had of these runs: one run that the machine held up says nothing."""
    return min(statistics.median(runs) for runs in itertools.combinations(seen, RUNS))


def check(ratios):
    """Whether each median is at least the least that was committed to."""
    committed = json.loads(COMMITTED.read_text())
    share = 1.0 if committed["processor"] == processor() else OTHER_PROCESSOR
    if share < 1.0:
        print(f"The ratios are those of {committed['processor']}: here {share:.0%} of them will do.")
    print("| part | alternative | times as long | committed | at least |\n|---|---|---|---|---|")
    worse = 0
    for link, seen in ratios.items():
        part = committed["parts"][link]
        bound = share * part["least"]
        is_worse = statistics.median(seen) < bound
        worse += is_worse
        print(f"| {link} | {part['rival']} | {statistics.median(seen):.2f} ({min(seen):.2f}–{max(seen):.2f}) | "
              f"{part['median']:.2f} | {bound:.2f}{' **worse**' if is_worse else ''} |")
    return 1 if worse else 0

