"""Changes the rules and the verbs of the store in one place at a time, and says which changes no test notices.

`python tests/python/mutations.py COPY [--only REGEX...] [--report]`, from the root of the repository. It needs cargo-mutants,
which says what to change (where, is in `.cargo/mutants.toml`), and nothing else. A build for each change takes too long on
a small machine, so all changes go into one binary, each behind a number. They are written into COPY, a folder that is made
from the files that git knows, never into this tree. A `target` in it with the dependencies saves their build.

1. plan: the list of changes, and the place of each. What does not compile is found by compiling, taken out and counted.
2. reach: each test runs alone once, and the binary writes down which changes it came past.
3. try: each change runs the tests that come past it, those first that noticed a neighbour, then unit
   tests, then those named like the file, then the shortest.

Every step keeps what it knows in `COPY/mutations`, so a run that was ended goes on where it was. After a change of tests,
delete `reach.jsonl` there, and go on with `--again`; after a change of what is tried, all of it. Without PostgreSQL and
whole gateways unless `--tests` and `--without` say otherwise: `--again --tests '^it ' --without X` tries what survived.

What no test notices is explained in `mutations_explained.txt`, beside this: a line that says why, and under it the changes by
their names. `--report` fails as long as one is not explained or not tried.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

from mutations_text import Node, Source, Unplaced, Writer, place

SWITCH = """\
//! Which change is on, and which were come past.
use std::io::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

static ON: LazyLock<usize> = LazyLock::new(|| std::env::var("MUTANT").map_or(0, |n| n.parse().unwrap()));
static SEEN: LazyLock<Option<(std::fs::File, Vec<AtomicBool>)>> = LazyLock::new(|| {
    let path = std::env::var_os("MUTANTS_SEEN")?;
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    Some((file, (0..10_000).map(|_| AtomicBool::new(false)).collect()))
});

pub fn is(n: usize) -> bool {
    if let Some((file, seen)) = &*SEEN
        && !seen[n].swap(true, Ordering::Relaxed)
    {
        (&mut &*file).write_all(format!("{n}\\n").as_bytes()).unwrap();
    }
    *ON == n
}

/// One of two iterators.
pub enum Either<L, R> {
    Left(L),
    Right(R),
}

impl<T, L: Iterator<Item = T>, R: Iterator<Item = T>> Iterator for Either<L, R> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        match self {
            Self::Left(left) => left.next(),
            Self::Right(right) => right.next(),
        }
    }
}
"""

# ---- plan


def listed():
    made = subprocess.run(
        ["cargo", "mutants", "--list", "--json", "--no-shuffle", "--colors=never"], check=True, stdout=subprocess.PIPE
    )
    return {number: mutant for number, mutant in enumerate(json.loads(made.stdout), 1)}


def copied(copy):
    """The files that git knows, without the lints: a change breaks them."""
    files = subprocess.run(["git", "ls-files", "-z"], check=True, stdout=subprocess.PIPE).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, files)):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, copy / name)
    manifest = copy / "Cargo.toml"
    manifest.write_text(re.sub(r"(?ms)^\[lints[^\n]*\n.*?(?=^\[(?!lints)|\Z)", "", manifest.read_text()))
    (copy / "src/mutant.rs").write_text(SWITCH)
    with (copy / "src/lib.rs").open("a") as lib:
        lib.write("\npub mod mutant;\n")


def written(copy, mutants, dropped):
    """Writes every change that is not dropped; gives, for each file, where each one is."""
    regions, nodes = {}, collections.defaultdict(dict)
    sources = {}
    for number, mutant in mutants.items():
        file = mutant["file"]
        if file not in sources:
            sources[file] = Source(pathlib.Path(file))
        source = sources[file]
        if number in dropped:
            continue
        try:
            start, end, rank, new = place(source, mutant)
        except (Unplaced, ValueError, IndexError, KeyError) as why:
            dropped[number] = str(why) if isinstance(why, Unplaced) else f"not placed: {why!r}"
            continue
        key = (start, end, rank, number if rank == "arm" else 0)
        node = nodes[file].setdefault(key, Node(start, end, rank))
        node.choices.append((number, new))
    for file, source in sources.items():
        writer = Writer(source, nodes[file].values())
        path, text = copy / file, "".join(writer.parts)
        if path.read_text() != text:
            path.write_text(text)
        regions[file] = writer.regions
    return regions


def cargo(copy, *words):
    made = subprocess.run(
        ["cargo", *words, "--locked", "--message-format=json", "--config=profile.dev.debug=false"], cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return made, [json.loads(line) for line in made.stdout.splitlines() if line.startswith(b"{")]


def guilty(errors, regions, mutants):
    """The changes that errors of the compiler point at, or that stand in what they point at."""
    found = {}
    for error in errors:
        message = error["message"]
        spans = [message["spans"]] + [child["spans"] for child in message["children"]]
        spans = sorted((span for group in spans for span in group), key=lambda span: not span["is_primary"])
        for span in spans:
            while span.get("expansion") and span["file_name"] not in regions:
                span = span["expansion"]["span"]
            begin, end = span["byte_start"], span["byte_end"]
            own = [r for r in regions.get(span["file_name"], []) if r[0] <= begin and end <= r[1]]
            if own:
                code = (message["code"] or {}).get("code")
                found[min(own, key=lambda r: r[1] - r[0])[2]] = "constant" if code == "E0015" else f"does not compile: {code}"
                break
        else:
            spans = [span for span in spans if span["file_name"] == spans[0]["file_name"]]
            begin, end = min(span["byte_start"] for span in spans), max(span["byte_end"] for span in spans)
            for start, stop, number in regions.get(spans[0]["file_name"], []):
                kind = mutants[number]["genre"], "impl Iterator" in mutants[number]["function"]["return_type"]
                if begin <= start and stop <= end and (kind[0] == "MatchArm" or kind == ("FnValue", True)):
                    found[number] = "does not compile: arm or iterator"
    return found


def planned(copy, state):
    """Every change, and why it is not tried if it is not."""
    path = state / "plan.json"
    if path.exists():
        plan = json.loads(path.read_text())
        return {int(n): m for n, m in plan["mutants"].items()}, {int(n): why for n, why in plan["dropped"].items()}
    mutants, dropped = listed(), {}
    if (state / "dropped.json").exists():
        dropped = {int(n): why for n, why in json.loads((state / "dropped.json").read_text()).items()}
    copied(copy)
    while True:
        regions = written(copy, mutants, dropped)
        made, messages = cargo(copy, "check", "--lib")
        errors = [m for m in messages if m["reason"] == "compiler-message" and m["message"]["level"] == "error"]
        if made.returncode == 0:
            break
        found = guilty(errors, regions, mutants)
        print(f"{len(errors)} errors, {len(found)} changes taken out", flush=True)
        if not found:
            for error in errors[:20]:
                print(error["message"]["rendered"])
            sys.exit(made.stderr.decode()[-3000:])
        dropped |= found
        (state / "dropped.json").write_text(json.dumps(dropped))
    for mutant in mutants.values():
        mutant.pop("diff", None)
    path.write_text(json.dumps({"mutants": mutants, "dropped": dropped}, indent=1))
    return mutants, dropped


# ---- reach and try



def limited(seconds):
    """A change may make a loop that never ends, and keeps all it makes."""
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))


class Tests:
    """The binaries with the tests in them."""

    def __init__(self, copy, state, build):
        # Copies, so that tests can be built anew beside a run.
        self.programs = {"stoppress": state / "stoppress", "it": state / "it"}
        if build:
            made, messages = cargo(copy, "test", "--no-run", "--lib", "--test", "it")
            if made.returncode != 0:
                sys.exit(made.stderr.decode()[-3000:])
            for message in messages:
                if message["reason"] == "compiler-artifact" and message["executable"] and message["profile"]["test"]:
                    path = self.programs[message["target"]["name"]]
                    path.unlink(missing_ok=True)
                    shutil.copy2(message["executable"], path)
        self.copy = copy
        self.environment = os.environ | {
            "CARGO_MANIFEST_DIR": str(copy), "RUST_BACKTRACE": "0", "RUST_LOG": "off", "RUSTC_BOOTSTRAP": "1",
            "INSTA_UPDATE": "no", "INSTA_WORKSPACE_ROOT": str(copy), "PROPTEST_FAILURE_PERSISTENCE": "off",
        }  # fmt: skip

    def names(self):
        for program, path in self.programs.items():
            said = subprocess.run([path, "--list", "--format=terse"], cwd=self.copy, env=self.environment, stdout=subprocess.PIPE)
            for line in said.stdout.decode().splitlines():
                if line.endswith(": test"):
                    yield f"{program} {line.removesuffix(': test')}"

    def run(self, names, limit, **environment):
        """Which test failed, `None` if none did, and how long it took. All are of one program. `limit` is in seconds of
        the processor: beside others, a test may wait long for it."""
        program = names[0].split()[0]
        words = [self.programs[program], "--exact", *(name.split()[1] for name in names), "-Zunstable-options", "--fail-fast"]
        began = time.monotonic()
        child = subprocess.Popen(
            words, cwd=self.copy, env=self.environment | environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            preexec_fn=lambda: limited(limit),
        )  # fmt: skip
        failed = None
        try:
            said, _ = child.communicate(timeout=60 + limit)
            if child.returncode == -signal.SIGXCPU:
                failed = "too slow"
            elif child.returncode != 0:
                found = re.search(rb"^test (\S+).* \.\.\. FAILED", said, re.M)
                failed = f"{program} {found[1].decode()}" if found else f"ended with {child.returncode}"
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            failed = "no end"
        return failed, time.monotonic() - began


def reached(tests, state, only):
    """For each test how long it takes and what it comes past; those that fail are left out."""
    path, known = state / "reach.jsonl", {}
    if path.exists():
        known = {row["test"]: row for row in map(json.loads, path.read_text().splitlines())}
    names = [name for name in tests.names() if re.search(only, name)]
    with path.open("a") as out:
        for name in names:
            if name in known:
                continue
            seen = state / "seen"
            seen.unlink(missing_ok=True)
            failed, took = tests.run([name], 120, MUTANTS_SEEN=str(seen))
            numbers = sorted({int(n) for n in seen.read_text().split()}) if seen.exists() else []
            known[name] = {"test": name, "failed": failed, "took": round(took, 3), "changes": numbers}
            out.write(json.dumps(known[name]) + "\n")
            out.flush()
    return {name: known[name] for name in names if known[name]["failed"] is None}


def packed(names, reach):
    """The tests as groups for one process each: first few, then more."""
    groups, limit = [], 0.5
    for name in names:
        took = reach[name]["took"]
        if groups and groups[-1][0].split()[0] == name.split()[0] and sum(reach[n]["took"] for n in groups[-1]) + took < limit:
            groups[-1].append(name)
        else:
            limit = min(limit * 2, 20) if groups else limit
            groups.append([name])
    return groups


def within(names, reach, most):
    """Those of the tests that run in so many seconds."""
    total, taken = 0, []
    for name in names:
        if total + reach[name]["took"] <= most:
            total += reach[name]["took"]
            taken.append(name)
    return taken or names[:1]


def tried(tests, state, mutants, numbers, reach, asked):
    path, results = state / "results.jsonl", {}
    if path.exists():
        results = {row["number"]: row for row in map(json.loads, path.read_text().splitlines())}
    by_change = collections.defaultdict(list)
    for name, row in reach.items():
        for number in row["changes"]:
            by_change[number].append(name)
    kills = collections.Counter()

    def where(number):
        mutant = mutants[number]
        return mutant["file"], (mutant["function"] or {"function_name": ""})["function_name"]

    def counted(row):
        if row["by"] in reach:
            file, function = where(row["number"])
            kills[file, row["by"]] += 1
            kills[file, function, row["by"]] += 1

    for row in results.values():
        counted(row)
    with path.open("a") as out:
        for number in numbers:
            before = results.get(number, {"tests": [], "end": ""})
            todo = [name for name in by_change[number] if name not in set(before["tests"])]
            if before["end"] == "noticed" or before["end"] in ("survived", "not reached") and not (asked.again and todo):
                continue
            file, function = where(number)
            near = f"{pathlib.Path(file).stem}::"

            def turn(name):
                unit = name.startswith("stoppress ")
                return -kills[file, function, name], not unit, near not in name, -kills[file, name], reach[name]["took"]

            todo.sort(key=turn)
            todo = within(todo, reach, asked.most)
            row = {"number": number, "end": "survived" if todo or before["tests"] else "not reached", "by": None}
            row["tests"], row["took"] = before["tests"] + todo, 0
            for group in packed(todo, reach):
                alone = sum(reach[name]["took"] for name in group)
                failed, took = tests.run(group, 8 + 10 * alone, MUTANT=str(number))
                row["took"] = round(row["took"] + took, 2)
                if failed:
                    # Without an end and without work, it may only have waited for the processor: the next run tries again.
                    row |= {"end": "not ended" if failed == "no end" else "noticed", "by": failed, "tests": []}
                    break
            results[number] = row
            counted(row)
            out.write(json.dumps(row) + "\n")
            out.flush()
    return results


EXPLAINED = pathlib.Path(__file__).with_name("mutations_explained.txt")


def named(mutants):
    """The name of each change without its place, which moves; those of one name in one file are counted."""
    names = {number: re.sub(r":\d+:\d+:", ":", mutant["name"], count=1) for number, mutant in mutants.items()}
    often, nth = collections.Counter(names.values()), collections.Counter()
    for number, name in names.items():
        nth[name] += 1
        if often[name] > 1:
            names[number] = f"{name} #{nth[name]}"
    return names


def explained():
    """The changes that somebody looked at, by name, each with why nothing notices it."""
    why, found = None, {}
    for line in EXPLAINED.read_text().splitlines():
        if line.startswith("    "):
            found[line.strip()] = why
        elif line.strip() and not line.startswith("#"):
            why = line
    return found


def report(mutants, dropped, results):
    """Prints how the changes ended; false if one is left that nobody tried or explained."""
    ends = collections.Counter(re.sub(": .*", "", why) for why in dropped.values())
    ends += collections.Counter(row["end"] for row in results.values())
    untried = len(mutants) - sum(ends.values())
    ends["not tried yet"] = untried
    print(f"{len(mutants)} changes:", ", ".join(f"{count} {end}" for end, count in ends.most_common() if count))
    names, known = named(mutants), explained()
    left = {number: row["end"] for number, row in sorted(results.items()) if row["end"] != "noticed"}
    unknown = {number: end for number, end in left.items() if names[number] not in known}
    print(f"{len(left)} are left, {len(left) - len(unknown)} of them explained")
    for wanted in ("survived", "not reached", "not ended"):
        found = [number for number, end in unknown.items() if end == wanted]
        if found:
            print(f"\n{wanted}, and not explained:")
        for number in found:
            print(f"{number:5} {mutants[number]['name']}")
    stale = known.keys() - {names[number] for number in left}
    if stale and not untried:
        print(f"\nexplained in {EXPLAINED.name}, and not left:", *sorted(stale), sep="\n    ")
    print(f"\ntrying took {sum(row['took'] for row in results.values()) / 60:.0f} minutes")
    return not unknown and not untried


# The tests of the rules and of the store; these pass whole gateways by.
RULES = ["store", "edges", "edges_orders", "lines", "cutoffs", "calendar", "zones", "ics", "webhooks_rules", "person_rules"]


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("copy", type=pathlib.Path)
    words.add_argument("--only", nargs="*", default=[""], help="changes whose names have one of these, in this order")
    words.add_argument("--tests", default=rf"^stoppress |^it ({'|'.join(RULES)})::")
    words.add_argument("--without", default=r"postgres|replicas|every_zone")
    words.add_argument("--again", action="store_true", help="what survived is tried with tests that it was not tried with")
    words.add_argument("--most", type=float, default=1e9, help="seconds of tests for each change in this run")
    words.add_argument("--built", action="store_true", help="with the binaries of the last run")
    words.add_argument("--report", action="store_true")
    asked = words.parse_args()
    copy = asked.copy.resolve()
    state = copy / "mutations"
    state.mkdir(parents=True, exist_ok=True)
    mutants, dropped = planned(copy, state)
    numbers = [n for word in asked.only for n in mutants if re.search(word, mutants[n]["name"]) and n not in dropped]
    if asked.report:
        path = state / "results.jsonl"
        rows = map(json.loads, path.read_text().splitlines()) if path.exists() else []
        sys.exit(0 if report(mutants, dropped, {row["number"]: row for row in rows}) else 1)
    tests = Tests(copy, state, not asked.built)
    reach = reached(tests, state, f"^(?!.*({asked.without})).*({asked.tests})")
    results = tried(tests, state, mutants, list(dict.fromkeys(numbers)), reach, asked)
    report(mutants, dropped, results)


if __name__ == "__main__":
    main()
