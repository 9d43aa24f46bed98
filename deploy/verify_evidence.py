"""Checks an evidence bundle of Stoppress: python3 verify_evidence.py FILE"""
import hashlib, json, sys

def sha(*parts):
    return hashlib.sha256(b"".join(parts)).hexdigest()

bundle, bad, heads, known = json.load(open(sys.argv[1], encoding="utf-8")), [], {}, set()
seal = bundle.pop("seal")
if sha(json.dumps(bundle, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()) != seal:
    bad.append("the seal does not fit")
for point in bundle["checkpoints"]:
    covered = point["entries"]
    if covered is not None and sha(point["previous"].encode(), *(it["hash"].encode() for it in covered)) != point["hash"]:
        bad.append(f"checkpoint #{point['seq']}")
    known |= {(point["seq"], it["seq"], it["hash"]) for it in covered or []} | ({point["seq"]} if covered is None else set())
for entry in bundle["entries"]:
    texts = [text.encode() for text in entry["hashed"]]
    ok = sha(*(len(text).to_bytes(8, "big") + text for text in texts)) == entry["hash"]
    ok = ok and heads.get(entry["hashed"][2], "") == entry["hashed"][0]
    point = entry["checkpoint"]
    if not ok or not (point is None or point in known or (point, entry["seq"], entry["hash"]) in known):
        bad.append(f"entry #{entry['seq']}")
    heads[entry["hashed"][2]] = entry["hash"]
if heads != {chain["subject"]: chain["head"] for chain in bundle["chains"]}:
    bad.append("an entry is missing")
sys.exit("NOT VERIFIED: " + ", ".join(bad) if bad else print(f"verified: {len(bundle['entries'])} entries"))
