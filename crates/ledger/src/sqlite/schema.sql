-- Times are whole milliseconds UTC; addresses are their 4 or 16 bytes; names of grants their 16.

CREATE TABLE grants (
    id              BLOB    NOT NULL PRIMARY KEY,
    domain          TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    voucher         TEXT    NOT NULL,
    note            TEXT,
    source          BLOB    NOT NULL,
    address_key     BLOB    NOT NULL,
    service         TEXT    NOT NULL,
    rule            TEXT    NOT NULL,
    opened_at       INTEGER NOT NULL,
    ends_at         INTEGER NOT NULL,
    deadline        INTEGER NOT NULL,
    boot            BLOB    NOT NULL,
    -- 0 opening, 1 open, 2 closing, 3 closed
    state           INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),
    -- 1 exactly when closed: a column of its own, so that a step between other states touches no index
    finished        INTEGER NOT NULL DEFAULT 0 CHECK (finished IN (0, 1)),
    reached_open    INTEGER NOT NULL DEFAULT 0,
    cause           TEXT,
    closed_at       INTEGER,
    connections     INTEGER NOT NULL,
    claims          INTEGER NOT NULL DEFAULT 0,
    given_back      INTEGER NOT NULL DEFAULT 0,
    alive           INTEGER NOT NULL DEFAULT 0,
    last_claim      INTEGER NOT NULL DEFAULT 0,
    close_when_used INTEGER NOT NULL,
    provider        TEXT,
    bytes_in        INTEGER NOT NULL DEFAULT 0,
    bytes_out       INTEGER NOT NULL DEFAULT 0,
    milliseconds    INTEGER NOT NULL DEFAULT 0,
    shared          INTEGER NOT NULL,
    -- 1 once an operator forgave it: it counts for no quota
    forgiven        INTEGER NOT NULL DEFAULT 0,
    -- NULL from about a day after the close
    token           BLOB,
    CHECK ((state >= 2) = (cause IS NOT NULL)),
    CHECK ((state = 3) = (closed_at IS NOT NULL)),
    CHECK ((state = 3) = (finished = 1))
) STRICT, WITHOUT ROWID;

-- P4: the second line, should the first fail: one unfinished grant per service and address key.
CREATE UNIQUE INDEX grants_standing ON grants (service, address_key) WHERE finished = 0;
-- Newest unfinished ones first, without a look at the finished.
CREATE INDEX grants_unfinished ON grants (id) WHERE finished = 0;
-- Quotas.
CREATE INDEX grants_counted ON grants (domain, name, service, opened_at);
-- Who else was at this address (F17), and listings by address.
CREATE INDEX grants_at_key ON grants (address_key, opened_at);
-- Reports and pruning.
CREATE INDEX grants_opened ON grants (opened_at);
CREATE UNIQUE INDEX grants_token ON grants (token) WHERE token IS NOT NULL;

CREATE TABLE claims (
    grant_id   BLOB    NOT NULL,
    number     INTEGER NOT NULL,
    client     TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    relayed    INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    answered   INTEGER NOT NULL DEFAULT 0,
    ended_at   INTEGER,
    given_back INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (grant_id, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX claims_alive ON claims (grant_id, number) WHERE ended_at IS NULL;

-- Append-only and self-contained: the body says everything as it was then.
CREATE TABLE events (
    number INTEGER NOT NULL PRIMARY KEY,
    at     INTEGER NOT NULL,
    body   TEXT    NOT NULL
) STRICT;

CREATE INDEX events_at ON events (at);

CREATE TABLE pruned (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    before INTEGER NOT NULL
) STRICT;

INSERT INTO pruned VALUES (1, -9223372036854775808);

CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never changed');
END;

-- The newest one stays whatever its age, so that no number is ever used again.
CREATE TRIGGER events_are_only_pruned BEFORE DELETE ON events
WHEN OLD.at >= (SELECT before FROM pruned) OR OLD.number = (SELECT max(number) FROM events)
BEGIN
    SELECT RAISE(ABORT, 'events are only pruned');
END;

-- Refusals of proved identities, a row each; the others are counted.
CREATE TABLE refusals (
    number  INTEGER NOT NULL PRIMARY KEY,
    at      INTEGER NOT NULL,
    domain  TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    source  BLOB    NOT NULL,
    service TEXT    NOT NULL,
    reason  TEXT    NOT NULL
) STRICT;

CREATE INDEX refusals_at ON refusals (at);

CREATE TABLE refusal_counts (
    minute INTEGER NOT NULL,
    reason TEXT    NOT NULL,
    prefix BLOB    NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (minute, reason, prefix)
) STRICT, WITHOUT ROWID;

-- Sums of a UTC day, kept with every change: by service (axis 0; '' for refusals that were only counted), by reason or
-- cause (axis 1).
CREATE TABLE daily (
    day         INTEGER NOT NULL,
    axis        INTEGER NOT NULL,
    label       TEXT    NOT NULL,
    grants      INTEGER NOT NULL,
    used        INTEGER NOT NULL,
    connections INTEGER NOT NULL,
    refused     INTEGER NOT NULL,
    bytes_in    INTEGER NOT NULL,
    bytes_out   INTEGER NOT NULL,
    PRIMARY KEY (day, axis, label)
) STRICT, WITHOUT ROWID;

CREATE TABLE unfinished (
    service TEXT    NOT NULL PRIMARY KEY,
    grants  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    hash       BLOB    NOT NULL PRIMARY KEY,
    domain     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    grant_id   BLOB    NOT NULL,
    since      INTEGER NOT NULL,
    seen       INTEGER NOT NULL,
    form_token BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_since ON sessions (since);

-- IPv4 addresses whole, IPv6 ones as their /64.
CREATE TABLE accepted (
    name   TEXT    NOT NULL,
    prefix BLOB    NOT NULL,
    domain TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (name, prefix, domain)
) STRICT, WITHOUT ROWID;

CREATE TABLE cursors (
    reader TEXT    NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A row to write when there is nothing else to write: a proof that the disk takes writes, a reason for an fsync.
CREATE TABLE pulse (
    one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    beat INTEGER NOT NULL
) STRICT;

INSERT INTO pulse VALUES (1, 0);
