"""The table of cases: every public module, loss, optimizer and schedule, each beside its twin in torch.

A test file takes one property and runs it over the rows of one of these tables.
"""
