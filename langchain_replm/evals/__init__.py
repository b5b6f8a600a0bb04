"""Find out whether an RLM is worth it: tasks, runners to compare on equal terms, experiments."""
