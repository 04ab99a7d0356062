"""Files that other tools read and write as well: JSON lines, BEIR folders, TREC runs and judgements."""
