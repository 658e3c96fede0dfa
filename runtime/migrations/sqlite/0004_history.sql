-- A job's events are rebuilt from its row and its attempts. For that an attempt keeps the versions it began and ended with and
-- where it led, and the row its replays: the one transition that nothing else tells of. All null in rows of older programs.
alter table jobs add column started_version integer;
alter table jobs add column replays text;
alter table attempts add column started_version integer;
alter table attempts add column version integer;
alter table attempts add column state integer;
