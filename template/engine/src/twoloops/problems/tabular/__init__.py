"""Tables: a row is a record, a column a number or a category."""
