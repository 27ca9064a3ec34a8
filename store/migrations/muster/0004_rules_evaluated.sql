-- muster.db, version 4: which readings the rules have evaluated, to show that each was evaluated exactly once.

-- How many in the file that the cursor is about, and a number made of their positions in the order of evaluation. Both
-- count from here on where an older version has evaluated some before.
ALTER TABLE rule_cursor ADD COLUMN evaluated INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rule_cursor ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;
