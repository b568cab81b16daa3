"""The tables, version by version. What has been released is never edited: a change is one more script."""

from __future__ import annotations

from typing import Final

_VERSION_1: Final = """
CREATE TABLE projects (
    id TEXT PRIMARY KEY, user TEXT NOT NULL, revision INTEGER NOT NULL, own_sequence INTEGER NOT NULL,
    project TEXT NOT NULL, status TEXT NOT NULL, watermarks TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX projects_by_user ON projects (user);
CREATE TABLE events (
    project_id TEXT NOT NULL, position INTEGER NOT NULL, event_id TEXT NOT NULL, envelope TEXT NOT NULL,
    PRIMARY KEY (project_id, position), UNIQUE (project_id, event_id)) WITHOUT ROWID;
CREATE TABLE entries (
    project_id TEXT NOT NULL, sequence INTEGER NOT NULL, envelope TEXT NOT NULL,
    PRIMARY KEY (project_id, sequence)) WITHOUT ROWID;
CREATE TABLE pending (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, project_id TEXT NOT NULL,
    command TEXT, envelope TEXT);
CREATE TABLE deadlines (project_id TEXT PRIMARY KEY, name TEXT NOT NULL, due REAL NOT NULL, after_s REAL NOT NULL);
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE dead_letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL, reason TEXT NOT NULL,
    time REAL NOT NULL);
"""

# Owners of projects and what they are found by; when a project has ended; positions that outlive the events.
_VERSION_2: Final = """
ALTER TABLE projects ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE projects ADD COLUMN ended TEXT NOT NULL DEFAULT '';
ALTER TABLE projects ADD COLUMN events INTEGER NOT NULL DEFAULT 0;
UPDATE projects SET
    ended = CASE WHEN json_extract(project, '$.phase') IN ('completed', 'failed', 'cancelled')
        THEN json_extract(status, '$.updated') ELSE '' END,
    events = (SELECT coalesce(max(position), 0) FROM events WHERE project_id = projects.id);
CREATE INDEX projects_by_owner ON projects (owner);
CREATE INDEX projects_by_end ON projects (ended) WHERE ended <> '';
CREATE INDEX pending_by_project ON pending (project_id);
CREATE INDEX deadlines_by_time ON deadlines (due);
CREATE TABLE managers (id TEXT PRIMARY KEY, beats INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE offices (name TEXT PRIMARY KEY, manager TEXT NOT NULL) WITHOUT ROWID;
"""

# Lists of projects page by page, of all users and of one.
_VERSION_3: Final = """
CREATE INDEX projects_by_age ON projects (json_extract(status, '$.created'), id);
CREATE INDEX projects_of_user_by_age ON projects (user, json_extract(status, '$.created'), id);
DROP INDEX projects_by_user;
"""

MIGRATIONS: Final = (_VERSION_1, _VERSION_2, _VERSION_3)
