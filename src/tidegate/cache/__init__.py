"""What lives between the machines and may be lost: the bell, the ledger's counters, progress. The one home of Redis."""
