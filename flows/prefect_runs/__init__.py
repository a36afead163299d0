"""What Prefect adds to a night: tasks that retry, the run's pages, the question to a person, server and worker."""
