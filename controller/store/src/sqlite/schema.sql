-- The ledger, schema 3. A change here needs a new version, a step in schema.rs and a file of the former version in
-- tests/fixtures. Columns that a step adds stand last, as they do in a migrated file.

CREATE TABLE meta (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    ledger     TEXT    NOT NULL,             -- the random word in every launch id
    generation INTEGER NOT NULL,
    switch     TEXT    NOT NULL,
    config     TEXT                          -- the last good configuration
) STRICT;

-- What was answered with 2xx. A fact is new, or merged (by the write that made that generation), or set aside.
CREATE TABLE facts (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    key         TEXT    NOT NULL UNIQUE,
    job         INTEGER,
    attempt     INTEGER,
    instance    TEXT,
    received_at INTEGER NOT NULL,            -- this and every instant: milliseconds since the Unix epoch
    body        TEXT    NOT NULL,            -- JSON
    merged      INTEGER,
    set_aside   TEXT                         -- the reason
) STRICT;
CREATE INDEX facts_new ON facts (seq) WHERE merged IS NULL AND set_aside IS NULL;
CREATE INDEX facts_set_aside ON facts (seq) WHERE set_aside IS NOT NULL;
CREATE INDEX facts_of_job ON facts (job, attempt) WHERE job IS NOT NULL;

CREATE TABLE jobs (
    job        INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    record     TEXT    NOT NULL,             -- JSON, merged
    over_since INTEGER,                      -- derived from the record, for retention
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_open ON jobs (job, attempt) WHERE over_since IS NULL;
CREATE INDEX jobs_over ON jobs (over_since) WHERE over_since IS NOT NULL;

CREATE TABLE machines (
    instance TEXT PRIMARY KEY,
    record   TEXT NOT NULL                   -- JSON
) STRICT, WITHOUT ROWID;

-- Launches without an outcome.
CREATE TABLE launches (
    id     TEXT PRIMARY KEY,
    record TEXT NOT NULL                     -- JSON
) STRICT, WITHOUT ROWID;

CREATE TABLE holds (
    shape  TEXT    NOT NULL,
    zone   TEXT    NOT NULL,
    market TEXT    NOT NULL,
    until  INTEGER NOT NULL,
    record TEXT    NOT NULL,                 -- JSON
    PRIMARY KEY (shape, zone, market)
) STRICT, WITHOUT ROWID;

CREATE TABLE claims (
    instance   TEXT    PRIMARY KEY,
    session    INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL,
    registered INTEGER NOT NULL CHECK (registered IN (0, 1)),
    record     TEXT    NOT NULL              -- JSON; these three columns are derived from it
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_unminted ON claims (claimed_at) WHERE registered = 0;

CREATE TABLE orders (
    instance TEXT    PRIMARY KEY,
    seq      INTEGER NOT NULL,
    record   TEXT    NOT NULL                -- JSON
) STRICT, WITHOUT ROWID;

CREATE TABLE once (
    key   TEXT    PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    instance TEXT    PRIMARY KEY,
    heard_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What somebody has put down under a name of theirs.
CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL
) STRICT, WITHOUT ROWID;
