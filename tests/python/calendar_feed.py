"""The calendar of a lab's region as a program that subscribes to it sees it, read by the `icalendar` library.

Called with the program: `python tests/python/calendar_feed.py target/debug/stoppress`. It starts a gateway, makes a link
without a key, and looks at the bytes as RFC 5545 has them and at the events as Thunderbird and Google keep them: by their
UID, the later form of an event in the place of the earlier. Then the cutoff changes, and a window is postponed; the
program that subscribed must have every event once, where the gateway says.
"""

import datetime
import re
import sys
import tempfile
import urllib.error
import urllib.request
import zoneinfo

from gateway import Gateway

try:
    import icalendar
except ImportError:
    sys.exit("icalendar is missing: python -m pip install --requirement tests/python/requirements.txt")

REGION = "/v1/labs/nordprint/regions/fi"
UTC = datetime.timezone.utc


def coming(gateway):
    """The next cutoffs, as programs are told them."""
    told = gateway.call("GET", f"{REGION}/cutoffs")["cutoffs"]
    return [datetime.datetime.fromisoformat(cutoff["closes_at"]) for cutoff in told]


def octets(raw):
    """The rules for content lines (RFC 5545, 3.1)."""
    assert raw.endswith(b"END:VCALENDAR\r\n"), raw[-40:]
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r"), "lines end with CRLF and nothing else"
    for line in raw.split(b"\r\n"):
        assert len(line) <= 75, line
        line.decode()
        assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", line), line


def calendar(raw):
    """Reads the feed, and looks at what is of the whole calendar."""
    octets(raw)
    read = icalendar.Calendar.from_ical(raw)
    assert icalendar.Calendar.from_ical(read.to_ical()) == read, "what the library writes is what it has read"
    for part in read.walk():
        assert not getattr(part, "errors", []), part.errors
    assert read["VERSION"] == "2.0" and read["PRODID"] and read["CALSCALE"] == "GREGORIAN"
    # What a subscriber fetches is published, not sent: PUBLISH of a message would need an organizer (RFC 5546, 3.2.1).
    assert "METHOD" not in read
    # The name for Thunderbird and Google, and that of RFC 7986.
    assert str(read["X-WR-CALNAME"]) == str(read["NAME"]) == "Cutoffs nordprint/fi"
    assert str(read["X-WR-TIMEZONE"]) in zoneinfo.available_timezones()
    assert read["REFRESH-INTERVAL"].dt == datetime.timedelta(hours=1)
    assert read["REFRESH-INTERVAL"].params["VALUE"] == "DURATION"
    assert str(read["X-PUBLISHED-TTL"]) == "PT1H", "how Outlook is told"
    # Every instant is in UTC: no zone has to be defined, and none is used.
    assert not read.get_used_tzids() and b"TZID" not in raw
    return read


def events(raw, alarms=(60, 10)):
    """The events by their UID, each of them looked at."""
    found = {}
    for event in calendar(raw).walk("VEVENT"):
        uid = str(event["UID"])
        assert uid not in found and uid.endswith("@stoppress"), uid
        for name in ("DTSTAMP", "LAST-MODIFIED", "DTSTART"):
            at = event[name].dt
            assert isinstance(at, datetime.datetime) and at.utcoffset() == datetime.timedelta(0), (name, at)
        # Without a METHOD the stamp is the last change, so that an unchanged feed is the same text.
        assert event["DTSTAMP"].dt == event["LAST-MODIFIED"].dt
        assert event["SEQUENCE"] >= 0 and event["STATUS"] in ("CONFIRMED", "CANCELLED")
        assert event["TRANSP"] == "TRANSPARENT", "a cutoff keeps nobody busy"
        assert str(event["SUMMARY"]) and str(event["DESCRIPTION"])
        assert "DTEND" not in event and "DURATION" not in event and "RRULE" not in event, "an instant"
        reminders = event.walk("VALARM")
        for reminder in reminders:
            assert reminder["ACTION"] == "DISPLAY" and str(reminder["DESCRIPTION"]), "Thunderbird shows its text"
            assert reminder["TRIGGER"].params.get("RELATED", "START") == "START"
        minutes = [-reminder["TRIGGER"].dt // datetime.timedelta(minutes=1) for reminder in reminders]
        assert minutes == ([] if event["STATUS"] == "CANCELLED" else list(alarms)), minutes
        found[uid] = event
    assert found
    return found


class Subscriber:
    """What a calendar program does with a feed: by UID, the later form in the place of the earlier."""

    def __init__(self, url):
        self.url, self.kept, self.tag = url, {}, None

    def fetch(self):
        request = urllib.request.Request(self.url)
        if self.tag:
            request.add_header("If-None-Match", self.tag)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert answer.headers["Content-Type"] == "text/calendar; charset=utf-8"
                self.tag = answer.headers["ETag"]
                return answer.read()
        except urllib.error.HTTPError as error:
            assert error.code == 304, error
            return None

    def look(self):
        """Looks again. Gives the UIDs that were new, and those of which there is another form."""
        raw = self.fetch()
        if raw is None:
            return set(), set()
        new, changed = set(), set()
        for uid, event in events(raw).items():
            before = self.kept.get(uid)
            if before is None:
                new.add(uid)
            elif event != before:
                # Both programs take the higher SEQUENCE, and what changed later.
                assert event["SEQUENCE"] > before["SEQUENCE"], (uid, event["SEQUENCE"])
                assert event["LAST-MODIFIED"].dt > before["LAST-MODIFIED"].dt, uid
                changed.add(uid)
            self.kept[uid] = event
        return new, changed

    def shown(self):
        """When events are shown from now on, each as often as it is."""
        now = datetime.datetime.now(UTC)
        standing = (event for event in self.kept.values() if event["STATUS"] == "CONFIRMED")
        return sorted(at for event in standing if (at := event["DTSTART"].dt) > now)


def agree(subscriber, coming, but=()):
    """The program shows what the gateway says, and nothing twice."""
    shown = subscriber.shown()
    assert len(shown) == len(set(shown)), f"doubled: {shown}"
    assert [at for at in shown if at not in but][:len(coming)] == coming, (shown[:5], coming[:5])


def pause():
    """Changes are told by the second: those of the next one are later."""
    now = datetime.datetime.now().timestamp()
    while datetime.datetime.now().timestamp() // 1 == now // 1:
        pass


def main(program):
    folder = tempfile.TemporaryDirectory()
    gateway = Gateway(program, folder.name)
    try:
        shop = gateway.platform()
        gateway.lab()
        link = gateway.call("POST", f"{REGION}/cutoffs/links", {})["url"]
        subscriber = Subscriber(link)
        new, changed = subscriber.look()
        assert new and not changed
        agree(subscriber, coming(gateway))
        # Nothing has changed: the same text, and who knows it is told so.
        assert subscriber.look() == (set(), set())
        subscriber.tag = None
        assert subscriber.look() == (set(), set())

        # As many reminders as one likes.
        plain = Subscriber(link + "?alarm=none").fetch()
        events(plain, ())
        events(Subscriber(link + "?alarm=2h,0s").fetch(), (120, 0))

        # A window that was postponed is the same event, later.
        window = gateway.order(shop, "A-1")["window"]
        closes = datetime.datetime.fromisoformat(window["closes_at"])
        later = closes + datetime.timedelta(minutes=30)
        pause()
        gateway.call("POST", f"/v1/batches/{window['batch']}/postpone",
                     {"until": later.isoformat(), "reason": "the press is down"})
        new, changed = subscriber.look()
        assert not new and len(changed) == 1, (new, changed)
        assert subscriber.kept[changed.pop()]["DTSTART"].dt == later
        rest = [at for at in coming(gateway) if at != closes]
        agree(subscriber, rest, but=[later])

        # Another cutoff: what there is no more is cancelled, what is new is new, and no evening has two.
        pause()
        gateway.lab(["18:00"])
        new, changed = subscriber.look()
        assert new and changed
        agree(subscriber, [at for at in coming(gateway) if at not in (closes, later)], but=[closes, later])
        # And back: the events of before stand again, in a later form, under their own UIDs.
        pause()
        gateway.lab(["24:00"])
        before = set(subscriber.kept)
        new, changed = subscriber.look()
        assert changed and not new - before, (new, changed)
        agree(subscriber, [at for at in coming(gateway) if at not in (closes, later)], but=[closes, later])
        count = len(subscriber.shown())
    finally:
        gateway.end()
    print(f"{count} cutoffs, each once, as a calendar program keeps them")


if __name__ == "__main__":
    main(sys.argv[1])
