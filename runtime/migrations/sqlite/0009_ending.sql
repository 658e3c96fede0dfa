-- How a worker's process went, as whoever saw it says: evidence, should its jobs be lost. Null while nobody said.
alter table workers add column ending text;
