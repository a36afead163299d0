"""The review page: a person looks at the claims that wait and decides; `errata review` serves it."""
