-- Schema 1 had no leases, could not set a fact aside, and never forgot a job.

ALTER TABLE facts ADD COLUMN set_aside TEXT;
DROP INDEX facts_new;
CREATE INDEX facts_new ON facts (seq) WHERE merged IS NULL AND set_aside IS NULL;
CREATE INDEX facts_set_aside ON facts (seq) WHERE set_aside IS NOT NULL;

ALTER TABLE jobs ADD COLUMN over_since INTEGER;
UPDATE jobs
   SET over_since = max(json_extract(record, '$.completed.completed_at'), json_extract(record, '$.first_heard'))
 WHERE json_valid(record);
CREATE INDEX jobs_open ON jobs (job, attempt) WHERE over_since IS NULL;
CREATE INDEX jobs_over ON jobs (over_since) WHERE over_since IS NOT NULL;

CREATE TABLE leases (
    instance TEXT    PRIMARY KEY,
    heard_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
