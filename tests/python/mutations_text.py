"""Writes changes into a file of Rust, each behind a number: `if mutant::is(7) { a || b } else { a && b }`.

cargo-mutants says where an operator stands, not where its operands do, so they are found here: by brackets, by how strongly
operators bind, and by what can only stand before an operand. What is misread does not compile, and is counted as that. An
operator keeps its operands: of `a && b && c` the first change is `(a || b) && c`.
"""

import bisect
import re

# ---- where an operand begins and ends

TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<text>[bc]?r(?P<hash>\#*)".*?"(?P=hash)|[bc]?"(?:\\.|[^"\\])*"|b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^\\'])')
    |(?P<life>'[A-Za-z_]\w*)|(?P<number>\d\w*(?:\.\d\w*)?)|(?P<word>(?:r\#)?[A-Za-z_]\w*)
    |(?P<op><<=|>>=|\.\.=|::|->|=>|==|!=|<=|>=|&&|\|\||\+=|-=|\*=|/=|%=|\^=|&=|\|=|<<|>>|\.\.|.)""",
    re.X | re.S,
)
BINDS = {"*": 10, "/": 10, "%": 10, "+": 9, "-": 9, "<<": 8, ">>": 8, "&": 7, "^": 6, "|": 5, "&&": 3, "||": 2}
BINDS |= dict.fromkeys(["==", "!=", "<", ">", "<=", ">="], 4)
BEFORE = {"return", "if", "while", "match", "in", "let", "else", "break", "move", "async", "unsafe", "loop"}
ENDS = {";", ",", "=>", "=", ":", "..", "..=", "->", "#", "@"}
PAIRS = {"(": ")", "[": "]", "{": "}"}


class Unplaced(Exception):
    """The change cannot be behind a switch."""


class Source:
    def __init__(self, path):
        self.path, self.text = path, path.read_text()
        self.lines = [0] + [at.end() for at in re.finditer("\n", self.text)]
        tokens = [m for m in TOKEN.finditer(self.text) if m.lastgroup != "skip" and not m.group("skip")]
        self.starts, self.ends = [m.start() for m in tokens], [m.end() for m in tokens]
        self.words, self.mates = [m.group() for m in tokens], {}
        self.kinds = ["op" if m.group("op") else "word" if m.group("word") else "other" for m in tokens]
        open_ = []
        for at, word in enumerate(self.words):
            if self.kinds[at] != "op":
                continue
            if word in PAIRS:
                open_.append(at)
            elif word in PAIRS.values():
                begin = open_.pop()
                self.mates[begin], self.mates[at] = at, begin
            elif word == "<" and (self.words[at - 1] == "::" or self.prefix(at)):
                self.generics(at)

    def generics(self, begin):
        depth = 0
        for at in range(begin, len(self.words)):
            depth += {"<": 1, ">": -1, ">>": -2}.get(self.words[at], 0)
            if depth <= 0:
                self.mates[begin], self.mates[at] = at, begin
                return

    def offset(self, place):
        return self.lines[place["line"] - 1] + place["column"] - 1

    def token(self, offset):
        return bisect.bisect_left(self.starts, offset)

    def prefix(self, at):
        """Whether an operator here has nothing on its left."""
        word, kind = self.words[at - 1], self.kinds[at - 1]
        return kind == "op" and word not in (")", "]", "}", "?", ">") or kind == "word" and word in BEFORE

    def left(self, at, binds):
        """Where the left operand begins."""
        begin = at
        while begin > 0:
            before = begin - 1
            word, kind = self.words[before], self.kinds[before]
            if kind == "word" and word in BEFORE:
                break
            if before in self.mates:
                if self.mates[before] > before:
                    break
                fresh = begin != at and (self.kinds[begin] != "op" or self.words[begin] in ("(", "[", "{", "!", "&", "*"))
                if word == "}" and fresh or word == "]" and self.words[self.mates[before] - 1] == "#":
                    break
                begin = self.mates[before]
                continue
            if kind == "op" and word not in (".", "::", "?"):
                if word in ENDS or word.endswith("=") and word not in BINDS:
                    break
                if word == "|" or (word in BINDS and not self.prefix(before) and BINDS[word] < binds):
                    break
                if word == "||" and self.prefix(before):
                    break
            begin = before
        if begin == at:
            raise Unplaced("nothing on the left")
        return begin

    def condition(self, at):
        """Whether a brace here would end a condition: no literal of a struct may stand in one."""
        while at > 0:
            at -= 1
            word = self.words[at]
            if word in ("if", "while", "match") or word == "in" and self.kinds[at] == "word":
                return True
            if word in (";", ",", "=>") or at in self.mates and self.mates[at] > at:
                return False
            if at in self.mates:
                if word == "}" and self.kinds[at + 1] != "op":
                    return False
                at = self.mates[at]
        return False

    def right(self, at, binds):
        """The last token of the right operand."""
        bare = self.condition(at)
        at += 1
        while True:
            while self.words[at] in ("!", "-", "*", "&", "&&", "mut") and self.kinds[at] != "other":
                at += 1
            word = self.words[at]
            if word == "let":
                raise Unplaced("does not compile")
            if word in ("|", "||", "move"):
                while self.words[at + 1] not in (",", ";", ")", "]", "}"):
                    at = self.mates.get(at + 1, at + 1)
            elif word in ("if", "match", "unsafe", "loop", "async"):
                while True:
                    while self.words[at] != "{":
                        at = self.mates.get(at, at) + 1
                    at = self.mates[at]
                    if self.words[at + 1] != "else":
                        break
                    at += 1
            else:
                at = self.mates.get(at, at)
            while True:
                after = at + 1
                word = self.words[after]
                if word in (".", "::", "as"):
                    at = self.mates.get(after + 1, after + 1)
                elif word in ("(", "[") or word == "<" and after in self.mates:
                    at = self.mates[after]
                elif word == "?":
                    at = after
                elif word == "!" and self.words[after + 1] in PAIRS:
                    at = self.mates[after + 1]
                elif word == "{" and not bare and self.words[at][:1].isupper():
                    at = self.mates[after]
                else:
                    break
            if BINDS.get(self.words[at + 1], 0) <= binds:
                return at
            at += 2


# ---- the changes as text


class Node:
    """A piece of the source that is written in another way; `rank` orders what has the same ends."""

    def __init__(self, start, end, rank):
        self.start, self.end, self.rank, self.choices = start, end, rank, []

    def key(self):
        return (self.start, self.start != self.end, -self.end, RANKS[self.rank])


def place(source, mutant):
    """The ends of the change, its rank, and what stands there when it is on."""
    start, end = source.offset(mutant["span"]["start"]), source.offset(mutant["span"]["end"])
    genre, new = mutant["genre"], mutant["replacement"]
    if mutant["function"] is None:
        raise Unplaced("constant")
    if genre == "FnValue":
        if "impl Iterator" in mutant["function"]["return_type"]:
            return start, end, "iterator", new
        return start, start, "value", new
    if genre == "MatchArmGuard":
        return start, end, "guard", new
    at = source.token(start)
    if genre == "MatchArm":
        last = source.token(end)
        while source.words[at] not in ("=>", "if") and at < last:
            at = source.mates.get(at, at) + 1
        if source.words[at] == "=>":
            return source.starts[at], source.starts[at], "arm", ""
        begin = at + 1
        while source.words[at] != "=>":
            at = source.mates.get(at, at) + 1
        return source.starts[begin], source.ends[at - 1], "arm", ""
    if genre == "StructField":
        close = at
        while source.words[close] != "}" or source.mates[close] > close:
            close = source.mates.get(close, close) + 1
        first = source.mates[close] - 1
        while source.words[first - 1] == "::":
            first -= 2
        begin, stop = source.starts[first], source.ends[close]
        return begin, stop, "operator", source.text[begin:start] + source.text[end:stop]
    if genre == "UnaryOperator":
        last = source.right(at, 11)
        return start, source.ends[last], "operator", source.text[source.ends[at] : source.ends[last]]
    binds = BINDS.get(source.words[at], 0)
    first, last = source.left(at, binds), source.right(at, binds)
    if source.words[first - 1] == "=" and source.words[at] == "&&":
        let = first - 1
        while source.words[let] not in ("let", ";", "{"):
            let -= 1
        if source.words[let] == "let" and source.words[let - 1] in ("if", "while", "&&"):
            raise Unplaced("does not compile")
    old = (source.starts[first], source.ends[last])
    return *old, "operator", source.text[old[0] : start] + new + source.text[end : old[1]]


RANKS = {"value": 0, "iterator": 1, "arm": 2, "guard": 3, "operator": 4}


class Writer:
    def __init__(self, source, nodes):
        self.source, self.parts, self.length, self.regions = source, [], 0, []
        self.emit(0, len(source.text), sorted(nodes, key=Node.key))

    def put(self, text, number=None):
        size = len(text.encode())
        if number is not None:
            self.regions.append((self.length, self.length + size, number))
        self.parts.append(text)
        self.length += size

    def emit(self, start, end, nodes):
        at = start
        while nodes:
            node, nodes = nodes[0], nodes[1:]
            count = 0
            while count < len(nodes) and nodes[count].end <= node.end and node.start != node.end:
                count += 1
            self.put(self.source.text[at : node.start])
            self.write(node, nodes[:count])
            at, nodes = node.end, nodes[count:]
        self.put(self.source.text[at:end])

    def write(self, node, inner):
        kind = node.rank
        if kind == "value":
            for number, new in node.choices:
                self.put(f"if crate::mutant::is({number}) {{ return {new}; }}\n", number)
        elif kind == "arm":
            number = node.choices[0][0]
            if node.start == node.end:
                self.put(f"if !crate::mutant::is({number}) ", number)
            else:
                self.put(f"!crate::mutant::is({number}) && (", number)
                self.emit(node.start, node.end, inner)
                self.put(")")
        else:
            iterator, ends = kind == "iterator", ""
            self.put("" if iterator else "(")
            for number, new in node.choices:
                new = f"crate::mutant::Either::Left({new})" if iterator else new
                self.put(f"if crate::mutant::is({number}) {{ {new} }} else ", number)
                if iterator:
                    self.put("{ crate::mutant::Either::Right(")
                    ends += ") }"
            self.put("{ ")
            self.emit(node.start, node.end, inner)
            self.put(" }" + ends + ("" if iterator else ")"))
