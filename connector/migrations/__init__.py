"""One module a revision, named by its number and what it does; ``connector.migrate`` runs them in order.

A revision only adds. What the previous release reads is dropped one release later, because both run side by side
while a platform rolls over. A revision that has been released is never edited; the next one mends it.
"""
