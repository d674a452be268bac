"""Published tables, run through the production scheduler in virtual time: ours beside theirs."""
