BEGIN TRANSACTION;
CREATE TABLE dead_letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL, reason TEXT NOT NULL,
    time REAL NOT NULL);
INSERT INTO "dead_letters" VALUES(1,'t/x',X'FF7B','it is no JSON',1.5);
CREATE TABLE deadlines (project_id TEXT PRIMARY KEY, name TEXT NOT NULL, due REAL NOT NULL, after_s REAL NOT NULL);
INSERT INTO "deadlines" VALUES('0123456789abcdef01234567','training',10.0,5.0);
CREATE TABLE entries (
    project_id TEXT NOT NULL, sequence INTEGER NOT NULL, envelope TEXT NOT NULL,
    PRIMARY KEY (project_id, sequence)) WITHOUT ROWID;
INSERT INTO "entries" VALUES('0123456789abcdef01234567',1,'{"specversion":"1.0","id":"e1","source":"/x","type":"t","time":"2026-01-02T00:00:00+00:00","datacontenttype":"application/json","sequence":1,"data":{"n":1}}');
CREATE TABLE events (
    project_id TEXT NOT NULL, position INTEGER NOT NULL, event_id TEXT NOT NULL, envelope TEXT NOT NULL,
    PRIMARY KEY (project_id, position), UNIQUE (project_id, event_id)) WITHOUT ROWID;
INSERT INTO "events" VALUES('0123456789abcdef01234567',1,'e1','{"specversion":"1.0","id":"e1","source":"/x","type":"t","time":"2026-01-02T00:00:00+00:00","datacontenttype":"application/json","data":{"n":1}}');
INSERT INTO "events" VALUES('0123456789abcdef01234567',2,'e2','{"specversion":"1.0","id":"e2","source":"/x","type":"t","time":"2026-01-02T00:00:00+00:00","datacontenttype":"application/json","data":{"n":2}}');
INSERT INTO "events" VALUES('ffffffffffffffffffffffff',1,'e3','{"specversion":"1.0","id":"e3","source":"/x","type":"t","time":"2026-01-02T00:00:00+00:00","datacontenttype":"application/json","data":{"n":3}}');
CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "facts" VALUES('cursor','7');
CREATE TABLE pending (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, project_id TEXT NOT NULL,
    command TEXT, envelope TEXT);
INSERT INTO "pending" VALUES(1,'a','0123456789abcdef01234567','{"command": "Undeploy", "data": {"service": "x"}}',NULL);
INSERT INTO "pending" VALUES(2,'b','0123456789abcdef01234567',NULL,'{"specversion":"1.0","id":"e2","source":"/x","type":"t","time":"2026-01-02T00:00:00+00:00","datacontenttype":"application/json","data":{"n":2}}');
CREATE TABLE projects (
    id TEXT PRIMARY KEY, user TEXT NOT NULL, revision INTEGER NOT NULL, own_sequence INTEGER NOT NULL,
    project TEXT NOT NULL, status TEXT NOT NULL, watermarks TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "projects" VALUES('0123456789abcdef01234567','Ada',1,2,'{"id": "0123456789abcdef01234567", "phase": "training", "user": "Ada", "sla": {"ml_repo_url": "https://example.org/a/b"}, "deadlines": {"checking_s": 300.0, "building_s": 3600.0, "deploying_s": 300.0, "serving_s": 300.0}, "commit": "", "nodes": [], "deployed": [], "failed_learners": [], "model_uri": "", "tracking_url": "", "best_accuracy": null, "best_round": null, "inference_url": "", "outcome": null, "failed_stage": "", "reason": "", "remedy": "", "crashes": {}, "cancelled_by": ""}','{"project_id":"0123456789abcdef01234567","user":"","phase":"requested","created":"2026-01-01T00:00:00+00:00","updated":"2026-01-01T00:00:00+00:00","ml_repo_url":"","commit":"","round":0,"rounds":0,"accuracy":null,"loss":null,"best_accuracy":null,"reason":"","tracking_url":"","model_uri":"","inference_url":"","app":"","entries":0,"last_entry":""}','{"/builder/b.0": 7}');
INSERT INTO "projects" VALUES('ffffffffffffffffffffffff','Bob',1,0,'{"id": "ffffffffffffffffffffffff", "phase": "failed", "user": "Bob", "sla": {}, "deadlines": {"checking_s": 300.0, "building_s": 3600.0, "deploying_s": 300.0, "serving_s": 300.0}, "commit": "", "nodes": [], "deployed": [], "failed_learners": [], "model_uri": "", "tracking_url": "", "best_accuracy": null, "best_round": null, "inference_url": "", "outcome": null, "failed_stage": "", "reason": "", "remedy": "", "crashes": {}, "cancelled_by": ""}','{"project_id":"ffffffffffffffffffffffff","user":"Bob","phase":"failed","created":"2026-01-01T00:00:00+00:00","updated":"2026-01-03T00:00:00+00:00","ml_repo_url":"","commit":"","round":0,"rounds":0,"accuracy":null,"loss":null,"best_accuracy":null,"reason":"","tracking_url":"","model_uri":"","inference_url":"","app":"","entries":0,"last_entry":""}','{}');
CREATE INDEX projects_by_user ON projects (user);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('pending',2);
INSERT INTO "sqlite_sequence" VALUES('dead_letters',1);
PRAGMA user_version=1;
COMMIT;
