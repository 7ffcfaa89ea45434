#!/usr/bin/env python3
"""Messages for the benchmarks: batches of 500 change events of about 390 bytes, the same for the same numbers.

Eight sources of unequal size, three tables (users, orders, events), 70 % inserts, 25 % updates with both images, 5 %
deletes; every hundredth message is an exact repeat of one some forty messages before, so that deduplication works.

    generate.py OUT.ndjson [--events 1000000] [--seed 1] [--batch 500]
"""

import argparse
import collections
import json
import random
import time

GIVEN = ("Ada", "Émile", "Søren", "Nguyễn", "Fatima", "João", "Wei", "Olga", "Kwame", "Mary Ann", "Zoë", "Björn", "Ivan",
         "Noor", "Priya", "Tom")
FAMILY = ("O'Neill", "García", "Łukasik", "Tanaka", "de Vries", "Müller", "Okafor", "Singh", "Smith", "Novák",
          'Li "Lee"', "Haddad", "Kim", "Rossi", "Ivanova", "Brown")
CITIES = ("Zürich", "São Paulo", "Łódź", "New York", "Reykjavík", "Lagos", "Tōkyō", "Mumbai", "Paris", "Hà Nội")
LABELS = ("vip", "new", "gift", "b2b", "mobile", "beta", "eu", "churn-risk", "newsletter", "spring")
MAIL = ("example.com", "mail.example.org", "shop.example.net", "example.co.uk")
TABLES = (("users", "user"),) * 2 + (("orders", "order"),) * 3 + (("events", "evt"),) * 5
EPOCH_MS = 1_767_225_600_000
REPEAT_EVERY, REPEAT_BACK = 100, 40


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


NAMES = [(quoted(f"{given} {family}"), f"{index:03d}.{family.encode('ascii', 'ignore').decode().lower()}"
          .replace(" ", "").replace("'", "").replace('"', ""))
         for index, (given, family) in enumerate((g, f) for g in GIVEN for f in FAMILY)]
PLACES = [quoted(city) for city in CITIES]
PAIRS = [f'["{one}","{two}"]' for one in LABELS for two in LABELS if one != two]


def instant(ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


class Rows:
    """Row images, and how many rows each table has by now."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.count = collections.Counter({table: 1000 for table, _ in TABLES})

    def image(self, prefix, key):
        name, mail = NAMES[key * 7919 % len(NAMES)]
        draw = self.chance.random
        return (f'{{"id":"{prefix}-{key}","name":{name},"email":"{mail}{key}@{MAIL[key & 3]}",'
                f'"created_at":"{instant(EPOCH_MS - key * 86_477 % 31_536_000 * 1000 - key % 1000)}",'
                f'"amount":{round(draw() * draw() * 5000, 2)},"qty":{int(100 ** draw())},'
                f'"tags":{PAIRS[int(draw() * len(PAIRS))]},"address":{{"city":{PLACES[int(draw() * draw() * 10)]},'
                f'"zip":"{10_000 + key * 31 % 89_999}"}}}}')

    def event(self, sequence, ms):
        table, prefix = TABLES[int(self.chance.random() * 10)]
        kind = self.chance.random()
        if kind < 0.70:
            self.count[table] += 1
            key, operation = self.count[table], "INSERT"
            images = f'"after":{self.image(prefix, key)}'
        else:
            # Half of the changes hit the newest rows, half any.
            back = int(self.count[table] ** self.chance.random())
            key = back if self.chance.random() < 0.5 else self.count[table] - back + 1
            images, operation = f'"before":{self.image(prefix, key)}', "DELETE"
            if kind < 0.95:
                images, operation = f'{images},"after":{self.image(prefix, key)}', "UPDATE"
        return (f'{{"sequence":{sequence},"timestamp":{ms},"operation":"{operation}","table":"{table}",'
                f'"rowId":"{prefix}-{key}",{images}}}')


def messages(events, seed=1, batch=500):
    """Yields (source, events in it, text) for each message, `events` in all, repeats included."""
    rows, chance = Rows(seed), random.Random(f"{seed}/messages")
    sequences, recent, ms, number = collections.Counter(), collections.deque(maxlen=REPEAT_BACK), EPOCH_MS, 0
    left = events
    while left > 0:
        number += 1
        size = min(batch, left)
        left -= size
        if number % REPEAT_EVERY == 0 and recent and size == batch:
            source, count, text = recent[0]
            yield source, count, text.replace('"isRetry":false,"retryCount":0', '"isRetry":true,"retryCount":1')
            continue
        source = f"shard-{int(8 * chance.random() ** 2)}"
        first = sequences[source] + 1
        sequences[source] += size
        body = ",".join(rows.event(first + index, ms + index // 2) for index in range(size))
        ms += size // 2
        text = (f'{{"type":"cdc_batch","timestamp":{ms},"sourceDoId":"{source}","events":[{body}],'
                f'"sequenceNumber":{number},"firstEventSequence":{first},"lastEventSequence":{first + size - 1},'
                f'"sizeBytes":{len(body)},"isRetry":false,"retryCount":0}}')
        recent.append((source, size, text))
        yield source, size, text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=500)
    arguments = parser.parse_args()
    written = count = 0
    with open(arguments.out, "w", encoding="utf-8", newline="\n") as out:
        for _, size, text in messages(arguments.events, arguments.seed, arguments.batch):
            written += len(text.encode()) + 1
            count += size
            out.write(text + "\n")
    print(f"{arguments.out}: {count} events, {written} bytes, {written / count:.1f} an event")


if __name__ == "__main__":
    main()
